"""Databases, roles and memberships, as the catalogs show them to any login.

``pg_roles``, ``pg_auth_members`` and ``pg_database`` are readable by everybody, so these facts hold
whoever reads them; only the passwords' verifiers (``pg_authid``) are for a superuser's eyes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.requirements.model import Requirements

FILE_FUNCTIONS = (
    "lo_export",
    "lo_import",
    "pg_ls_dir",
    "pg_read_binary_file",
    "pg_read_file",
    "pg_stat_file",
)
"Functions that read or write the server's files; only EXECUTE stands before them."

SESSION_PARAMETERS = (
    "dynamic_library_path",
    "extension_control_path",
    "plperl.on_plperlu_init",
    "session_preload_libraries",
)
"""Those that name programs, libraries or files, of which SET takes effect in a session: the
server's other ones (archive_command, log_directory, ...) only ALTER SYSTEM can change.
"""

PUBLIC = ""
"How a grant to PUBLIC is written: no role can have this name."


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role and its attributes.

    ``bootstrap``: initdb made it, so it cannot lose SUPERUSER. ``valid_until`` is an ISO time in
    UTC ("" without a limit) and ``valid_days`` the days until then by the server's clock;
    ``expired`` says that the server takes its password no more.
    """

    name: str
    login: bool
    superuser: bool = False
    createrole: bool = False
    createdb: bool = False
    bypassrls: bool = False
    replication: bool = False
    bootstrap: bool = False
    connection_limit: int = -1
    valid_until: str = ""
    valid_days: float | None = None
    expired: bool = False


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """``member`` was granted ``role``.

    Before PostgreSQL 16 ``inherit`` is the member's own attribute and ``set_role`` always true;
    since then both belong to the grant, and one pair may be granted by several grantors.
    """

    member: str
    role: str
    inherit: bool = True
    set_role: bool = True
    admin: bool = False
    grantor: str = ""


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """A database; ``connect`` lists who was granted CONNECT, by default or by name."""

    name: str
    owner: str
    encoding: str = "UTF8"
    allows_connections: bool = True
    connection_limit: int = -1
    template: bool = False
    connect: tuple[str, ...] = (PUBLIC,)


class Verifier(msgspec.Struct, frozen=True, kw_only=True):
    """How a role's password is stored: "scram-sha-256", "md5", "none" or "unknown"."""

    role: str
    kind: str


class FileGrant(msgspec.Struct, frozen=True, kw_only=True):
    """EXECUTE on one of :data:`FILE_FUNCTIONS` (with its signature), in this database."""

    function: str
    grantee: str


class ParameterGrant(msgspec.Struct, frozen=True, kw_only=True):
    """ALTER SYSTEM on a setting of the server, or SET on one of :data:`SESSION_PARAMETERS`.

    ``grantor`` is "" for the role that initdb made, as which every superuser grants and revokes;
    ``grantable`` says that the grantee may grant it on.
    """

    parameter: str
    privilege: str
    grantee: str
    grantor: str = ""
    grantable: bool = False


class RoleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The application's and hive's roles, all that they are members of, and both databases.

    ``verifiers`` is None if the reading login (``reader``) may not see them.
    """

    reader: str
    version: int
    roles: tuple[Role, ...]
    memberships: tuple[Membership, ...]
    databases: tuple[Database, ...]
    file_grants: tuple[FileGrant, ...] = ()
    parameter_grants: tuple[ParameterGrant, ...] = ()
    verifiers: tuple[Verifier, ...] | None = None

    def role(self, name: str) -> Role | None:
        """Return the role of this name if there is one."""
        return next((role for role in self.roles if role.name == name), None)

    def database(self, name: str) -> Database | None:
        """Return the database of this name if there is one."""
        return next((database for database in self.databases if database.name == name), None)


# The roles of interest and all that they are members of, however remotely.
_REACHED = """
WITH RECURSIVE reached(oid) AS (
    SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = ANY (%(roles)s)
    UNION
    SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN reached ON m.member = reached.oid
)"""

_ROLES = f"""{_REACHED}
SELECT r.rolname::pg_catalog.text, r.rolcanlogin, r.rolsuper, r.rolcreaterole, r.rolcreatedb,
       r.rolbypassrls, r.rolreplication, r.oid = 10, r.rolconnlimit,
       CASE WHEN pg_catalog.isfinite(r.rolvaliduntil) THEN pg_catalog.to_char(
            pg_catalog.timezone('UTC', r.rolvaliduntil), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
            WHEN r.rolvaliduntil < pg_catalog.now() THEN '-infinity' ELSE '' END,
       CASE WHEN pg_catalog.isfinite(r.rolvaliduntil) THEN pg_catalog.date_part(
            'epoch', r.rolvaliduntil - pg_catalog.now()) / 86400 END,
       COALESCE(r.rolvaliduntil < pg_catalog.now(), false)
FROM pg_catalog.pg_roles r JOIN reached USING (oid) ORDER BY 1"""  # noqa: S608 - constants

# to_jsonb: the options of a grant are columns since 16; before, the member's attribute decides.
_MEMBERSHIPS = f"""{_REACHED}
SELECT member.rolname::pg_catalog.text, granted.rolname::pg_catalog.text,
       COALESCE((pg_catalog.to_jsonb(m) ->> 'inherit_option')::pg_catalog.bool,
                member.rolinherit),
       COALESCE((pg_catalog.to_jsonb(m) ->> 'set_option')::pg_catalog.bool, true),
       m.admin_option, COALESCE(grantor.rolname, '')::pg_catalog.text
FROM pg_catalog.pg_auth_members m
JOIN reached ON m.member = reached.oid
JOIN pg_catalog.pg_roles member ON member.oid = m.member
JOIN pg_catalog.pg_roles granted ON granted.oid = m.roleid
LEFT JOIN pg_catalog.pg_roles grantor ON grantor.oid = m.grantor
ORDER BY 1, 2, 6"""  # noqa: S608 - constants

_DATABASES = """
SELECT d.datname::pg_catalog.text, pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text,
       pg_catalog.pg_encoding_to_char(d.encoding)::pg_catalog.text, d.datallowconn,
       d.datconnlimit, d.datistemplate,
       ARRAY(SELECT DISTINCT CASE WHEN acl.grantee = 0 THEN ''
                    ELSE pg_catalog.pg_get_userbyid(acl.grantee)::pg_catalog.text END
             FROM pg_catalog.aclexplode(
                COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) acl
             WHERE acl.privilege_type = 'CONNECT' ORDER BY 1)
FROM pg_catalog.pg_database d WHERE d.datname = ANY (%(databases)s) ORDER BY 1"""

_FILE_GRANTS = f"""{_REACHED}
SELECT p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')',
       CASE WHEN acl.grantee = 0 THEN ''
            ELSE pg_catalog.pg_get_userbyid(acl.grantee)::pg_catalog.text END
FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(
     COALESCE(p.proacl, pg_catalog.acldefault('f', p.proowner))) acl
WHERE p.proname = ANY (%(functions)s) AND p.pronamespace = 11 AND acl.privilege_type = 'EXECUTE'
  AND acl.grantee <> p.proowner
  AND (acl.grantee = 0 OR acl.grantee IN (SELECT reached.oid FROM reached))
ORDER BY 1, 2"""  # noqa: S608 - constants

# The catalog is new in 15: before, nobody could be granted a setting.
_PARAMETER_GRANTS = f"""{_REACHED}
SELECT p.parname, acl.privilege_type,
       CASE WHEN acl.grantee = 0 THEN ''
            ELSE pg_catalog.pg_get_userbyid(acl.grantee)::pg_catalog.text END,
       CASE WHEN acl.grantor = 10 THEN ''
            ELSE pg_catalog.pg_get_userbyid(acl.grantor)::pg_catalog.text END,
       acl.is_grantable
FROM pg_catalog.pg_parameter_acl p, pg_catalog.aclexplode(p.paracl) acl
WHERE (acl.privilege_type = 'ALTER SYSTEM' OR p.parname = ANY (%(parameters)s))
  AND acl.grantee <> 10
  AND (acl.grantee = 0 OR acl.grantee IN (SELECT reached.oid FROM reached))
ORDER BY 1, 2, 3, 4"""  # noqa: S608 - constants
_HAS_PARAMETER_GRANTS = 150000

_READER = """
SELECT CURRENT_USER::pg_catalog.text,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
       pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT')"""

# The verifier itself never leaves the server.
_VERIFIERS = """
SELECT a.rolname::pg_catalog.text,
       CASE WHEN a.rolpassword IS NULL THEN 'none'
            WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%%' THEN 'scram-sha-256'
            WHEN a.rolpassword LIKE 'md5%%' THEN 'md5' ELSE 'unknown' END
FROM pg_catalog.pg_authid a WHERE a.rolname = ANY (%(roles)s) ORDER BY 1"""


def read(cursor: Any, requirements: Requirements, context: Context) -> RoleFacts:  # noqa: ARG001
    """Read the facts; ``cursor`` is in a read-only transaction with search_path pg_catalog."""
    names = [requirements.role.name, requirements.hive.role]
    asked = {
        "roles": names,
        "functions": list(FILE_FUNCTIONS),
        "parameters": list(SESSION_PARAMETERS),
        "databases": [requirements.database.name, requirements.hive.database],
    }
    reader, version, sees_verifiers = cursor.execute(_READER).fetchone()
    return RoleFacts(
        reader=reader,
        version=version,
        roles=tuple(map(_role, cursor.execute(_ROLES, asked))),
        memberships=tuple(map(_membership, cursor.execute(_MEMBERSHIPS, asked))),
        databases=tuple(map(_database, cursor.execute(_DATABASES, asked))),
        file_grants=tuple(
            FileGrant(function=row[0], grantee=row[1])
            for row in cursor.execute(_FILE_GRANTS, asked)
        ),
        parameter_grants=_parameter_grants(cursor, asked, version),
        verifiers=_verifiers(cursor, asked) if sees_verifiers else None,
    )


def _role(row: tuple[Any, ...]) -> Role:
    return Role(
        name=row[0],
        login=row[1],
        superuser=row[2],
        createrole=row[3],
        createdb=row[4],
        bypassrls=row[5],
        replication=row[6],
        bootstrap=row[7],
        connection_limit=row[8],
        valid_until=row[9],
        valid_days=row[10],
        expired=row[11],
    )


def _membership(row: tuple[Any, ...]) -> Membership:
    return Membership(
        member=row[0],
        role=row[1],
        inherit=row[2],
        set_role=row[3],
        admin=row[4],
        grantor=row[5],
    )


def _database(row: tuple[Any, ...]) -> Database:
    return Database(
        name=row[0],
        owner=row[1],
        encoding=row[2],
        allows_connections=row[3],
        connection_limit=row[4],
        template=row[5],
        connect=tuple(row[6]),
    )


def _parameter_grants(
    cursor: Any, asked: dict[str, Any], version: int
) -> tuple[ParameterGrant, ...]:
    if version < _HAS_PARAMETER_GRANTS:
        return ()
    return tuple(
        ParameterGrant(
            parameter=row[0], privilege=row[1], grantee=row[2], grantor=row[3], grantable=row[4]
        )
        for row in cursor.execute(_PARAMETER_GRANTS, asked)
    )


def _verifiers(cursor: Any, asked: dict[str, Any]) -> tuple[Verifier, ...]:
    return tuple(Verifier(role=row[0], kind=row[1]) for row in cursor.execute(_VERIFIERS, asked))
