"""Where a Secret's values stand though they must not: in objects and records that others read."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.helm import documents
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.kubernetes.secret_objects import secret_values
from pytest_costmgmt.kubernetes.trouble import AccessDenied, HelmFailed, NotThere, RecordUnread
from pytest_costmgmt.secret import SHORTEST_REDACTED, Secret, redact

_RECORD = "helm.sh/release.v1"
_COMPRESSED = b"\x1f\x8b\x08"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What Helm keeps of a release's last revision, without its values."""

    release: str
    revision: int
    status: str
    chart: str = ""
    version: str = ""
    leaks: tuple[str, ...] = ()
    "Values of the release, given or rendered into what is no Secret, that are passwords."
    earlier: dict[str, tuple[int, ...]] = {}
    "The same of the revisions before, which Helm keeps too: where, and in which of them."
    undecoded: tuple[int, ...] = ()
    "Revisions of which not all could be read."
    unread: tuple[str, ...] = ()
    "Secrets whose passwords were not looked for, since we may not read them."


class Leaks(msgspec.Struct, frozen=True, kw_only=True):
    """Where passwords stand: what was ``looked`` at, and what we may not look at."""

    found: tuple[str, ...] = ()
    looked: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    known: int = 0
    "How many passwords were looked for."
    unread: tuple[str, ...] = ()
    "Secrets whose passwords were not looked for, since we may not read them."


def passwords(
    api: Api, namespace: str, keys: Iterable[tuple[str, str]]
) -> tuple[tuple[Secret, ...], tuple[str, ...]]:
    """Return the values of these keys of Secrets that are there, and the Secrets not permitted."""
    found: list[Secret] = []
    unread: list[str] = []
    for name, key in dict.fromkeys(keys):
        try:
            value = secret_values(api, namespace, name).get(key)
        except NotThere:
            continue
        except AccessDenied:
            unread.append(name)
            continue
        if value:
            found.append(value)
    return tuple(found), tuple(unread)


def found_in(manifest: Any, secrets: Iterable[Secret]) -> tuple[str, ...]:
    """Return the paths in a plain object at which one of ``secrets`` stands.

    A short value must be the whole text: within others it would be any word.

    >>> found_in({"spec": {"args": ["--url=x:correct-horse@y"]}}, [Secret("correct-horse")])
    ('spec.args[0]',)
    >>> found_in({"name": "hive-metastore", "value": "hive"}, [Secret("hive")])
    ('value',)
    """
    return tuple(redact(path) for path in _found(manifest, tuple(secrets), ""))


def _found(manifest: Any, secrets: tuple[Secret, ...], path: str) -> Iterator[str]:
    __tracebackhide__ = True
    if isinstance(manifest, Mapping):
        for name, value in manifest.items():
            yield from _found(value, secrets, f"{path}.{name}" if path else str(name))
    elif isinstance(manifest, list):
        for index, value in enumerate(manifest):
            yield from _found(value, secrets, f"{path}[{index}]")
    elif isinstance(manifest, str) and any(_holds(manifest, secret) for secret in secrets):
        yield path


def _holds(text: str, secret: Secret) -> bool:
    __tracebackhide__ = True
    if len(secret.reveal()) < SHORTEST_REDACTED:
        return text.strip() == secret.reveal()
    encoded = base64.b64encode(secret.reveal().encode()).decode()
    return secret.reveal() in text or encoded in text


def leaked(
    api: Api, namespace: str, where: Iterable[tuple[str, str, str]], secrets: tuple[Secret, ...]
) -> Leaks:
    """Return where ``secrets`` stand in objects, each given by resource, group and name.

    With "" as name all of that resource are looked at.
    """
    found: list[str] = []
    looked: list[str] = []
    refused: list[str] = []
    for resource, group, name in where:
        path = path_of(namespace, resource, name, group=group)
        what = f"Looking for passwords in {resource}"
        try:
            each = [api.get(path, what=what)] if name else api.items(path, what=what)
        except NotThere:
            continue
        except AccessDenied:
            refused.append(resource)
            continue
        looked.append(f"{resource}/{name}" if name else f"{len(each)} {resource}")
        for one in each:
            named = f"{resource}/{(one.get('metadata') or {}).get('name', name)}"
            plain = {key: part for key, part in one.items() if key != "metadata"}
            plain["annotations"] = (one.get("metadata") or {}).get("annotations")
            found += [f"{named}: {path}" for path in found_in(plain, secrets)]
    return Leaks(
        found=tuple(found), looked=tuple(looked), refused=tuple(refused), known=len(secrets)
    )


def record(api: Api, namespace: str, release: str, secrets: tuple[Secret, ...]) -> Record | None:
    """Return Helm's record of a release's last revision; None if there is none."""
    revisions = _revisions(api, namespace, release)
    if not revisions:
        return None
    revision, newest = revisions[-1]
    labels = newest["metadata"]["labels"]
    said, leaks = _said(newest), _leaks(newest, secrets)
    meta = (said.get("chart") or {}).get("metadata") or {}
    earlier: dict[str, tuple[int, ...]] = {}
    undecoded = [] if leaks is not None else [revision]
    for number, each in revisions[:-1]:
        before = _leaks(each, secrets)
        undecoded += [] if before is not None else [number]
        for where in before or ():
            earlier[where] = (*earlier.get(where, ()), number)
    return Record(
        release=release,
        revision=revision,
        status=str(labels.get("status") or ""),
        chart=str(meta.get("name") or ""),
        version=str(meta.get("version") or ""),
        leaks=leaks or (),
        earlier=earlier,
        undecoded=tuple(sorted(undecoded)),
    )


def _leaks(kept: Mapping[str, Any], secrets: tuple[Secret, ...]) -> tuple[str, ...] | None:
    """Return where a revision shows passwords: values, notes, what is rendered, hooks too.

    None is that it was not understood.
    """
    if not (said := _said(kept)):
        return None
    chart, info = said.get("chart") or {}, said.get("info") or {}
    try:
        rendered = {
            "manifest": _without_secrets(str(said.get("manifest") or "")),
            "hooks": {
                str(each.get("name")): _without_secrets(str(each.get("manifest") or ""))
                for each in said.get("hooks") or ()
            },
        }
    except RecordUnread:
        return None
    values = {"values": said.get("config") or {}, "chart": {"values": chart.get("values") or {}}}
    notes = {"info": {"notes": info.get("notes")}}
    return tuple(where for part in (values, notes, rendered) for where in found_in(part, secrets))


def rendered(api: Api, namespace: str, release: str, *, key: bytes) -> list[dict[str, Any]]:
    """Return what Helm rendered last, without a Secret's data; ``key`` is the run's.

    Raises RecordUnread where what Helm keeps of it is not understood.
    """
    revisions = _revisions(api, namespace, release)
    if not revisions:
        return []
    number, last = revisions[-1]
    named = f"revision {number} of Helm release {release}"
    if not (said := _said(last)):
        raise RecordUnread(f"What Helm keeps of {named} cannot be decoded.")
    try:
        return documents(str(said.get("manifest") or ""), key=key)
    except HelmFailed:
        raise RecordUnread(f"What Helm rendered for {named} is no YAML.") from None


def _revisions(api: Api, namespace: str, release: str) -> list[tuple[int, dict[str, Any]]]:
    """Return each revision's number, the last one last, and the Secret in which Helm keeps it."""
    found = api.items(
        path_of(namespace, "secrets"),
        [
            ("labelSelector", f"owner=helm,name={release}"),
            ("fieldSelector", f"type={_RECORD}"),
        ],
        what=f"Reading Helm's records of {release}",
    )
    numbered = [(revision_of(each), each) for each in found]
    return sorted(numbered, key=lambda each: each[0])


def revision_of(kept: Mapping[str, Any]) -> int:
    """Return a record's revision; 0 where its label is no number, as nothing of Helm's is.

    >>> [revision_of({"metadata": {"labels": {"version": each}}}) for each in ("12", "v1", None)]
    [12, 0, 0]
    """
    said = str(((kept.get("metadata") or {}).get("labels") or {}).get("version") or "")
    return int(said) if said.isascii() and said.isdigit() else 0


def _said(kept: Mapping[str, Any]) -> dict[str, Any]:
    return _decoded((kept.get("data") or {}).get("release", ""))


def _decoded(data: str) -> dict[str, Any]:
    """Return a record's content: base64 of base64 of JSON, compressed but for very old ones."""
    try:
        kept = base64.b64decode(base64.b64decode(data))
        found: Any = msgspec.json.decode(
            gzip.decompress(kept) if kept.startswith(_COMPRESSED) else kept
        )
    except (ValueError, OSError, EOFError, zlib.error, msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _without_secrets(manifest: str) -> list[Any]:
    """Return what was rendered but for Secrets, which may hold passwords."""
    import yaml  # noqa: PLC0415 - comes with the client, heavy

    try:
        # libyaml's where it is there: Helm keeps ten revisions, and each is read.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        loaded = list(yaml.load_all(manifest, Loader=loader))
    except yaml.YAMLError:
        raise RecordUnread("What Helm rendered is no YAML.") from None
    return [each for each in loaded if isinstance(each, dict) and each.get("kind") != "Secret"]
