"""Data off the volume: what is there, who may write meanwhile, and the copy into the claim.

The older chart mounts its volume where the image keeps nothing: the data is in the container's own
layer, and goes with the pod. It is copied into the claim by ``pg_basebackup`` over the pod's own
socket, by the pod's own programs; no SQL and no password runs or lies in the pod.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from pytest_costmgmt.errors import StepFailed
from pytest_costmgmt.initialize.deploy_site import CONTAINER, POD, SET, Site
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.kubernetes.secret_objects import secret_name
from pytest_costmgmt.kubernetes.shapes import Container, Pod, StatefulSet
from pytest_costmgmt.kubernetes.streams import Ran, run
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement, rows
from pytest_costmgmt.postgres.statements import run as run_statements

STEP = "volume"
HOME = "/var/lib/pgsql/data"
"Where the image keeps its data: in userdata below it."
DATA = "userdata"
MARK = "costmgmt-moved"
"The file that says that a userdata on the claim is a copy of ours."
PARTIAL = "costmgmt-copy"
WORD = "cost-management/data-on-volume"
"The annotation by which the chart lets an upgrade pass, for the StatefulSet as it now is."
FROZEN = "default_transaction_read_only"
ROOM = 1.1
"What must be free on the claim, as a multiple of what is copied."
TOLD = 10
COPY_SECONDS = 12 * 3600.0

_SESSIONS = """
SELECT pg_catalog.concat_ws(' ', a.usename, 'in', COALESCE(a.datname, a.backend_type),
         'from', COALESCE(pg_catalog.host(a.client_addr), 'the pod'),
         NULLIF('(' || a.application_name || ')', '()'))
  FROM pg_catalog.pg_stat_activity AS a
 WHERE a.pid <> pg_catalog.pg_backend_pid()
   AND a.backend_type IN ('client backend', 'walsender')
   AND a.application_name <> %(ours)s
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'a prepared transaction of', p.owner, 'in', p.database)
  FROM pg_catalog.pg_prepared_xacts AS p
"""
_OURS = "pytest-costmgmt"
_FACTS = """
SELECT (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() AS s),
       pg_catalog.current_setting('data_directory'),
       (SELECT sum(pg_catalog.pg_database_size(d.oid))::pg_catalog.int8
          FROM pg_catalog.pg_database AS d),
       (SELECT sum(f.size)::pg_catalog.int8 FROM pg_catalog.pg_ls_waldir() AS f),
       ARRAY(SELECT t.spcname::pg_catalog.text FROM pg_catalog.pg_tablespace AS t
              WHERE t.spcname NOT IN ('pg_default', 'pg_global'))
"""
_DATABASES = """
SELECT d.datname FROM pg_catalog.pg_database AS d WHERE d.datallowconn AND NOT d.datistemplate
 ORDER BY d.datname
"""
_ROLES = """
SELECT r.rolname FROM pg_catalog.pg_roles AS r WHERE r.rolcanlogin AND NOT r.rolsuper
   AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest(r.rolconfig) AS c
                    WHERE pg_catalog.starts_with(c, 'default_transaction_read_only='))
 ORDER BY r.rolname
"""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server whose data is to be moved."""

    system: str
    folder: str
    bytes: int
    tablespaces: tuple[str, ...]
    databases: tuple[str, ...]


class Moving(msgspec.Struct, frozen=True, kw_only=True):
    """What the Lease's note says of a move under way; ``backup`` is a folder on ``host``."""

    system: str
    backup: str
    databases: tuple[str, ...]
    roles: tuple[str, ...]
    release: str = ""
    revision: int = 0
    "The last revision whose mount is off the volume: a trap for rollback."
    image: str = ""
    application: str = ""
    "The role whose password the image sets anew at each start."


def place(there: StatefulSet | None) -> str | None:
    """Return where the claim is mounted, if that is not the image's folder; "" is nowhere.

    None: the data is on the volume, or there is no release.
    """
    if there is None:
        return None
    claims = {each.name for each in there.claims}
    claims |= {v.name for v in there.template.volumes if v.source == "persistentVolumeClaim"}
    mounts = [m for m in _database(there.template.containers).mounts if m.name in claims]
    if any(m.path.rstrip("/") == HOME and not m.sub_path for m in mounts):
        return None
    return mounts[0].path.rstrip("/") if mounts else ""


def _database(containers: Sequence[Container]) -> Container:
    return next((each for each in containers if each.name == CONTAINER), containers[0])


def application(site: Site, there: StatefulSet) -> str:
    """Return the role that the image is told to make, and whose password it sets."""
    for each in _database(there.template.containers).env:
        if each.name == "POSTGRESQL_USER":
            if each.secret:
                return secret_name(site.api, site.namespace, each.secret, each.key)
            return each.literal
    return ""


def image_values(image: str) -> dict[str, Any]:
    """Return the values by which the chart keeps an image as it is.

    >>> image_values("quay.io/sclorg/postgresql-13-c9s:latest")["tag"]
    'latest'
    >>> image_values("host:5000/pg@sha256:0a")["repository"]
    'host:5000/pg'
    """
    named, _, digest = image.partition("@")
    slash = named.rfind("/")
    colon = named.find(":", slash + 1)
    repository, tag = (named[:colon], named[colon + 1 :]) if colon >= 0 else (named, "")
    return {"repository": repository, "tag": tag or "latest", "digest": digest}


def ask(login: Login, *, deadline: float) -> Server:
    """Return what is to be known of the server before anything is done."""
    connection = connect(login, deadline=deadline)
    try:
        with asking("the server's data"), connection.cursor() as cursor:
            ((system, folder, size, wal, tablespaces),) = rows(cursor, _FACTS)
            databases = tuple(name for (name,) in rows(cursor, _DATABASES))
    finally:
        connection.close()
    return Server(
        system=system,
        folder=folder,
        bytes=int(size or 0) + int(wal or 0),
        tablespaces=tuple(tablespaces),
        databases=databases,
    )


def alone(login: Login, *, deadline: float) -> None:
    """Raise StepFailed while anybody else is connected: what they write would be lost."""
    connection = connect(login, deadline=deadline)
    try:
        with asking("who is connected"), connection.cursor() as cursor:
            others = [text for (text,) in rows(cursor, _SESSIONS, ours=_OURS)]
    finally:
        connection.close()
    if others:
        left = len(others) - TOLD
        told = "; ".join(others[:TOLD]) + f"; and {left} more" * (left > 0)
        raise StepFailed(
            STEP,
            f"others are connected, and what they write would be lost: {told}",
            hint="Stop the application (scale its deployments to 0), and run it again.",
        )


def freeze(login: Login, roles: Sequence[str], *, deadline: float) -> None:
    """Let no role that is no superuser write by default."""
    _each(login, roles, f"ALTER ROLE {{}} SET {FROZEN} = on", deadline)


def thaw(login: Login, roles: Sequence[str], *, deadline: float) -> None:
    """Undo :func:`freeze`."""
    _each(login, roles, f"ALTER ROLE {{}} RESET {FROZEN}", deadline)


def to_freeze(login: Login, *, deadline: float) -> tuple[str, ...]:
    """Return the roles that may write, and have no such setting of their own."""
    connection = connect(login, deadline=deadline)
    try:
        with asking("the roles"), connection.cursor() as cursor:
            return tuple(name for (name,) in rows(cursor, _ROLES))
    finally:
        connection.close()


def _each(login: Login, roles: Sequence[str], sql: str, deadline: float) -> None:
    connection = connect(login, deadline=deadline)
    try:
        with connection.transaction():
            run_statements(connection, [Statement(sql, (role,)) for role in roles])
    finally:
        connection.close()


class Claim:
    """The claim as the old pod has it mounted."""

    def __init__(self, site: Site, pod: Pod, mount: str) -> None:
        self.site, self.pod, self.mount = site, pod, mount
        self.data = posixpath.join(mount, DATA)
        self.mark = posixpath.join(mount, MARK)
        self.partial = posixpath.join(mount, f"{PARTIAL}-{site.run}")

    def check(self, server: Server) -> None:
        """Raise StepFailed unless the copy can be made: writable, empty but for ours, with room."""
        if server.tablespaces:
            raise StepFailed(
                STEP,
                f"there are tablespaces elsewhere ({', '.join(server.tablespaces)}): a copy would"
                " leave them behind",
                hint="Back up, install anew, restore: costmgmt backup, costmgmt restore.",
            )
        if server.folder.startswith(f"{self.mount}/"):
            raise StepFailed(STEP, f"the data is in {server.folder}, which is on the claim already")
        self._writable()
        self._empty()
        self._room(server)

    def _writable(self) -> None:
        probe = posixpath.join(self.mount, f".costmgmt-{self.site.run}")
        done = self._sh('id -u; ls -ldn "$0"; : >"$1" && rm "$1"', self.mount, probe)
        if done.status != 0:
            raise StepFailed(
                STEP,
                f"the pod may not write on its claim at {self.mount}: {_last(done)}",
                hint="Its uid needs the folder (fsGroup, or chown on the volume); the pod must not"
                " be replaced for that: its data would go.",
            )

    def _empty(self) -> None:
        """Refuse what is not ours; remove what a run of ours left."""
        left = self._sh('cd "$0" && ls -1A', self.mount).stdout.split("\n")
        names = {name for name in left if name and name != "lost+found"}
        ours = {name for name in names if name.startswith(f"{PARTIAL}-")}
        # A copy that no server was ever started on still has its label. Any other is data.
        never_started = self._sh('test -e "$0/backup_label"', self.data).status == 0
        if MARK in names and (never_started or DATA not in names):
            ours |= {MARK, DATA} & names
        if others := sorted(names - ours):
            raise StepFailed(
                STEP,
                f"the claim is not empty: {', '.join(others[:8])} in {self.mount}",
                hint="Nothing of it was touched. Look what it is; only an empty claim is copied"
                " into.",
            )
        if ours:
            self._must("removing", 'cd "$0" && rm -rf -- "$@"', self.mount, *sorted(ours))
            self.site.done(STEP, "changed", f"removed what an earlier run left: {_list(ours)}")

    def _room(self, server: Server) -> None:
        done = self._must("asking", 'df -Pk "$0" | tail -n 1', self.mount)
        free = int(done.stdout.split()[3]) * 1024
        need = int(server.bytes * ROOM)
        if free < need:
            raise StepFailed(
                STEP,
                f"the claim has {free >> 20} MiB free, and the copy needs {need >> 20} MiB",
                hint="Grow the PVC where its class allows it; the pod must not be replaced.",
            )

    def copy(self, server: Server) -> None:
        """Copy the running server into the claim's userdata; it is there whole, or not at all."""
        self._must(
            "copying",
            'pg_basebackup --no-password -U postgres -D "$0" -X stream -c fast -P >&2',
            self.partial,
            deadline=COPY_SECONDS,
        )
        said = self._must("reading", 'LC_ALL=C pg_controldata "$0"', self.partial).stdout
        system = [
            line.rpartition(":")[2].strip()
            for line in said.splitlines()
            if line.startswith("Database system identifier")
        ]
        if system != [server.system]:
            raise StepFailed(STEP, f"the copy is not of this server: {system} for {server.system}")
        # The mark first: a userdata without one is never taken for ours.
        self._must(
            "publishing",
            'printf "%s\\n" "$2" >"$1" && sync && mv -T -- "$0" "$3" && sync',
            self.partial,
            self.mark,
            server.system,
            self.data,
        )

    def _must(self, doing: str, script: str, *words: str, deadline: float = 60.0) -> Ran:
        done = self._sh(script, *words, deadline=deadline)
        if done.status != 0:
            raise StepFailed(STEP, f"{doing} in pod {POD} ended with {done.status}: {_last(done)}")
        return done

    def _sh(self, script: str, *words: str, deadline: float = 60.0) -> Ran:
        argv = ["bash", "-c", script, *words]
        return run(
            self.site.api,
            self.site.namespace,
            self.pod.meta.name,
            argv,
            container=CONTAINER,
            deadline=deadline,
        )


def unmark(site: Site) -> None:
    """Remove the mark of a copy that is now the server's own data."""
    argv = ["rm", "-f", f"{HOME}/{MARK}"]
    run(site.api, site.namespace, POD, argv, container=CONTAINER)


def _last(done: Ran) -> str:
    said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return said[-1].strip() if said else "it said nothing"


def _list(names: set[str]) -> str:
    return ", ".join(shlex.quote(name) for name in sorted(names))


def give_word(site: Site, there: StatefulSet) -> None:
    """Tell the chart that the data of this StatefulSet, as it is, lies on the volume too."""
    _annotate(site, f"{there.meta.uid}.{there.generation}")


def take_word_back(site: Site) -> None:
    """Have the chart refuse an upgrade again: what was copied is not what the server has now."""
    _annotate(site, None)


def _annotate(site: Site, text: str | None) -> None:
    path = path_of(site.namespace, "statefulsets", SET, group="apps/v1")
    patch = {"metadata": {"annotations": {WORD: text}}}
    site.api.patch(path, patch, what=f"Marking StatefulSet {SET}")
