"""Roles that a restored database needs: made where they are missing, never changed where not.

A role that exists is the server's, and others' databases may live by what it may do. How it differs
from the backup is told by the proof, and listed with what would end it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup.deed import Deed, assignment, psql_word, spelled
from pytest_costmgmt.backup.model import Difference, Manifest, Membership, Role
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.statements import Statement, rows

if TYPE_CHECKING:
    from psycopg import Connection

HAS_GRANT_OPTIONS = 16_00_00
"From here on a membership says whether it inherits, and may be assumed, and who granted it."

WHY = "It was there before the restore, which changes no role that exists: your decision."

CREATEROLE = "a superuser, or CREATEROLE with ADMIN on the role"

_FLAGS = {
    "superuser": "SUPERUSER",
    "inherit": "INHERIT",
    "createrole": "CREATEROLE",
    "createdb": "CREATEDB",
    "login": "LOGIN",
    "replication": "REPLICATION",
    "bypassrls": "BYPASSRLS",
}

_EXISTING = """
SELECT r.rolname, pg_catalog.pg_has_role(r.oid,
           CASE WHEN pg_catalog.current_setting('server_version_num')::int4 >= 160000
                THEN 'SET' ELSE 'MEMBER' END)
  FROM pg_catalog.pg_roles AS r
"""


def on_server(connection: Connection[Any]) -> dict[str, bool]:
    """Return the server's roles, and of each whether the login may give things to it."""
    with asking("reading the roles"), read_only(connection, timeout=30) as cursor:
        return {name: bool(may) for name, may in rows(cursor, _EXISTING)}


def owners(manifest: Manifest) -> set[str]:
    """Return the roles that own something in the backup.

    Before 15 the schema public belongs to the first superuser, and pg_dump does not say so.
    """
    found = {manifest.database.owner}
    found |= {
        each.value
        for each in manifest.properties
        if each.name == "owner" and each.of != "schema public"
    }
    return found | {each.owner for each in manifest.large_objects}


def creations(manifest: Manifest, have: Iterable[str]) -> tuple[Deed, ...]:
    """Return the deeds that make the missing roles, without what refers to another."""
    known = set(have)
    missing = [role for role in manifest.roles if role.name not in known]
    return tuple(_creation(role) for role in missing)


def adornments(manifest: Manifest, have: Iterable[str], server_number: int) -> tuple[Deed, ...]:
    """Return the deeds that complete the roles just made: settings, memberships, and the like."""
    known = set(have)
    new = {role.name: role for role in manifest.roles if role.name not in known}
    found = [deed for role in new.values() for deed in _completed(role)]
    supers = {r.name for r in manifest.roles if r.attributes.get("superuser") == "yes"}
    granted = [m for m in manifest.memberships if m.role in new or m.member in new]
    return (*found, *(grant(each, server_number, supers) for each in granted))


def _creation(role: Role) -> Deed:
    words = [
        word if role.attributes.get(key) == "yes" else f"NO{word}"
        for key, word in _FLAGS.items()
        if key in role.attributes
    ]
    if (limit := role.attributes.get("connection limit", "-1")) != "-1":
        words.append(f"CONNECTION LIMIT {int(limit)}")
    text = ""
    if until := role.attributes.get("valid until"):
        words.append("VALID UNTIL {t}")
        text = until
    # What is no by default needs no right to be said, but CREATEROLE before 16 may not say it.
    words = [word for word in words if word not in _BY_DEFAULT]
    create = Statement(f"CREATE ROLE {{}} {' '.join(words)}".rstrip(), (role.name,), text)
    return Deed(
        what=f"role {role.name}",
        statements=(create,),
        needs="a superuser" if role.attributes.get("superuser") == "yes" else CREATEROLE,
        ends=spelled("role ", role.name),
    )


_BY_DEFAULT = {
    *(f"NO{word}" for key, word in _FLAGS.items() if key != "inherit"),
    "INHERIT",
}


def _completed(role: Role) -> Iterator[Deed]:
    ends = spelled("role ", role.name)
    if role.verifier:
        yield Deed(
            what=f"password of role {role.name}",
            statements=(Statement("ALTER ROLE {} PASSWORD {t}", (role.name,), role.verifier),),
            shown=(f"\\password {psql_word(role.name)}",),
            needs=CREATEROLE,
            ends=ends,
        )
    for setting in role.settings:
        yield Deed(
            what=f"setting of role {role.name}",
            statements=(Statement(f"ALTER ROLE {{}} SET {assignment(setting)}", (role.name,)),),
            ends=ends,
        )
    for key, privileges in sorted(role.attributes.items()):
        if key.startswith("parameter "):
            yield _parameter(role, key.removeprefix("parameter "), privileges)
    if role.comment:
        yield Deed(
            what=f"comment of role {role.name}",
            statements=(Statement("COMMENT ON ROLE {} IS {t}", (role.name,), role.comment),),
            needs=CREATEROLE,
            ends=ends,
        )


def _parameter(role: Role, parameter: str, privileges: str) -> Deed:
    names = (*parameter.split("."), role.name)
    dotted = ".".join(["{}"] * (len(names) - 1))
    statements = tuple(
        Statement(
            f"GRANT {word.strip().rstrip('*')} ON PARAMETER {dotted} TO {{}}"
            + " WITH GRANT OPTION" * word.strip().endswith("*"),
            names,
        )
        for word in privileges.split(",")
    )
    return Deed(
        what=f"parameter {parameter} for role {role.name}",
        statements=statements,
        ends=spelled("role ", role.name),
    )


def grant(membership: Membership, server_number: int, superusers: Iterable[str] = ()) -> Deed:
    """Return the deed that makes a role a member of another."""
    names = [membership.role, membership.member]
    options = ["ADMIN OPTION"] if membership.admin else []
    by = ""
    if server_number >= HAS_GRANT_OPTIONS:
        options = [
            f"{word} {'TRUE' if value else 'FALSE'}"
            for word, value in (
                ("ADMIN", membership.admin),
                ("INHERIT", membership.inherit),
                ("SET", membership.set),
            )
            if value is not None
        ]
        # A superuser's grant is any superuser's: the first of them may have another name here.
        if membership.grantor and membership.grantor not in set(superusers):
            by = " GRANTED BY {}"
            names.append(membership.grantor)
    given = f" WITH {', '.join(options)}" if options else ""
    return Deed(
        what=f"membership of {membership.member} in {membership.role}",
        statements=(Statement(f"GRANT {{}} TO {{}}{given}{by}", tuple(names)),),
        needs="a superuser, or ADMIN on the role",
        ends=_names(membership),
    )


def _names(membership: Membership) -> tuple[tuple[str, str], ...]:
    """Return a membership as differences name it, by whomever it was granted."""
    plain = spelled("membership of ", membership.member, " in ")
    both = [each for of, _ in plain for each in spelled(of, membership.role)]
    return (*both, *((f"{of} granted by *", "") for of, _ in both))


def differing(
    manifest: Manifest, differences: Iterable[Difference], server_number: int
) -> tuple[Deed, ...]:
    """Return what would end the differences of roles that exist: a person's to decide."""
    found: list[Deed] = []
    memberships = [(grant(each, server_number), each) for each in manifest.memberships]
    for difference in differences:
        if difference.of.startswith("role "):
            role = next((r for r in manifest.roles if _is_role(difference.of, r.name)), None)
            found += [] if role is None else [_altered(role, difference)]
        elif difference.of.startswith("membership of "):
            known = next((deed for deed, _ in memberships if deed.explains(difference)), None)
            found.append(known or _foreign(difference))
    return tuple(msgspec.structs.replace(deed, ours=False, why=WHY) for deed in found)


def _is_role(of: str, name: str) -> bool:
    return any(of == spelling for spelling, _ in spelled("role ", name))


def _altered(role: Role, difference: Difference) -> Deed:
    """Return what makes a role that exists as the backup says."""
    name, wanted = difference.name, difference.expected
    shown: tuple[str, ...] = ()
    statement = Statement("ALTER ROLE {} VALID UNTIL {t}", (role.name,), wanted)
    if name in _FLAGS:
        word = ("" if wanted == "yes" else "NO") + _FLAGS[name]
        statement = Statement(f"ALTER ROLE {{}} {word}", (role.name,))
    elif name == "connection limit":
        statement = Statement(f"ALTER ROLE {{}} CONNECTION LIMIT {int(wanted)}", (role.name,))
    elif name == "valid until" and wanted == "none":
        statement = Statement("ALTER ROLE {} VALID UNTIL {t}", (role.name,), "infinity")
    elif name == "comment":
        statement = Statement("COMMENT ON ROLE {} IS {t}", (role.name,), role.comment)
    elif name.startswith("setting "):
        statement = _set_again(role, name.removeprefix("setting "))
    elif name != "valid until":
        shown = (f"-- {name}: {' '.join(wanted.split())}",)
        if name == "password":
            shown = (f"\\password {psql_word(role.name)}",)
    return Deed(
        what=f"{name} of role {role.name}: {wanted}, not {difference.found}",
        statements=(statement,),
        shown=shown,
        needs=CREATEROLE,
        ends=tuple((of, name) for of, _ in spelled("role ", role.name)),
    )


def _set_again(role: Role, key: str) -> Statement:
    for setting in role.settings:
        if setting.partition("=")[0] == key:
            return Statement(f"ALTER ROLE {{}} SET {assignment(setting)}", (role.name,))
    dotted = ".".join(["{}"] * len(key.split(".")))
    return Statement(f"ALTER ROLE {{}} RESET {dotted}", (role.name, *key.split(".")))


def _foreign(difference: Difference) -> Deed:
    """Return a remark about a membership that the backup has not: it may be another's."""
    return Deed(
        what=f"{difference.of}: the backup has it not",
        statements=(),
        shown=(f"-- {' '.join(difference.line.split())}",),
        needs="somebody who knows why it is so",
        ends=((difference.of, difference.name),),
    )
