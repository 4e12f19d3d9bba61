"""Secret objects: what may be told of them, and what may only be used.

A Secret's data enters no value of ours but :class:`~pytest_costmgmt.secret.Secret`, which never
prints. What is evidence is each key's name, its length, and a hash keyed by the run: enough to see
that two are equal or that one changed, useless to guess from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.trouble import NotThere
from pytest_costmgmt.secret import MASK, Secret, redact

# What the chart and koku keep beside the password: names, which a report must be able to say.
_NAMES = frozenset({"database", "db", "dbname", "username", "user", "host", "hostname", "port"})
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class KeyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One key of a Secret: never its value."""

    name: str
    length: int
    digest: str
    "HMAC-SHA256 with the run's key, hexadecimal."
    trailing_newline: bool = False
    blank_around: bool = False
    uri_safe: bool = True
    text: bool = True


class SecretFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A Secret object, without its data."""

    name: str
    namespace: str
    uid: str
    version: str
    type: str
    keys: tuple[KeyFacts, ...]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    created: str = ""
    changed: str = ""
    "When its data was last written, as the API server's managers noted it."
    immutable: bool = False

    def key(self, name: str) -> KeyFacts | None:
        """Return a key's facts, or None if the Secret lacks it."""
        return next((key for key in self.keys if key.name == name), None)


def secret_facts(api: Api, namespace: str, name: str, *, key: bytes) -> SecretFacts | None:
    """Return what may be told of a Secret; ``key`` is the run's. None if there is none."""
    try:
        found = _read(api, namespace, name)
    except NotThere:
        return None
    return facts_of(found, key=key)


def secret_type(api: Api, namespace: str, name: str) -> str | None:
    """Return of which type a Secret is; None if there is none. What it holds is not looked at."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/{quote(name, safe='')}"
    try:
        return str(api.get(path, what=f"Reading the type of Secret {name}").get("type") or "")
    except NotThere:
        return None


def secret_values(api: Api, namespace: str, name: str) -> dict[str, Secret]:
    """Return a Secret's text values, to log in with. What is no text is left out."""
    __tracebackhide__ = True
    found = _read(api, namespace, name)
    return {
        part: Secret(raw.decode("utf-8"), by_value=part not in _NAMES)
        for part, raw in _data(found)
        if _is_text(raw)
    }


def secret_name(api: Api, namespace: str, name: str, key: str) -> str:
    """Return the value of a key that is a name (a database's, a role's), which is no secret."""
    if key not in _NAMES:
        raise ValueError(f"{key!r} is no key of a name")
    return dict(_data(_read(api, namespace, name))).get(key, b"").decode("utf-8", "replace")


def _read(api: Api, namespace: str, name: str) -> dict[str, Any]:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/secrets/{quote(name, safe='')}"
    found = api.get(path, what=f"Reading the keys of Secret {name}")
    for part, raw in _data(found):
        if part not in _NAMES:
            Secret(raw.decode("utf-8", "surrogateescape"))  # from now on redacted by its value
    return found


def facts_of(found: Mapping[str, Any], *, key: bytes) -> SecretFacts:
    """Return what may be told of a Secret as the API server has it."""
    meta = found.get("metadata") or {}
    annotations = meta.get("annotations") or {}
    return SecretFacts(
        name=str(meta.get("name") or ""),
        namespace=str(meta.get("namespace") or ""),
        uid=str(meta.get("uid") or ""),
        version=str(meta.get("resourceVersion") or ""),
        type=str(found.get("type") or ""),
        keys=tuple(_key_facts(name, raw, key) for name, raw in _data(found)),
        labels=dict(meta.get("labels") or {}),
        annotations={
            name: redact(str(value)) for name, value in annotations.items() if name != _LAST_APPLIED
        },
        created=str(meta.get("creationTimestamp") or ""),
        changed=_changed(meta),
        immutable=bool(found.get("immutable")),
    )


def _changed(meta: Mapping[str, Any]) -> str:
    """Return when the data was written last.

    >>> _changed({"creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [
    ...     {"time": "2026-02-01T00:00:00Z", "fieldsV1": {"f:data": {}}},
    ...     {"time": "2026-03-01T00:00:00Z", "fieldsV1": {"f:metadata": {}}}]})
    '2026-02-01T00:00:00Z'
    """
    times = [
        str(each.get("time") or "")
        for each in meta.get("managedFields") or ()
        if {"f:data", "f:stringData"} & set(each.get("fieldsV1") or ())
    ]
    return max([str(meta.get("creationTimestamp") or ""), *times])


def _data(found: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield each key and its bytes, whether encoded or, in what was rendered, plain."""
    plain = found.get("stringData") or {}
    for name, value in sorted((found.get("data") or {}).items()):
        if name not in plain:
            try:
                yield str(name), base64.b64decode(str(value or ""), validate=False)
            except binascii.Error:
                yield str(name), str(value).encode()
    for name, value in sorted(plain.items()):
        yield str(name), str(value).encode()


def _key_facts(name: str, raw: bytes, key: bytes) -> KeyFacts:
    text = raw.decode("utf-8") if _is_text(raw) else None
    return KeyFacts(
        name=name,
        length=len(raw),
        digest=digest(raw, key=key),
        trailing_newline=raw.endswith((b"\n", b"\r")),
        blank_around=text is not None and text != text.strip(),
        uri_safe=text is not None and quote(text, safe="") == text,
        text=text is not None,
    )


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def digest(raw: bytes, *, key: bytes) -> str:
    """Return the keyed hash of a value.

    >>> digest(b"a", key=b"one run") == digest(b"a", key=b"one run")
    True
    >>> digest(b"a", key=b"one run") == digest(b"a", key=b"another")
    False
    """
    return hmac.new(key, raw, hashlib.sha256).hexdigest()


def stripped(manifest: Any, *, key: bytes) -> Any:
    """Return a manifest, or a list of them, in which no Secret has its data.

    Each value becomes its length and keyed hash, so that two manifests can still be compared. What
    other objects hold is redacted by the values that are known, those of its Secrets among them.
    """
    found = list(_objects(manifest))
    for each in found:
        if each.get("kind") == "Secret":
            for name, raw in _data(each):
                if name not in _NAMES:
                    Secret(raw.decode("utf-8", "surrogateescape"))
    return _stripped(manifest, key)


def _objects(manifest: Any) -> Iterator[dict[str, Any]]:
    if isinstance(manifest, list):
        for each in manifest:
            yield from _objects(each)
    elif isinstance(manifest, dict):
        yield manifest
        yield from _objects(manifest.get("items"))


def _stripped(manifest: Any, key: bytes) -> Any:
    if isinstance(manifest, list):
        return [_stripped(each, key) for each in manifest]
    if isinstance(manifest, str):
        return redact(manifest)
    if not isinstance(manifest, dict):
        return manifest
    kept = {name: value for name, value in manifest.items() if name != "managedFields"}
    if isinstance(annotations := kept.get("annotations"), dict) and _LAST_APPLIED in annotations:
        kept["annotations"] = {**annotations, _LAST_APPLIED: MASK}
    if kept.get("kind") == "Secret":
        told = {name: f"{len(raw)} bytes, {digest(raw, key=key)[:16]}" for name, raw in _data(kept)}
        kept = {name: value for name, value in kept.items() if name not in {"data", "stringData"}}
        kept["data"] = told
    return {redact(str(name)): _stripped(value, key) for name, value in kept.items()}
