"""Is what was rendered what there is? Somebody may have changed or deleted it since."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_costmgmt.initialize.deploy_site import Site, at

RESOURCES = {
    "StatefulSet": ("statefulsets", "apps/v1"),
    "CronJob": ("cronjobs", "batch/v1"),
    "Service": ("services", ""),
    "ConfigMap": ("configmaps", ""),
    "Secret": ("secrets", ""),
    "NetworkPolicy": ("networkpolicies", "networking.k8s.io/v1"),
    "PodDisruptionBudget": ("poddisruptionbudgets", "policy/v1"),
}


def drifted(site: Site, objects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each object that is gone, or that says another thing than what was rendered."""
    for each in objects:
        kind, name = str(each.get("kind")), str(at(each, "metadata", "name"))
        if kind not in RESOURCES:
            continue
        resource, group = RESOURCES[kind]
        live = site.reader.manifest(resource, name, key=site.key, group=group)
        if live is None:
            yield f"{kind} {name} is gone"
        elif (where := difference(each, live)) is not None:
            yield f"{kind} {name} was changed at {where}"


def difference(rendered: Any, live: Any, where: str = "") -> str | None:
    """Return where ``live`` does not say what was rendered; what it says beyond is its own.

    >>> difference({"a": {"b": 1, "c": None}}, {"a": {"b": 1}, "d": 2})
    >>> difference({"a": [{"b": "2"}]}, {"a": [{"b": 2, "protocol": "TCP"}]})
    >>> difference({"a": [{"b": 1}]}, {"a": [{"b": 2}]})
    'a[0].b'
    >>> difference({"a": [1]}, {"a": [1, 2]})
    'a'
    """
    if isinstance(rendered, Mapping):
        return _mapping(rendered, live, where)
    if isinstance(rendered, list):
        return _list(rendered, live, where)
    same = rendered in (None, "", False) and live in (None, "", False)
    return None if same or _scalar(rendered) == _scalar(live) else where


_UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20,
          "Gi": 2**30, "Ti": 2**40}  # fmt: skip
_QUANTITY = re.compile(rf"(\d+(?:\.\d+)?)({'|'.join(_UNITS)})?")


def _scalar(value: Any) -> str | float:
    """Return a value to be compared: the API server writes 2000m as 2.

    >>> _scalar("2000m") == _scalar("2"), _scalar("1Gi") == _scalar("1024Mi"), _scalar("v1")
    (True, True, 'v1')
    """
    found = _QUANTITY.fullmatch(str(value))
    return float(found[1]) * _UNITS.get(found[2], 1) if found else str(value)


def _mapping(rendered: Mapping[str, Any], live: Any, where: str) -> str | None:
    # Nothing is the same as what is not there: the API server drops it.
    if live is None and not any(rendered.values()):
        return None
    if not isinstance(live, Mapping):
        return where or "its kind"
    for name, value in rendered.items():
        below = f"{where}.{name}" if where else str(name)
        if (found := difference(value, live.get(name), below)) is not None:
            return found
    return None


def _list(rendered: list[Any], live: Any, where: str) -> str | None:
    if live is None and not rendered:
        return None
    if not isinstance(live, list) or len(live) != len(rendered):
        return where
    for index, value in enumerate(rendered):
        if (found := difference(value, live[index], f"{where}[{index}]")) is not None:
            return found
    return None
