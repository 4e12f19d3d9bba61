"""Which cluster, as whom: kubeconfig files merged and chosen from as kubectl does.

The Python client takes the last ``current-context`` of several files, where kubectl takes the
first, and knows no ``as:``: another cluster, or another user, in silence. So the files are read
here, and the client gets one context.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.secret import register

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_SECRETS = frozenset(
    {"token", "password", "client-key-data", "id-token", "refresh-token", "access-token",
     "client-secret"}
)  # fmt: skip


class Impersonation(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to act as; empty means oneself."""

    user: str = ""
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.user or self.groups or self.uid or self.extra)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what every request says, and every stream; raise UsageProblem if it cannot."""
        if not self:
            return ()
        if not self.user:
            raise UsageProblem(
                "A group, uid or extra to act as is given, but no user: Kubernetes impersonates"
                " only with one.",
                hint="Name the user too (--as, or `as:` in the kubeconfig).",
            )
        found = [("Impersonate-User", self.user)]
        found += [("Impersonate-Group", group) for group in self.groups]
        found += [("Impersonate-Uid", self.uid)] if self.uid else []
        found += [
            (f"Impersonate-Extra-{quote(key.lower(), safe='')}", value) for key, value in self.extra
        ]
        for name, value in found:
            # What is not plain text reaches the API server differently by each way, or not at all.
            if (
                not value
                or not value.isascii()
                or not value.isprintable()
                or value != value.strip()
            ):
                raise UsageProblem(
                    f"{name}: {value!r} cannot be carried on a stream into a pod, whose request"
                    " holds it as a header of plain text.",
                    hint="Act as a user and groups with names of printable ASCII characters.",
                )
        return tuple(found)


class Chosen:
    """One context of the kubeconfig. ``config`` holds credentials: it is never shown."""

    __slots__ = ("config", "context", "files", "folder", "impersonation", "namespace", "server")

    def __init__(
        self,
        *,
        config: dict[str, Any],
        context: str,
        server: str,
        namespace: str,
        impersonation: Impersonation,
        files: tuple[Path, ...],
        folder: Path,
    ) -> None:
        self.config, self.context, self.server = config, context, server
        self.namespace, self.impersonation = namespace, impersonation
        self.files, self.folder = files, folder

    def __repr__(self) -> str:
        return f"Chosen(context={self.context!r}, server={self.server!r})"


def choose(
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    environ: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Chosen | None:
    """Return the context that kubectl would take, or None for the pod's own service account.

    ``kubeconfig`` replaces KUBECONFIG, and that ~/.kube/config. Raises UsageProblem.
    """
    files = _files(kubeconfig, environ)
    read = [(path, _read(path)) for path in files if path.exists()]
    if not read:
        named = kubeconfig or environ.get("KUBECONFIG", "")
        if named:
            raise UsageProblem(
                f"The kubeconfig {named} does not exist.",
                hint="Give the path of one that does; no other cluster is taken in its place.",
            )
        if context is None and _in_a_pod(environ, account):
            return None
        raise UsageProblem(
            f"No kubeconfig is given, and there is none at {files[0]}"
            + ("" if context is None else f" that would have the context {context!r}")
            + ".",
            hint="Set KUBECONFIG, or log in first (`oc login`, or your provider's command).",
        )
    return _chosen(_merged(read), context, tuple(path for path, _ in read))


def _files(kubeconfig: Path | None, environ: Mapping[str, str]) -> list[Path]:
    if kubeconfig is not None:
        return [kubeconfig.absolute()]
    if listed := [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]:
        return [Path(part).absolute() for part in listed]
    home = environ.get("HOME") or str(Path.home())
    return [Path(home) / ".kube" / "config"]


def _in_a_pod(environ: Mapping[str, str], account: Path) -> bool:
    return bool(environ.get("KUBERNETES_SERVICE_HOST")) and (account / "token").exists()


def _read(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - comes with the client, heavy

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageProblem(f"The kubeconfig {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The parser's own text quotes the file, and so its tokens.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        raise UsageProblem(f"The kubeconfig {path} is not YAML{where}.") from None
    if read is None:
        return {}
    if not isinstance(read, dict):
        raise UsageProblem(f"The kubeconfig {path} holds no mapping: it is no kubeconfig.")
    return read


def _merged(read: Iterable[tuple[Path, dict[str, Any]]]) -> dict[str, Any]:
    """Return one configuration; whatever several files say, the first wins, as with kubectl."""
    merged: dict[str, Any] = {"current-context": "", "clusters": {}, "contexts": {}, "users": {}}
    for path, config in read:
        merged["current-context"] = merged["current-context"] or config.get("current-context") or ""
        for kind, one in (("clusters", "cluster"), ("contexts", "context"), ("users", "user")):
            for entry in _entries(config, kind, path):
                body = dict(entry.get(one) or {})
                for key in _PATHS:
                    if body.get(key):
                        body[key] = str(path.parent / str(body[key]))
                merged[kind].setdefault(str(entry["name"]), (body, path))
    return merged


def _entries(config: Mapping[str, Any], kind: str, path: Path) -> Iterator[dict[str, Any]]:
    entries = config.get(kind) or []
    if not isinstance(entries, list):
        raise UsageProblem(f"The kubeconfig {path} is malformed: its {kind} are no list.")
    for entry in entries:
        if not isinstance(entry, dict) or "name" not in entry:
            raise UsageProblem(
                f"The kubeconfig {path} is malformed: one of its {kind} is nameless."
            )
        yield entry


def _chosen(merged: dict[str, Any], context: str | None, files: tuple[Path, ...]) -> Chosen:
    named = ", ".join(str(path) for path in files)
    name = context or merged["current-context"]
    if not name:
        raise UsageProblem(
            f"The kubeconfig {named} has no current context.",
            hint="Choose one: kubectl config use-context NAME. " + _known(merged["contexts"]),
        )
    if name not in merged["contexts"]:
        raise UsageProblem(
            f"The kubeconfig {named} has no context {name!r}.", hint=_known(merged["contexts"])
        )
    body, _ = merged["contexts"][name]
    cluster, at = _part(merged, "clusters", body.get("cluster"), name, named)
    user: dict[str, Any] = {}
    if body.get("user"):
        user, at = _part(merged, "users", body["user"], name, named)
    if not cluster.get("server"):
        raise UsageProblem(f"The cluster of context {name!r} in {named} has no server.")
    _register(user)
    if user.get("tokenFile"):  # kubectl prefers it
        user = {key: value for key, value in user.items() if key != "token"}
    one = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
    }
    return Chosen(
        config=one,
        context=name,
        server=str(cluster["server"]),
        namespace=str(body.get("namespace") or "default"),
        impersonation=_impersonation(user),
        files=files,
        folder=at.parent,
    )


def _part(
    merged: dict[str, Any], kind: str, wanted: object, context: str, named: str
) -> tuple[dict[str, Any], Path]:
    if wanted is None or str(wanted) not in merged[kind]:
        raise UsageProblem(
            f"Context {context!r} in {named} means {kind[:-1]} {wanted!r}, which is not there.",
            hint=_known(merged[kind]),
        )
    body, path = merged[kind][str(wanted)]
    return body, path


def _known(entries: Mapping[str, Any]) -> str:
    return "It has: " + (", ".join(map(repr, sorted(entries))) or "none") + "."


def _impersonation(user: Mapping[str, Any]) -> Impersonation:
    extra = user.get("as-user-extra") or {}
    return Impersonation(
        user=str(user.get("as") or ""),
        groups=tuple(str(group) for group in user.get("as-groups") or ()),
        uid=str(user.get("as-uid") or ""),
        extra=tuple((str(key), str(value)) for key, values in extra.items() for value in values),
    )


def _register(found: object) -> None:
    """Have every credential redacted by its value, wherever else it turns up."""
    if isinstance(found, list):
        for each in found:
            _register(each)
            # A plugin's environment: which of its values are credentials, only it knows.
            if isinstance(each, dict) and "KEY" in str(each.get("name", "")).upper():
                register(str(each.get("value", "")))
    if isinstance(found, dict):
        for key, value in found.items():
            if key in _SECRETS:
                register(str(value))
            elif key == "tokenFile":
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    register(Path(str(value)).read_text(encoding="utf-8").strip())
            else:
                _register(value)
