"""What was seen of a release beyond its objects: from inside its server, and over its network."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_costmgmt.facts.release import (
    HIVE_PASSWORD,
    MIGRATION,
    POD,
    STATEFUL_SET,
    Objects,
    variable,
)
from pytest_costmgmt.facts.release_folders import Folder
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.leaks import Leaks, Record, leaked, passwords, record
from pytest_costmgmt.kubernetes.policies import Policy
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.attempt import Attempt, Offered, attempt
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.login import Login

NO_RELEASE = "the target is no release in a namespace: it has no objects in a cluster"

# pg_current_logfile() is superuser's; null where the server writes to its standard error.
_INSIDE = """
SELECT pg_catalog.current_setting('data_directory'),
       coalesce(pg_catalog.pg_current_logfile(), ''),
       (SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()),
       pg_catalog.to_char(pg_catalog.timezone('UTC', pg_catalog.pg_postmaster_start_time()),
                          'YYYY-MM-DD"T"HH24:MI:SS"Z"')
"""


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of itself to its superuser; ``started`` is UTC.

    ``folders`` are where its data really lies; where nobody could ask, ``unfollowed`` says why.
    """

    data_directory: str
    log_file: str
    system_identifier: str
    started: str
    folders: tuple[Folder, ...] = ()
    unfollowed: str = ""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Logins as an application makes them, all on one path.

    ``opened`` and ``again`` stand around what must be refused. ``unprobed`` says why no pod of ours
    was asked; then only the database pod itself was. ``policies`` None could not be read.
    ``excluded`` is the application's own login from a pod that no policy lets in, ``trouble`` what
    went wrong on that way, ``excluded_from`` the pod's address.
    """

    way: str
    unprobed: str = ""
    opened: Attempt
    superuser: tuple[Attempt, ...] = ()
    again: Attempt
    policies: tuple[Policy, ...] | None = None
    excluded: Attempt | None = None
    excluded_from: str = ""
    trouble: str = ""


class ReleaseFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run knows of a release beyond its catalogs.

    ``absent`` says why the target can have none; then everything else is empty. ``objects`` is
    None if no release was found where one must be. ``errors`` says by family what was not read.
    """

    absent: str = ""
    objects: Objects | None = None
    leaks: Leaks | None = None
    record: Record | None = None
    inside: Inside | None = None
    network: Network | None = None
    errors: dict[str, str] = {}


def decoded(text: str) -> ReleaseFacts:
    """Return the facts that were encoded as ``text``; nothing is a target without a release."""
    if not text:
        return ReleaseFacts(absent=NO_RELEASE)
    return msgspec.json.decode(text, type=ReleaseFacts)


def inside(connection: Any, *, timeout: float) -> Inside:
    """Ask the server; ``connection`` is its superuser's."""
    what = "asking the server where its data is"
    with asking(what), read_only(connection, timeout=timeout) as cursor:
        row = cursor.execute(_INSIDE.encode()).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return Inside(
        data_directory=row[0], log_file=row[1], system_identifier=row[2] or "", started=row[3]
    )


_NOTHING_AND_A_GUESS: tuple[Offered, ...] = ("none", "wrong")


def network(
    application: Login, *, superuser: str, way: str, unprobed: str, deadline: float
) -> Network:
    """Log in as the application, then as the superuser with nothing and a guess, then again.

    Without a ``superuser`` nobody else is tried: each refusal counts at somebody else's server.
    """
    tried: tuple[Attempt, ...] = ()
    opened = attempt(application, offered="own", deadline=deadline, retry=True)
    if superuser:
        # pg_hba.conf may say another thing of the database that is called like the superuser.
        tried = tuple(
            attempt(
                application.acting_as(superuser, None, database=database),
                offered=offered,
                deadline=deadline,
            )
            for database in dict.fromkeys((application.database, superuser))
            for offered in _NOTHING_AND_A_GUESS
        )
    return Network(
        way=way,
        unprobed=unprobed,
        opened=opened,
        superuser=tried,
        again=attempt(application, offered="own", deadline=deadline),
    )


def _keys(objects: Objects) -> list[tuple[str, str]]:
    keys = [(objects.secret_name, objects.key("password"))]
    hive = variable(objects.migration_container, HIVE_PASSWORD)
    if hive is not None and hive.secret:
        keys.append((hive.secret, hive.key))
    return keys


def leaks(api: Api, objects: Objects) -> Leaks:
    """Look for the release's passwords where others read: its pods, templates and ConfigMaps."""
    where = [
        ("pods", "", POD),
        ("statefulsets", "apps/v1", STATEFUL_SET),
        ("cronjobs", "batch/v1", MIGRATION),
        ("configmaps", "", ""),
    ]
    namespace = objects.namespace
    secrets, unread = passwords(api, namespace, _keys(objects))
    return msgspec.structs.replace(leaked(api, namespace, where, secrets), unread=unread)


def helm_record(api: Api, objects: Objects) -> Record | None:
    """Return what Helm keeps of the release, or None if it keeps nothing."""
    if not objects.release:
        return None
    secrets, unread = passwords(api, objects.namespace, _keys(objects))
    found = record(api, objects.namespace, objects.release, secrets)
    return found and msgspec.structs.replace(found, unread=unread)
