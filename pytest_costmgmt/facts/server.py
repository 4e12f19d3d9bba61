"""What the server is: version, encoding, collations, limits, settings, event triggers.

One query. Whatever the login may not see is None or named in ``hidden``, never "absent".
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.requirements.model import Requirements

# A library's own setting that is defined only if it was preloaded at the server's start. Anybody
# may see it, whereas shared_preload_libraries itself is shown to pg_read_all_settings only.
PRELOAD_WITNESS = {"pg_stat_statements": "pg_stat_statements.max"}

Scope = Literal["role in database", "role", "database", "all roles"]


class CollationVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version that text was sorted by when it was stored, and the one that sorts now.

    ``kind`` database: the default collation of the database ``name``; collation: one that
    objects of the application's database use. None is "this provider has no versions".
    """

    kind: Literal["database", "collation"]
    name: str
    schema: str = ""
    recorded: str | None
    actual: str | None


class AppliedSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting of ALTER ROLE or ALTER DATABASE that reaches the application's sessions.

    ``wins`` is false where a more specific one covers it.
    """

    name: str
    value: str
    scope: Scope
    wins: bool


class EventTrigger(msgspec.Struct, frozen=True, kw_only=True):
    """An event trigger that fires in ordinary sessions on data definition.

    ``extension`` names the extension that it belongs to, or is empty.
    """

    name: str
    event: str
    tags: tuple[str, ...]
    function: str
    owner: str
    extension: str = ""


class KeepingSetting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting on which what is stored depends; ``source`` is pg_settings'."""

    name: str
    value: str
    source: str


class DatabaseAge(msgspec.Struct, frozen=True, kw_only=True):
    """How far the oldest ids in a database lie behind the next ones: what VACUUM has not frozen.

    ``connects`` is datallowconn: into template0 only autovacuum gets.
    """

    database: str
    connects: bool
    transactions: int
    multixacts: int


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """How many sessions the server takes, and who holds them. -1 is no limit.

    ``used_by_others`` leaves out the application's role and the session that asks;
    ``used_by_others_here`` counts those of them in the application's database.
    """

    maximum: int
    reserved: int
    used_by_application: int
    used_by_others: int
    used_by_others_here: int
    role_limit: int
    database_limit: int


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The server as one login saw it, from the database ``database``."""

    version_num: int
    version: str
    seen_by: str
    database: str
    encoding: str
    in_recovery: bool
    connections: Connections
    locks_per_transaction: int
    prepared_transactions: int
    preload: tuple[str, ...] | None
    "shared_preload_libraries; None if ``seen_by`` may not see it."
    witnesses: tuple[str, ...]
    "Settings that only preloaded libraries define (PRELOAD_WITNESS)."
    pending_restart: tuple[str, ...]
    "Settings whose file has a new value that waits for a restart."
    settings: tuple[AppliedSetting, ...]
    role_is_superuser: bool
    schemas: tuple[str, ...]
    "Schemas that a search_path of the application might name; without USAGE it passes one by."
    denied_tablespaces: tuple[str, ...]
    "Where the application's role may not create, the database's own left out."
    own_tablespace: str
    "The database's own: whoever may create in the database may create there."
    collations: tuple[CollationVersion, ...]
    event_triggers: tuple[EventTrigger, ...]
    keeping: tuple[KeepingSetting, ...]
    ages: tuple[DatabaseAge, ...]
    "Every database's, but those that an interrupted DROP DATABASE left."
    freeze_max_age: int
    multixact_freeze_max_age: int
    "The ages at which autovacuum freezes a table, whatever else is set."
    hidden: dict[str, str]
    "What could not be seen: name to reason."

    @property
    def major(self) -> int:
        """The major version, 15 for 15.18."""
        return self.version_num // 10000


# PostgreSQL 15 began to record the version of a database's default collation.
_DATABASE_VERSION = """
  SELECT pg_catalog.jsonb_build_object('kind', 'database', 'name', d.datname,
           'recorded', d.datcollversion,
           'actual', pg_catalog.pg_database_collation_actual_version(d.oid)) AS one
    FROM pg_catalog.pg_database d
   WHERE d.datname OPERATOR(pg_catalog.=) ANY (
           ARRAY[pg_catalog.current_database(), 'template1', %(hive)s::pg_catalog.name])
  UNION ALL"""

# Every operator is named with its schema although the transaction pins search_path: the facts
# must not depend on who opened the transaction.
_QUERY = (
    """
WITH me AS (
  SELECT r.oid, r.rolconnlimit, r.rolsuper FROM pg_catalog.pg_roles r
   WHERE r.rolname OPERATOR(pg_catalog.=) %(role)s::pg_catalog.name
), here AS (
  SELECT d.oid, d.datconnlimit, d.encoding, d.dattablespace FROM pg_catalog.pg_database d
   WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
), known AS (
  SELECT s.name, s.setting, s.reset_val, s.context, s.pending_restart, s.source
    FROM pg_catalog.pg_settings s
), busy AS (
  SELECT a.datid, a.usesysid FROM pg_catalog.pg_stat_activity a
   WHERE a.datid IS NOT NULL AND a.usesysid IS NOT NULL
     AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
     -- The type of others' sessions is hidden from an ordinary role: it counts them all.
     AND coalesce(a.backend_type OPERATOR(pg_catalog.=) 'client backend'::pg_catalog.text, true)
), others AS (
  SELECT b.datid FROM busy b
   WHERE NOT EXISTS (SELECT FROM me WHERE me.oid OPERATOR(pg_catalog.=) b.usesysid)
), applied AS (
  SELECT CASE WHEN s.setrole OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
              THEN CASE WHEN s.setdatabase OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
                        THEN 'role in database' ELSE 'role' END
              ELSE CASE WHEN s.setdatabase OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
                        THEN 'database' ELSE 'all roles' END END AS scope,
         entry.ordinality, entry.text
    FROM pg_catalog.pg_db_role_setting s,
         LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY AS entry(text, ordinality)
   WHERE (s.setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid
          OR EXISTS (SELECT FROM me WHERE me.oid OPERATOR(pg_catalog.=) s.setrole))
     AND (s.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid
          OR EXISTS (SELECT FROM here WHERE here.oid OPERATOR(pg_catalog.=) s.setdatabase))
), paths AS (
  SELECT a.text FROM applied a
   WHERE pg_catalog.strpos(a.text, 'search_path=') OPERATOR(pg_catalog.=) 1
  UNION ALL
  SELECT k.reset_val FROM known k WHERE k.name OPERATOR(pg_catalog.=) 'search_path'::pg_catalog.text
), versions AS (""",
    """
  SELECT pg_catalog.jsonb_build_object('kind', 'collation', 'name', c.collname,
           'schema', n.nspname, 'recorded', c.collversion,
           'actual', pg_catalog.pg_collation_actual_version(c.oid)) AS one
    FROM pg_catalog.pg_collation c
    JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.collnamespace
   WHERE c.collversion IS NOT NULL
     AND EXISTS (SELECT FROM pg_catalog.pg_depend x
       WHERE x.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_collation'::pg_catalog.regclass
         AND x.refobjid OPERATOR(pg_catalog.=) c.oid
         AND x.deptype OPERATOR(pg_catalog.=) 'n'::pg_catalog."char")
)
SELECT pg_catalog.jsonb_build_object(
  'version_num', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
  'version', pg_catalog.current_setting('server_version'),
  'seen_by', current_user,
  'database', pg_catalog.current_database(),
  'encoding', (SELECT pg_catalog.pg_encoding_to_char(here.encoding) FROM here),
  'in_recovery', pg_catalog.pg_is_in_recovery(),
  'values', (SELECT pg_catalog.jsonb_object_agg(k.name, k.setting) FROM known k
     WHERE k.name OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.text[])),
  'witnesses', (SELECT pg_catalog.jsonb_agg(k.name) FROM known k
     WHERE k.name OPERATOR(pg_catalog.=) ANY (%(witnesses)s::pg_catalog.text[])
       AND k.context OPERATOR(pg_catalog.=) 'postmaster'::pg_catalog.text),
  'pending_restart', (SELECT pg_catalog.jsonb_agg(k.name) FROM known k
     WHERE k.pending_restart AND k.name OPERATOR(pg_catalog.=) ANY (%(names)s::pg_catalog.text[])),
  'used_by_application', (SELECT pg_catalog.count(*) FROM busy b
     JOIN me ON me.oid OPERATOR(pg_catalog.=) b.usesysid),
  'used_by_others', (SELECT pg_catalog.count(*) FROM others),
  'used_by_others_here', (SELECT pg_catalog.count(*) FROM others o
     JOIN here ON here.oid OPERATOR(pg_catalog.=) o.datid),
  'role_limit', (SELECT me.rolconnlimit FROM me),
  'role_is_superuser', (SELECT me.rolsuper FROM me),
  'database_limit', (SELECT here.datconnlimit FROM here),
  'applied', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(a.scope, a.text)
                       ORDER BY a.ordinality) FROM applied a),
  'schemas', (SELECT pg_catalog.jsonb_agg(n.nspname) FROM pg_catalog.pg_namespace n, me
     WHERE pg_catalog.has_schema_privilege(me.oid, n.oid, 'USAGE')
       AND (n.nspname OPERATOR(pg_catalog.=) %(role)s::pg_catalog.name
            OR EXISTS (SELECT FROM paths p WHERE pg_catalog.strpos(p.text,
             pg_catalog.replace(n.nspname::pg_catalog.text, '"', '""'))
             OPERATOR(pg_catalog.>) 0))),
  'denied_tablespaces', (SELECT pg_catalog.jsonb_agg(t.spcname) FROM pg_catalog.pg_tablespace t, me
     WHERE t.oid OPERATOR(pg_catalog.<>) ALL (SELECT here.dattablespace FROM here)
       AND NOT pg_catalog.has_tablespace_privilege(me.oid, t.oid, 'CREATE')),
  'own_tablespace', (SELECT t.spcname FROM pg_catalog.pg_tablespace t
     JOIN here ON here.dattablespace OPERATOR(pg_catalog.=) t.oid),
  'keeping', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', k.name,
       'value', k.setting, 'source', k.source) ORDER BY k.name) FROM known k
     WHERE k.name OPERATOR(pg_catalog.=) ANY (%(keeping)s::pg_catalog.text[])),
  'ages', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('database', d.datname,
       'connects', d.datallowconn, 'transactions', pg_catalog.age(d.datfrozenxid),
       'multixacts', pg_catalog.mxid_age(d.datminmxid)) ORDER BY d.datname)
     FROM pg_catalog.pg_database d
     -- Of what an interrupted DROP DATABASE left the server takes no account, and VACUUM neither.
    WHERE d.datconnlimit OPERATOR(pg_catalog.<>) '-2'::pg_catalog.int4),
  'collations', (SELECT pg_catalog.jsonb_agg(v.one) FROM versions v),
  'event_triggers', (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
       'name', e.evtname, 'event', e.evtevent, 'tags', coalesce(e.evttags, '{}'),
       'function', p.proname, 'owner', pg_catalog.pg_get_userbyid(e.evtowner),
       'extension', coalesce((SELECT x.extname FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_extension x ON x.oid OPERATOR(pg_catalog.=) d.refobjid
         WHERE d.classid OPERATOR(pg_catalog.=)
                 'pg_catalog.pg_event_trigger'::pg_catalog.regclass
           AND d.objid OPERATOR(pg_catalog.=) e.oid
           AND d.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog."char")::pg_catalog.text, ''))
       ORDER BY e.evtname)
     FROM pg_catalog.pg_event_trigger e
     JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) e.evtfoid
    WHERE e.evtenabled OPERATOR(pg_catalog.=) ANY (ARRAY['O', 'A']::pg_catalog."char"[])
      AND e.evtevent OPERATOR(pg_catalog.<>) 'login'::pg_catalog.name)
)::pg_catalog.text
""",
)

_NAMES = (
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "shared_preload_libraries",
    "autovacuum_freeze_max_age",
    "autovacuum_multixact_freeze_max_age",
)

# Not full_page_writes: whoever stores pages whole (ZFS, some providers) turns it off rightly.
_KEEPING = ("autovacuum", "fsync", "ignore_checksum_failure", "track_counts", "zero_damaged_pages")


def read(cursor: Any, requirements: Requirements, context: Context) -> ServerFacts:
    """Return the facts that ``cursor``'s transaction sees, in the application's database.

    Raises FactUnavailable if the server's answer has not the shape that it must have.
    """
    middle = _DATABASE_VERSION if cursor.connection.info.server_version >= 150000 else ""  # noqa: PLR2004
    cursor.execute(
        _QUERY[0] + middle + _QUERY[1],
        {
            "role": context.role,
            "hive": requirements.hive.database,
            "names": list(_NAMES),
            "keeping": list(_KEEPING),
            "witnesses": list(PRELOAD_WITNESS.values()),
        },
    )
    raw: dict[str, Any] = msgspec.json.decode(cursor.fetchone()[0])
    try:
        return _shaped(raw)
    except (KeyError, TypeError, ValueError, msgspec.ValidationError) as error:
        raise FactUnavailable(
            f"reading the server's facts from database {context.database!r}: its catalog answered"
            f" something unexpected ({error})"
        ) from error


def _shaped(raw: dict[str, Any]) -> ServerFacts:
    values: dict[str, str] = raw["values"]
    preload = values.get("shared_preload_libraries")
    plain = {
        key: raw[key] if raw[key] is not None else []
        for key in (
            "witnesses",
            "pending_restart",
            "schemas",
            "denied_tablespaces",
            "collations",
            "event_triggers",
            "keeping",
            "ages",
        )
    }
    hidden = {}
    if preload is None:
        hidden["shared_preload_libraries"] = "it is shown to members of pg_read_all_settings only"
    return msgspec.convert(
        {
            **{k: raw[k] for k in ("version_num", "version", "seen_by", "database", "encoding")},
            **plain,
            "in_recovery": raw["in_recovery"],
            "own_tablespace": raw["own_tablespace"],
            "connections": _connections(raw, values),
            "locks_per_transaction": int(values["max_locks_per_transaction"]),
            "prepared_transactions": int(values["max_prepared_transactions"]),
            "freeze_max_age": int(values["autovacuum_freeze_max_age"]),
            "multixact_freeze_max_age": int(values["autovacuum_multixact_freeze_max_age"]),
            "preload": None if preload is None else _libraries(preload),
            "settings": _applied(raw["applied"] or []),
            "role_is_superuser": bool(raw["role_is_superuser"]),
            "hidden": hidden,
        },
        ServerFacts,
    )


def _connections(raw: dict[str, Any], values: dict[str, str]) -> dict[str, int]:
    reserved = (values.get(f"{who}reserved_connections", "0") for who in ("superuser_", ""))
    counted = ("used_by_application", "used_by_others", "used_by_others_here")
    return {
        **{key: raw[key] for key in counted},
        "maximum": int(values["max_connections"]),
        "reserved": sum(map(int, reserved)),
        # A role that does not exist has no limit; that it is missing is another check's word.
        "role_limit": -1 if raw["role_limit"] is None else raw["role_limit"],
        "database_limit": raw["database_limit"],
    }


def _libraries(setting: str) -> tuple[str, ...]:
    parts = (part.strip().strip('"') for part in setting.split(","))
    return tuple(part.rpartition("/")[2].removesuffix(".so") for part in parts if part)


_PRECEDENCE: tuple[Scope, ...] = ("role in database", "role", "database", "all roles")


def _applied(rows: list[list[str]]) -> list[AppliedSetting]:
    found: list[AppliedSetting] = []
    seen: set[str] = set()
    for scope in _PRECEDENCE:
        of_scope = [text.partition("=") for where, text in rows if where == scope]
        found += [
            AppliedSetting(name=name, value=value, scope=scope, wins=name.lower() not in seen)
            for name, _, value in of_scope
        ]
        seen.update(name.lower() for name, _, _ in of_scope)
    return found
