"""Steps about databases: they exist, belong to their role, and admit no other."""

from __future__ import annotations

from typing import Any, NamedTuple

from pytest_costmgmt.initialize.step import By, Change, Work
from pytest_costmgmt.postgres.statements import Statement, rows

DATABASE = """
SELECT pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding),
       d.datallowconn
  FROM pg_catalog.pg_database AS d
 WHERE d.datname = %(database)s
"""

# Who creates a database for another role must be able to become it; since 16 a role's creator is
# its administrator, but no more than that.
CREATOR = """
SELECT pg_catalog.current_setting('is_superuser') = 'on' OR EXISTS (
           SELECT FROM pg_catalog.pg_roles AS r
            WHERE r.rolname = %(owner)s AND pg_catalog.pg_has_role(r.oid,
                  CASE WHEN v.version >= 160000 THEN 'SET' ELSE 'MEMBER' END)),
       pg_catalog.pg_encoding_to_char(t.encoding),
       v.version >= 150000
  FROM pg_catalog.pg_database AS t,
       (SELECT pg_catalog.current_setting('server_version_num')::int4 AS version) AS v
 WHERE t.datname = 'template0'
"""

ACCESS = """
SELECT a.grantee = 0, a.privilege_type
  FROM pg_catalog.pg_database AS d,
       pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) AS a
 WHERE d.datname = %(database)s
   AND (a.grantee = 0 OR a.grantee = (SELECT r.oid FROM pg_catalog.pg_roles AS r
                                       WHERE r.rolname = %(owner)s))
"""

SCHEMA = """
SELECT pg_catalog.has_schema_privilege(r.oid, n.oid, 'CREATE'),
       pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
  FROM pg_catalog.pg_namespace AS n, pg_catalog.pg_roles AS r
 WHERE n.nspname = %(schema)s AND r.rolname = %(owner)s
"""


class Wanted(NamedTuple):
    """A database as it should be."""

    name: str
    owner: str
    encoding: str


def database(wanted: Wanted, *, maintenance: str) -> Work:
    """Return the step that makes a database exist for its owner."""

    def look(cursor: Any) -> Change:
        if found := rows(cursor, DATABASE, database=wanted.name):
            return _as_found(wanted, *found[0])
        return _create(wanted, *rows(cursor, CREATOR, owner=wanted.owner)[0])

    return Work(
        name=f"database {wanted.name}",
        database=maintenance,
        by="administrator",
        look=look,
        after=(f"role {wanted.owner}",),
    )


def _as_found(wanted: Wanted, owner: str, encoding: str, admits: bool) -> Change:
    if owner != wanted.owner:
        alter = Statement("ALTER DATABASE {} OWNER TO {}", (wanted.name, wanted.owner))
        return Change(
            statements=(alter,),
            refusal=f"it belongs to role {owner}, not {wanted.owner}: an owner is changed by"
            " somebody who knows why it is so",
        )
    if encoding != wanted.encoding:
        return Change(
            refusal=f"its encoding is {encoding}, not {wanted.encoding}, which cannot be changed:"
            " dump it, create it anew, restore it"
        )
    if not admits:
        alter = Statement("ALTER DATABASE {} ALLOW_CONNECTIONS true", (wanted.name,))
        return Change(statements=(alter,), refusal="somebody closed it to all connections")
    return Change()


def _create(wanted: Wanted, becomes_owner: bool, base: str, has_providers: bool) -> Change:
    # template0 is what initdb made: no site's additions, and nobody is ever connected to it.
    create = "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING {t}"
    if base != wanted.encoding:
        # The server's locale is of another encoding; C goes with every one.
        create += " LC_COLLATE 'C' LC_CTYPE 'C'" + " LOCALE_PROVIDER libc" * has_providers
    statement = Statement(create, (wanted.name, wanted.owner), wanted.encoding)
    if becomes_owner:
        return Change(statements=(statement,), outside=True)
    return Change(
        statements=(Statement("GRANT {} TO CURRENT_USER", (wanted.owner,)), statement),
        last=(Statement("REVOKE {} FROM CURRENT_USER", (wanted.owner,)),),
        outside=True,
    )


def access(name: str, *, owner: str, by: By) -> Work:
    """Return the step by which the owner, and not everybody, may connect to database ``name``."""
    revoke = Statement("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", (name,))

    def look(cursor: Any) -> Change:
        found = set(rows(cursor, ACCESS, database=name, owner=owner))
        statements = (revoke,) if (True, "CONNECT") in found else ()
        lacks = [word for word in ("CONNECT", "CREATE") if (False, word) not in found]
        if lacks:
            grant = f"GRANT {', '.join(lacks)} ON DATABASE {{}} TO {{}}"
            statements = (*statements, Statement(grant, (name, owner)))
        return Change(action="changed", statements=statements)

    return Work(
        name=f"access to {name}",
        database=name,
        by=by,
        look=look,
        fresh=Change(action="changed", statements=(revoke,)),
        after=(f"database {name}",),
        shared=True,
    )


def schema(name: str, *, database: str, owner: str) -> Work:
    """Return the step by which the application may create in schema ``name``.

    The database's owner may from PostgreSQL 15 on, and everybody did before, unless somebody
    changed it.
    """

    def look(cursor: Any) -> Change:
        found = rows(cursor, SCHEMA, schema=name, owner=owner)
        if not found:
            statement = Statement("CREATE SCHEMA {} AUTHORIZATION {}", (name, owner))
            return Change(statements=(statement,))
        lacks = [word for word, has in zip(("CREATE", "USAGE"), found[0], strict=True) if not has]
        if not lacks:
            return Change()
        grant = f"GRANT {', '.join(lacks)} ON SCHEMA {{}} TO {{}}"
        return Change(action="changed", statements=(Statement(grant, (name, owner)),))

    return Work(
        name=f"schema {name}",
        database=database,
        by="application",
        look=look,
        after=(f"database {database}",),
    )
