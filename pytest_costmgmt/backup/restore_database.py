"""The database itself: created as the backup's was, then given its settings and privileges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

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

# Names and grants are read by the server that wrote them; every role must exist.
_GRANTS = """
SELECT CASE WHEN a.grantee = 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
       pg_catalog.pg_get_userbyid(a.grantor), a.privilege_type, a.is_grantable
  FROM pg_catalog.aclexplode(%(acl)s::text[]::aclitem[]) AS a
"""


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


def settlements(connection: Connection[Any], manifest: Manifest, name: str) -> tuple[Deed, ...]:
    """Return the deeds that give database ``name`` what the backup's had, but its limit."""
    database = manifest.database
    found = [_privileges(connection, database, name)]
    found += [_setting(setting, name) for setting in database.settings]
    if database.comment:
        found.append(
            Deed(
                what=f"comment of database {name}",
                statements=(Statement("COMMENT ON DATABASE {} IS {t}", (name,), database.comment),),
                needs=OWNER,
                ends=((WHOLE, "comment"),),
            )
        )
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


def _privileges(connection: Connection[Any], database: Database, name: str) -> Deed:
    """Return the deed that grants what the backup says, or takes away what is by default.

    Who granted it is kept where the login may act for them, by an owner's grants first.
    """
    ends = ((WHOLE, "ACL"),)
    revoke = Statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", (name,))
    grant_public = Statement("GRANT CONNECT, TEMPORARY ON DATABASE {} TO PUBLIC", (name,))
    if database.acl == ("",):
        return Deed(
            what=f"privileges of database {name}",
            statements=(grant_public,),
            needs=OWNER,
            ends=ends,
        )
    with asking("reading the database's privileges"), read_only(connection, timeout=30) as cursor:
        found = rows(cursor, _GRANTS, acl=list(database.acl))
    by_grantor: dict[str, list[Statement]] = defaultdict(list)
    for grantee, grantor, privilege, grantable in found:
        to, names = ("PUBLIC", (name,)) if grantee is None else ("{}", (name, grantee))
        option = " WITH GRANT OPTION" * grantable
        text = f"GRANT {privilege} ON DATABASE {{}} TO {to}{option}"
        by_grantor[grantor].append(Statement(text, names))
    owner = database.owner
    statements = [revoke, Statement("REVOKE ALL ON DATABASE {} FROM {}", (name, owner))]
    statements += by_grantor.pop(owner, [])
    for grantor, grants in by_grantor.items():
        statements.append(Statement("SET LOCAL ROLE {}", (grantor,)))
        statements += grants
        statements.append(Statement("RESET ROLE"))
    return Deed(
        what=f"privileges of database {name}",
        statements=tuple(statements),
        needs=OWNER,
        ends=ends,
    )
