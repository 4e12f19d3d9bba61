"""What a cluster knows of a release that is not as it must be: events, states, logs; capped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.facts.exhibit import Exhibit
from pytest_costmgmt.facts.release import MIGRATION, POD, SERVICE, STATEFUL_SET, Objects
from pytest_costmgmt.kubernetes.leaks import rendered
from pytest_costmgmt.kubernetes.objects import Reader, capped
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.secret import redact

LARGEST = 48_000
"Characters of one exhibit: the end of a log says why it ended."
Read = Callable[[], str | None]
_APPS, _BATCH = "apps/v1", "batch/v1"

_OWN_LOG = """
SELECT pg_catalog.pg_read_file(f.name, greatest(0, s.size - %s), %s)
  FROM (SELECT pg_catalog.pg_current_logfile()) AS f(name),
       LATERAL pg_catalog.pg_stat_file(f.name) AS s
 WHERE f.name IS NOT NULL
"""


def collect(reader: Reader, objects: Objects, *, key: bytes) -> tuple[Exhibit, ...]:
    """Return what may be read; what may not says so. ``key`` is the run's."""
    found: list[Exhibit] = []
    for title, read in _wanted(reader, objects, key):
        try:
            text = read()
        except CostMgmtError as error:
            text = f"not to be seen: {error.message}"
        if text:
            found.append(Exhibit(title=title, text=capped(redact(text), LARGEST)))
    return tuple(found)


def _wanted(reader: Reader, objects: Objects, key: bytes) -> Iterator[tuple[str, Read]]:
    yield "events", lambda: _events(reader)
    if objects.external:
        return
    things = [("pods", POD, ""), ("statefulsets", STATEFUL_SET, _APPS), ("services", SERVICE, "")]
    if objects.claim is not None:
        things.append(("persistentvolumeclaims", objects.claim.meta.name, ""))
    for resource, name, group in things:
        shown = partial(reader.manifest, resource, name, key=key, group=group)
        yield f"{resource} {name}", partial(_shown, shown)
    if objects.volume is not None:
        yield f"volume {objects.volume.meta.name}", partial(str, objects.volume)
    for state in () if objects.pod is None else objects.pod.states:
        yield f"log of {state.name}", partial(reader.log, POD, state.name)
        if state.restarts:
            before = partial(reader.log, POD, state.name, previous=True)
            yield f"log of {state.name} before it was restarted", before
    if objects.release:
        yield "rendered, and otherwise in the cluster", lambda: _drift(reader, objects, key)


def own_log(connection: Any, *, timeout: float) -> Exhibit | None:
    """Return the end of the log that the server writes itself, where it does."""
    what = "reading the server's own log"
    with asking(what), read_only(connection, timeout=timeout) as cursor:
        row = cursor.execute(_OWN_LOG.encode(), (LARGEST, LARGEST)).fetchone()
    if row is None or not row[0]:
        return None
    return Exhibit(title="the server's own log", text=capped(redact(row[0]), LARGEST))


def _events(reader: Reader) -> str:
    return "\n".join(
        f"{each.last} {each.type} {each.kind}/{each.name} {each.reason}"
        f"{f' ({each.count} times)' if each.count > 1 else ''}: {each.message}"
        for each in reader.events()
    )


def _shown(read: Callable[[], Mapping[str, Any] | None]) -> str:
    if (manifest := read()) is None:
        return "there is none"
    import yaml  # noqa: PLC0415 - comes with the client, heavy

    return str(yaml.safe_dump(manifest, sort_keys=False, width=100))


def _drift(reader: Reader, objects: Objects, key: bytes) -> str:
    """Return where the cluster has something else than Helm rendered."""
    told: list[str] = []
    for made in rendered(reader.api, reader.namespace, objects.release, key=key):
        kind, name = str(made.get("kind")), str((made.get("metadata") or {}).get("name"))
        if (kind, name) not in _KINDS:
            continue
        resource, group = _KINDS[kind, name]
        live = reader.manifest(resource, name, key=key, group=group)
        if live is None:
            told.append(f"{kind}/{name}: it is gone")
            continue
        told += [f"{kind}/{name}: {line}" for line in differences(_parts(made), live)]
    return "\n".join(told)


_KINDS = {
    ("StatefulSet", STATEFUL_SET): ("statefulsets", _APPS),
    ("Service", SERVICE): ("services", ""),
    ("ConfigMap", "postgres-configuration"): ("configmaps", ""),
    ("CronJob", MIGRATION): ("cronjobs", _BATCH),
}


def _parts(made: Mapping[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("spec", "data") if name in made}


def differences(wanted: Any, live: Any, path: str = "") -> Iterator[str]:
    """Yield where ``live`` has not what ``wanted`` says; what it has beyond that is the cluster's.

    >>> list(differences({"a": {"b": 1}, "c": [1]}, {"a": {"b": 2, "x": 3}, "c": [1]}))
    ['a.b is 2, rendered 1']
    """
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for name, value in wanted.items():
            yield from differences(value, live.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(wanted, list) and isinstance(live, list) and len(wanted) == len(live):
        for index, (one, other) in enumerate(zip(wanted, live, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif wanted not in (live, None, {}, [], "") and str(wanted) != str(live):
        yield f"{path} is {live!r}, rendered {wanted!r}"
