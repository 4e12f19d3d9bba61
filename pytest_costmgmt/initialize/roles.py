"""Steps about roles: the application's and hive's, with nothing that they must not have."""

from __future__ import annotations

from typing import Any

from pytest_costmgmt.initialize.step import Change, Work
from pytest_costmgmt.postgres.statements import Statement, rows
from pytest_costmgmt.requirements.model import HiveNeeds
from pytest_costmgmt.secret import Secret

BOOTSTRAP_SUPERUSER = 10
"The oid of the role that initdb made; it cannot lose SUPERUSER, nor should the server lose it."

ROLE = """
SELECT r.oid, r.rolcanlogin, r.rolsuper, r.rolcreatedb, r.rolcreaterole, r.rolbypassrls,
       r.rolname = current_user
  FROM pg_catalog.pg_roles AS r
 WHERE r.rolname = %(role)s
"""

HIVE = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_database AS d WHERE d.datname = %(database)s),
       EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = %(role)s)
"""

FORBIDDEN = ("SUPERUSER", "CREATEDB", "CREATEROLE", "BYPASSRLS")
"Attributes that koku's roles must not have, in the order of the query's columns."


def role(name: str, *, maintenance: str, password: Secret) -> Work:
    """Return the step that makes role ``name`` exist, with a login and nothing more."""
    create = Statement(
        "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        " PASSWORD {password}",
        (name,),
        password=password,
    )

    def look(cursor: Any) -> Change:
        found = rows(cursor, ROLE, role=name)
        return _drift(name, *found[0]) if found else Change(statements=(create,))

    return Work(name=f"role {name}", database=maintenance, by="administrator", look=look)


def _drift(name: str, oid: int, login: bool, *attributes: bool) -> Change:
    *has, myself = attributes
    wrong = [word for word, on in zip(FORBIDDEN, has, strict=True) if on]
    words = ["LOGIN"] * (not login) + ["NO" + word for word in wrong]
    if not words:
        return Change()
    if oid == BOOTSTRAP_SUPERUSER or (myself and wrong):
        return Change(
            refusal=f"it is {', '.join(wrong) or 'the first superuser'}, and the role by which the"
            " server is administered: give the application a role of its own"
        )
    statement = Statement("ALTER ROLE {} " + " ".join(words), (name,))
    return Change(action="changed", statements=(statement,), remark=" ".join(words))


def hive_absent(needs: HiveNeeds, *, maintenance: str) -> Work:
    """Return the step that tells of a hive that must not be there; it is never dropped by us."""

    def look(cursor: Any) -> Change:
        has_database, has_role = rows(cursor, HIVE, role=needs.role, database=needs.database)[0]
        if not (has_database or has_role):
            return Change()
        things = [("database", needs.database)] * has_database + [("role", needs.role)] * has_role
        return Change(
            statements=tuple(Statement(f"DROP {kind.upper()} {{}}", (n,)) for kind, n in things),
            refusal=" and ".join(f"{kind} {n}" for kind, n in things)
            + " must not exist with this requirement set, and may hold data: look at it, then drop"
            " it yourself",
        )

    return Work(name="no hive", database=maintenance, by="superuser", look=look, blocks=False)
