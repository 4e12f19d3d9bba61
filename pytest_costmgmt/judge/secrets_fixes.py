"""What ends a finding about a Secret: commands that can be pasted, without a password in them."""

from __future__ import annotations

from pytest_costmgmt.judge.finding import Fix
from pytest_costmgmt.kubernetes.secret_objects import KeyFacts, SecretFacts

_NAMES = ("database", "username")
_DEFAULT = "koku"
_APPLY = (
    'kubectl create secret generic {name} --from-file="$folder" --dry-run=client -o yaml \\\n'
    '  | kubectl apply -f -; rm -r "$folder"\n'
)


def write_anew(name: str, found: SecretFacts | None) -> Fix:
    """Return what writes a Secret with another password; its names stay, where it has them."""
    has = {key.name for key in found.keys if key.length and key.text} if found else set()
    kept = [each for each in _NAMES if each in has]
    lost = [each for each in _NAMES if each not in has]
    text = (
        "# The database keeps its password until its pod restarts; then restart the\n"
        "# applications. printf ends no line:\n"
        "umask 077; folder=$(mktemp -d)\n"
    )
    if kept:
        text += (
            f"for key in {' '.join(kept)}; do\n"
            f'  kubectl get secret {name} -o "jsonpath={{.data.$key}}" \\\n'
            '    | base64 -d > "$folder/$key"\n'
            "done\n"
        )
    for each in lost:
        text += f'printf %s {_DEFAULT} > "$folder/{each}"   # or as your release names it\n'
    text += 'printf %s "NEW-PASSWORD" > "$folder/password"\n'
    return Fix(
        kind="shell",
        text=text + _APPLY.format(name=name) + "kubectl delete pod postgres-0",
        needs="who may write Secrets in the namespace",
    )


def trim(name: str, used: list[KeyFacts]) -> Fix:
    """Return what writes the same values anew, without what stands around them."""
    return Fix(
        kind="shell",
        text="# The values stay as they are, without line ends and blanks around them, and no\n"
        "# argument holds one. The database takes its password when its pod restarts.\n"
        "umask 077; folder=$(mktemp -d)\n"
        f"for key in {' '.join(key.name for key in used)}; do\n"
        f'  printf %s "$(kubectl get secret {name} -o "jsonpath={{.data.$key}}" | base64 -d \\\n'
        "    | tr -d '\\r\\n' | sed 's/^[[:space:]]*//; s/[[:space:]]*$//')\" > \"$folder/$key\"\n"
        "done\n" + _APPLY.format(name=name) + "kubectl delete pod postgres-0"
        "   # and restart the applications",
        needs="who may write Secrets in the namespace",
    )
