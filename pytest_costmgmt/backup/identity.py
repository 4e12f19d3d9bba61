"""The database itself, its extensions, and the roles that it cannot do without."""

# ruff: noqa: S608 - constants are composed with constants

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.backup.model import Database, Extension, Membership, Role
from pytest_costmgmt.backup.properties_parts import PG15

if TYPE_CHECKING:
    from psycopg import Cursor

ACL = """
(SELECT pg_catalog.array_agg(i::pg_catalog.text ORDER BY i::pg_catalog.text COLLATE "C")
   FROM pg_catalog.unnest({0}) AS i)"""

_SIZE = "pg_catalog.pg_database_size(d.oid)"

# to_jsonb: which columns there are is the version's affair.
_DATABASE = f"""
SELECT d.datname::pg_catalog.text, pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text,
       pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text,
       d.datcollate::pg_catalog.text, d.datctype::pg_catalog.text,
       COALESCE(j ->> 'datlocprovider', 'c'),
       COALESCE(j ->> 'datlocale', j ->> 'daticulocale', ''), COALESCE(j ->> 'daticurules', ''),
       d.datconnlimit,
       CASE WHEN d.datacl IS NULL THEN NULL
            WHEN {ACL.format("d.datacl")} = {ACL.format("pg_catalog.acldefault('d', d.datdba)")}
            THEN NULL ELSE COALESCE({ACL.format("d.datacl")}, '{{}}') END,
       COALESCE(pg_catalog.shobj_description(d.oid, 'pg_database'), ''),
       s.spcname::pg_catalog.text, d.datistemplate, {_SIZE}
  FROM pg_catalog.pg_database AS d
  JOIN pg_catalog.pg_tablespace AS s ON s.oid = d.dattablespace
 CROSS JOIN LATERAL pg_catalog.to_jsonb(d) AS j
 WHERE d.datname = pg_catalog.current_database()"""

_SETTINGS = """
SELECT COALESCE(pg_catalog.pg_get_userbyid(NULLIF(s.setrole, 0)) || ': ', '') || c
  FROM pg_catalog.pg_db_role_setting AS s
  JOIN pg_catalog.pg_database AS d
    ON d.oid = s.setdatabase AND d.datname = pg_catalog.current_database()
 CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c"""

_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


def database(cursor: Cursor[Any], *, sized: bool = True) -> Database:
    """Return the database that the cursor is in: what pg_dump leaves out without --create.

    Not ``sized`` it has 0 bytes: for them the server looks at each of its files.
    """
    cursor.execute((_DATABASE if sized else _DATABASE.replace(_SIZE, "0")).encode())
    row = cursor.fetchone()
    assert row is not None  # noqa: S101 - we are in it
    name, owner, encoding, collate, ctype, provider, locale, rules, limit, acl, *rest = row
    comment, tablespace, template, size = rest
    cursor.execute(_SETTINGS.encode())
    return Database(
        name=name,
        owner=owner,
        encoding=encoding,
        collate=collate,
        ctype=ctype,
        provider=_PROVIDERS.get(provider, provider),
        locale=locale,
        icu_rules=rules,
        connection_limit=limit,
        acl=("",) if acl is None else tuple(acl),
        settings=tuple(sorted(row[0] for row in cursor)),
        comment=comment,
        tablespace=tablespace,
        template=template,
        bytes=size,
    )


_EXTENSIONS = """
SELECT e.extname::pg_catalog.text, e.extversion, n.nspname::pg_catalog.text,
       COALESCE(v.superuser AND NOT COALESCE(v.trusted, false), true)
  FROM pg_catalog.pg_extension AS e
  JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
  LEFT JOIN pg_catalog.pg_available_extension_versions AS v
    ON v.name = e.extname AND v.version = e.extversion
 ORDER BY e.extname COLLATE "C\""""


def extensions(cursor: Cursor[Any]) -> tuple[Extension, ...]:
    """Return the installed extensions; one whose files are gone counts as a superuser's."""
    cursor.execute(_EXTENSIONS.encode())
    return tuple(
        Extension(name=name, version=version, schema=schema, superuser=superuser)
        for name, version, schema, superuser in cursor
    )


# pg_shdepend has every owner, grantee and policy's role of the database, but the bootstrap
# superuser (pinned, oid 10), who is needed only where something is his.
_NEEDED = """
WITH RECURSIVE this AS (
  SELECT oid, datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
), direct (oid) AS (
  SELECT s.refobjid FROM pg_catalog.pg_shdepend AS s, this
   WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
     AND (s.dbid = this.oid OR s.dbid = 0 AND s.objid = this.oid
          AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass)
  UNION SELECT datdba FROM this
  UNION SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = ANY (%(also)s::text[])
  UNION SELECT s.setrole FROM pg_catalog.pg_db_role_setting AS s, this
         WHERE s.setdatabase = this.oid AND s.setrole <> 0
  UNION SELECT 10::pg_catalog.oid WHERE EXISTS (
         SELECT FROM pg_catalog.pg_class WHERE relowner = 10 AND oid >= 16384
         AND relkind NOT IN ('i', 'I', 't') AND relpersistence <> 't')
      OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspowner = 10
                  AND (nspname = 'public' OR NOT pg_catalog.starts_with(nspname, 'pg_')
                       AND nspname <> 'information_schema'))
      OR EXISTS (SELECT FROM pg_catalog.pg_proc AS p WHERE p.proowner = 10 AND p.oid >= 16384
                  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e WHERE e.objid = p.oid
                      AND e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                      AND e.deptype = 'e'))
      OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE lomowner = 10)
), up (oid) AS (
  SELECT oid FROM direct
  UNION SELECT m.roleid FROM pg_catalog.pg_auth_members AS m JOIN up ON up.oid = m.member
), down (oid) AS (
  SELECT oid FROM direct WHERE oid >= 16384
  UNION SELECT m.member FROM pg_catalog.pg_auth_members AS m JOIN down ON down.oid = m.roleid
), needed (oid) AS (SELECT oid FROM up UNION SELECT oid FROM down)"""

_ROLES = f"""{_NEEDED}
SELECT r.rolname::pg_catalog.text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb,
       r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit,
       CASE WHEN pg_catalog.isfinite(r.rolvaliduntil) THEN pg_catalog.to_char(pg_catalog.timezone(
            'UTC', r.rolvaliduntil), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
            -- No SQL takes a limit away but by this word, which means the same.
            ELSE COALESCE(NULLIF(r.rolvaliduntil::pg_catalog.text, 'infinity'), '') END,
       (SELECT pg_catalog.array_agg(c ORDER BY c COLLATE "C")
          FROM pg_catalog.pg_db_role_setting AS s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig)
               AS c WHERE s.setrole = r.oid AND s.setdatabase = 0),
       COALESCE(pg_catalog.shobj_description(r.oid, 'pg_authid'), ''), {{verifier}}
  FROM pg_catalog.{{catalog}} AS r JOIN needed ON needed.oid = r.oid
 WHERE r.oid = 10 OR r.oid >= 16384 ORDER BY r.rolname COLLATE "C\""""

_MEMBERSHIPS = f"""{_NEEDED}
SELECT g.rolname::pg_catalog.text, m.rolname::pg_catalog.text,
       CASE WHEN j ? 'inherit_option' THEN COALESCE(b.rolname, '') ELSE '' END::pg_catalog.text,
       a.admin_option, (j ->> 'inherit_option')::pg_catalog.bool,
       (j ->> 'set_option')::pg_catalog.bool
  FROM pg_catalog.pg_auth_members AS a
 CROSS JOIN LATERAL pg_catalog.to_jsonb(a) AS j
  JOIN pg_catalog.pg_roles AS g ON g.oid = a.roleid
  JOIN pg_catalog.pg_roles AS m ON m.oid = a.member
  LEFT JOIN pg_catalog.pg_roles AS b ON b.oid = a.grantor
 WHERE a.roleid IN (SELECT oid FROM needed) AND a.member IN (SELECT oid FROM needed)
   AND (g.oid >= 16384 OR m.oid >= 16384)"""

_PARAMETERS = """
SELECT pg_catalog.pg_get_userbyid(i.grantee)::pg_catalog.text, p.parname,
       pg_catalog.string_agg(i.privilege_type || CASE WHEN i.is_grantable THEN '*' ELSE '' END,
         ', ' ORDER BY i.privilege_type COLLATE "C")
  FROM pg_catalog.pg_parameter_acl AS p
 CROSS JOIN LATERAL pg_catalog.aclexplode(p.paracl) AS i
 WHERE i.grantee NOT IN (0, 10) GROUP BY 1, 2"""

_ATTRIBUTES = (
    "superuser",
    "inherit",
    "createrole",
    "createdb",
    "login",
    "replication",
    "bypassrls",
)


def roles(
    cursor: Cursor[Any], *, with_verifiers: bool = False, also: Iterable[str] = ()
) -> tuple[tuple[Role, ...], tuple[Membership, ...]]:
    """Return the roles that the database needs, with their memberships.

    Needed are owners, those with privileges, policies or settings here, all whose members they
    are, and all who are members of them. Predefined roles are only named by memberships. ``also``
    names roles that count as needed if they exist. ``with_verifiers`` needs a superuser:
    PostgreSQL refuses others.
    """
    granted, named = _parameters(cursor), {"also": list(also)}
    source = {
        "catalog": "pg_authid" if with_verifiers else "pg_roles",
        "verifier": "COALESCE(r.rolpassword, '')" if with_verifiers else "NULL::pg_catalog.text",
    }
    cursor.execute(_ROLES.format(**source).encode(), named)
    found = []
    for name, *flags, limit, until, settings, comment, verifier in cursor:
        attributes = {k: "yes" if v else "no" for k, v in zip(_ATTRIBUTES, flags, strict=True)}
        attributes |= {"connection limit": str(limit), "valid until": until}
        found.append(
            Role(
                name=name,
                attributes=attributes | granted.get(name, {}),
                settings=tuple(settings or ()),
                comment=comment,
                verifier=verifier,
            )
        )
    cursor.execute(_MEMBERSHIPS.encode(), named)
    memberships = [
        Membership(role=role, member=member, grantor=grantor, admin=admin, inherit=inherit, set=to)
        for role, member, grantor, admin, inherit, to in cursor
    ]
    memberships.sort(key=lambda m: (m.role, m.member, m.grantor))
    return tuple(found), tuple(memberships)


def _parameters(cursor: Cursor[Any]) -> dict[str, dict[str, str]]:
    """Return, for each role, the server parameters that it was allowed to set (15 and later)."""
    allowed: dict[str, dict[str, str]] = {}
    if cursor.connection.info.server_version >= PG15:
        cursor.execute(_PARAMETERS.encode())
        for role, parameter, privileges in cursor:
            allowed.setdefault(role, {})[f"parameter {parameter}"] = privileges
    return allowed
