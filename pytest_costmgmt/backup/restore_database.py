"""The database itself: created as the backup's was, then given its settings and privileges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup.acl import PUBLIC, Item, items
from pytest_costmgmt.backup.deed import Deed, assignment
from pytest_costmgmt.backup.model import Database, Manifest
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.postgres.statements import Statement, rows

if TYPE_CHECKING:
    from psycopg import Connection

HAS_PROVIDERS = 15_00_00
HAS_ICU_RULES = 16_00_00
HAS_BUILTIN_LOCALE = 17_00_00

WHOLE = "the database"
"How a difference names it."

OWNER = "the database's owner, or a superuser"

_TABLESPACES = "SELECT t.spcname FROM pg_catalog.pg_tablespace AS t"


def creation(
    connection: Connection[Any], database: Database, name: str, *, owner: str | None
) -> Statement:
    """Return CREATE DATABASE with the backup's encoding and locale; its owner if it may be."""
    number = connection.info.server_version
    words, names = ["CREATE DATABASE {}"], [name]
    if owner is not None:
        words.append("OWNER {}")
        names.append(owner)
    # template0 is what initdb made: no site's additions, and nobody is ever connected to it.
    words.append("TEMPLATE template0 ENCODING {t}")
    words.append(f"LC_COLLATE {_text(database.collate)} LC_CTYPE {_text(database.ctype)}")
    if number >= HAS_PROVIDERS:
        words += _provider(database, number)
    # The default is template0's; to name it needs a right to it.
    if database.tablespace not in {"", "pg_default"}:
        words.append("TABLESPACE {}")
        names.append(database.tablespace)
    return Statement(" ".join(words), tuple(names), database.encoding)


def missing_tablespaces(connection: Connection[Any], manifest: Manifest) -> list[str]:
    """Return the refusals for tablespaces that the server has not."""
    wanted = {each.value for each in manifest.properties if each.name == "tablespace"}
    wanted |= {manifest.database.tablespace} - {""}
    with asking("reading the tablespaces"), read_only(connection, timeout=30) as cursor:
        have = {row[0] for row in rows(cursor, _TABLESPACES)}
    return [
        f"tablespace {name} is not on the server: CREATE TABLESPACE {ident(name)} LOCATION '...'"
        for name in sorted(wanted - have)
    ]


def _provider(database: Database, number: int) -> Iterator[str]:
    yield f"LOCALE_PROVIDER {database.provider}"
    if database.provider == "icu":
        yield f"ICU_LOCALE {_text(database.locale)}"
        if database.icu_rules and number >= HAS_ICU_RULES:
            yield f"ICU_RULES {_text(database.icu_rules)}"
    elif database.provider == "builtin" and number >= HAS_BUILTIN_LOCALE:
        yield f"BUILTIN_LOCALE {_text(database.locale)}"


def _text(value: str) -> str:
    return literal(value).replace("{", "{{").replace("}", "}}")


def settlements(manifest: Manifest, name: str, roles: Iterable[str]) -> tuple[Deed, ...]:
    """Return the deeds that give database ``name`` what the backup's had, but limit and comment.

    These are given with the name.

    ``roles`` are those that the server has.
    """
    database = manifest.database
    found = list(_privileges(database, name, set(roles)))
    found += [_setting(setting, name) for setting in database.settings]
    if database.template:
        found.append(
            Deed(
                what=f"database {name} is a template",
                statements=(Statement("ALTER DATABASE {} IS_TEMPLATE true", (name,)),),
                needs=OWNER,
                ends=((WHOLE, "template"),),
            )
        )
    return tuple(found)


def _setting(setting: str, name: str) -> Deed:
    ends = ((WHOLE, f"setting {setting.partition('=')[0]}"),)
    role, separator, rest = setting.partition(": ")
    # A setting's own value may hold ": ", a role's name as well: a name has no "=" before it.
    if separator and "=" not in role:
        statement = Statement(
            f"ALTER ROLE {{}} IN DATABASE {{}} SET {assignment(rest)}", (role, name)
        )
        return Deed(
            what=f"setting of role {role} in database {name}",
            statements=(statement,),
            needs="a superuser, or CREATEROLE with ADMIN on the role",
            ends=ends,
        )
    return Deed(
        what=f"setting of database {name}",
        statements=(Statement(f"ALTER DATABASE {{}} SET {assignment(setting)}", (name,)),),
        ends=ends,
    )


def _privileges(database: Database, name: str, roles: set[str]) -> Iterator[Deed]:
    """Yield the deeds that grant what the backup says, and take away what is by default.

    What a role has that the server has not is a deed of its own: nobody can grant it yet.
    """
    if database.acl == ("",):
        text = "GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC"
        yield _privilege(name, [Statement(text, (name,))])
        return
    found = list(items(", ".join(database.acl)))
    known = [i for i in found if {i.grantee, i.grantor} <= {*roles, PUBLIC}]
    revokes = [
        Statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", (name,)),
        Statement("REVOKE ALL ON DATABASE {} FROM {}", (name, database.owner)),
    ]
    yield _privilege(name, [*revokes, *_grants(known, name, database.owner)])
    if unknown := [item for item in found if item not in known]:
        later = _privilege(name, list(_grants(unknown, name, database.owner)))
        yield msgspec.structs.replace(later, ours=False, why="Its role must be created first.")


def _privilege(name: str, statements: list[Statement]) -> Deed:
    shown = tuple(f"{each.shown};" for each in statements)
    return Deed(
        # A role is assumed for one transaction.
        shown=("BEGIN;", *shown, "COMMIT;"),
        what=f"privileges of database {name}",
        statements=tuple(statements),
        needs=OWNER,
        ends=((WHOLE, "ACL"),),
    )


def _grants(found: Iterable[Item], name: str, owner: str) -> Iterator[Statement]:
    """Yield the grants, the owner's first; who granted is kept where the login may be them."""
    for item in sorted(found, key=lambda item: item.grantor != owner):
        if item.grantor != owner:
            yield Statement("SET LOCAL ROLE {}", (item.grantor,))
        to, names = ("{}", (name, item.grantee)) if item.grantee else ("PUBLIC", (name,))
        for privilege, passed_on in item.on_database():
            option = " WITH GRANT OPTION" * passed_on
            yield Statement(f"GRANT {privilege} ON DATABASE {{}} TO {to}{option}", names)
        if item.grantor != owner:
            yield Statement("RESET ROLE")
