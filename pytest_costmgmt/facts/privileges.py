"""What the application's role may do in its database: as the catalogs say, and as it was used."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.used_privileges import UsedPrivileges
from pytest_costmgmt.requirements.model import Requirements

EXAMPLES = 10


class ForeignObjects(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of one kind that ``owner``, whose rights the application has not, owns."""

    kind: str
    owner: str
    count: int
    examples: tuple[str, ...]


class ShutObjects(msgspec.Struct, frozen=True, kw_only=True):
    """Objects of one kind that the application's role owns, and of which it is kept.

    ``why`` privilege: it lacks them; row security: it is forced, and no policy lets the owner do
    what is ``lacking``; rule: it does something else instead; default: each new object of this
    kind will lack them.
    """

    kind: str
    why: str = "privilege"
    lacking: str
    count: int
    examples: tuple[str, ...]
    schemas: tuple[str, ...]


class PrivilegeFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What ``role`` may do in ``database``; None throughout if there is no such role.

    ``foreign`` and ``shut`` look at the schemas that are the application's (``schemas``): public,
    the template, and each that holds its table of migrations. ``used`` is None unless it was tried.
    """

    role: str
    database: str
    version_num: int
    role_exists: bool
    superuser: bool
    database_owner: str
    owns_database: bool
    create_on_database: bool
    temporary_on_database: bool
    public_exists: bool
    public_owner: str
    create_on_public: bool
    usage_on_public: bool
    plpgsql_exists: bool
    usage_on_plpgsql: bool
    schemas: int
    foreign: tuple[ForeignObjects, ...]
    shut: tuple[ShutObjects, ...] = ()
    used: UsedPrivileges | None = None


# Views are left out: the application has none of its own, and monitoring adds some. Members of
# extensions belong to whoever created the extension, rightly.
_QUERY = """
WITH me AS (
  SELECT r.oid, r.rolsuper, r.rolbypassrls FROM pg_catalog.pg_roles r
   WHERE r.rolname OPERATOR(pg_catalog.=) %(role)s::pg_catalog.name
), mine AS (
  SELECT r.oid FROM pg_catalog.pg_roles r, me
   WHERE pg_catalog.pg_has_role(me.oid, r.oid, 'USAGE')
), here AS (
  SELECT d.oid, d.datdba FROM pg_catalog.pg_database d
   WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
), public AS (
  SELECT n.oid, n.nspowner FROM pg_catalog.pg_namespace n
   WHERE n.nspname OPERATOR(pg_catalog.=) 'public'::pg_catalog.name
), language AS (
  SELECT l.oid FROM pg_catalog.pg_language l
   WHERE l.lanname OPERATOR(pg_catalog.=) 'plpgsql'::pg_catalog.name
), ours AS (
  SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace n
   WHERE EXISTS (SELECT FROM pg_catalog.pg_class c
      WHERE c.relnamespace OPERATOR(pg_catalog.=) n.oid
        AND c.relname OPERATOR(pg_catalog.=) %(table)s::pg_catalog.name)
      OR n.nspname OPERATOR(pg_catalog.=) %(template)s::pg_catalog.name
), objects AS (
  SELECT 'schema' AS kind, o.nspowner AS owner, pg_catalog.quote_ident(o.nspname) AS name
    FROM ours o WHERE o.nspname OPERATOR(pg_catalog.<>) 'public'::pg_catalog.name
  UNION ALL
  SELECT CASE c.relkind OPERATOR(pg_catalog.=) 'S'::pg_catalog."char" WHEN true
              THEN 'sequence' ELSE 'table' END,
         c.relowner, pg_catalog.format('%%I.%%I', o.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN ours o ON o.oid OPERATOR(pg_catalog.=) c.relnamespace
   WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'S']::pg_catalog."char"[])
     AND c.relowner OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT mine.oid FROM mine))
     -- A sequence of a column goes with its table.
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
       WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
         AND d.objid OPERATOR(pg_catalog.=) c.oid
         AND d.deptype OPERATOR(pg_catalog.=) ANY (ARRAY['e', 'a', 'i']::pg_catalog."char"[])
         AND (d.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog."char"
              OR c.relkind OPERATOR(pg_catalog.=) 'S'::pg_catalog."char"))
  UNION ALL
  SELECT 'function', p.proowner, pg_catalog.format('%%I.%%I(%%s)', o.nspname, p.proname,
           pg_catalog.pg_get_function_identity_arguments(p.oid))
    FROM pg_catalog.pg_proc p JOIN ours o ON o.oid OPERATOR(pg_catalog.=) p.pronamespace
   WHERE p.prokind OPERATOR(pg_catalog.<>) 'a'::pg_catalog."char"
     -- Only a superuser can use one: it is an administrator's.
     AND p.prorettype OPERATOR(pg_catalog.<>) 'pg_catalog.event_trigger'::pg_catalog.regtype
     AND p.proowner OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT mine.oid FROM mine))
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
       WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
         AND d.objid OPERATOR(pg_catalog.=) p.oid
         AND d.deptype OPERATOR(pg_catalog.=) 'e'::pg_catalog."char")
), lacking AS (
  -- Without an ACL of its own an object is its owner's to use: only the others are looked at.
  SELECT 'schema' AS kind, 'privilege' AS why, o.nspname AS schema,
         pg_catalog.quote_ident(o.nspname) AS name, pg_catalog.concat_ws(', ',
           CASE WHEN NOT pg_catalog.has_schema_privilege(me.oid, o.oid, 'USAGE') THEN 'USAGE' END,
           CASE WHEN NOT pg_catalog.has_schema_privilege(me.oid, o.oid, 'CREATE') THEN 'CREATE' END
         ) AS rights
    FROM ours o, me
   WHERE o.nspacl IS NOT NULL AND o.nspname OPERATOR(pg_catalog.<>) 'public'::pg_catalog.name
     AND o.nspowner OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT mine.oid FROM mine))
  UNION ALL
  SELECT 'table', 'privilege', o.nspname, pg_catalog.format('%%I.%%I', o.nspname, c.relname),
         pg_catalog.concat_ws(', ',
           CASE WHEN NOT pg_catalog.has_table_privilege(me.oid, c.oid, 'SELECT') THEN 'SELECT' END,
           CASE WHEN NOT pg_catalog.has_table_privilege(me.oid, c.oid, 'INSERT') THEN 'INSERT' END,
           CASE WHEN NOT pg_catalog.has_table_privilege(me.oid, c.oid, 'UPDATE') THEN 'UPDATE' END,
           CASE WHEN NOT pg_catalog.has_table_privilege(me.oid, c.oid, 'DELETE') THEN 'DELETE' END)
    FROM me, pg_catalog.pg_class c JOIN ours o ON o.oid OPERATOR(pg_catalog.=) c.relnamespace
   WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
     AND c.relacl IS NOT NULL
     AND c.relowner OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT mine.oid FROM mine))
  UNION ALL
  SELECT 'sequence', 'privilege', o.nspname, pg_catalog.format('%%I.%%I', o.nspname, c.relname),
         CASE WHEN pg_catalog.has_sequence_privilege(me.oid, c.oid, 'USAGE, UPDATE')
              THEN '' ELSE 'USAGE' END
    FROM me, pg_catalog.pg_class c JOIN ours o ON o.oid OPERATOR(pg_catalog.=) c.relnamespace
   WHERE c.relkind OPERATOR(pg_catalog.=) 'S'::pg_catalog."char" AND c.relacl IS NOT NULL
     AND c.relowner OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT mine.oid FROM mine))
  UNION ALL
  SELECT 'function', 'privilege', o.nspname, pg_catalog.format('%%I.%%I(%%s)', o.nspname, p.proname,
           pg_catalog.pg_get_function_identity_arguments(p.oid)), 'EXECUTE'
    FROM me, pg_catalog.pg_proc p JOIN ours o ON o.oid OPERATOR(pg_catalog.=) p.pronamespace
   WHERE p.proacl IS NOT NULL AND NOT pg_catalog.has_function_privilege(me.oid, p.oid, 'EXECUTE')
     AND p.proowner OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT mine.oid FROM mine))
  UNION ALL
  SELECT 'table', 'row security', o.nspname, pg_catalog.format('%%I.%%I', o.nspname, c.relname),
         (SELECT pg_catalog.string_agg(d.done, ', ')
            FROM (VALUES ('r'::pg_catalog."char", 'SELECT'), ('a', 'INSERT'), ('w', 'UPDATE'),
                         ('d', 'DELETE')) d(command, done)
           WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_policy p
                  WHERE p.polrelid OPERATOR(pg_catalog.=) c.oid AND p.polpermissive
                    AND p.polcmd OPERATOR(pg_catalog.=) ANY (ARRAY['*', d.command])
                    AND p.polroles OPERATOR(pg_catalog.&&) (0::pg_catalog.oid
                        OPERATOR(pg_catalog.||) ARRAY(SELECT mine.oid FROM mine))))
    FROM me, pg_catalog.pg_class c JOIN ours o ON o.oid OPERATOR(pg_catalog.=) c.relnamespace
   WHERE c.relrowsecurity AND c.relforcerowsecurity AND NOT me.rolsuper AND NOT me.rolbypassrls
     AND c.relowner OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT mine.oid FROM mine))
  UNION ALL
  SELECT 'table', 'rule', o.nspname, pg_catalog.format('%%I.%%I', o.nspname, c.relname),
         CASE WHEN w.ev_type OPERATOR(pg_catalog.=) '2'::pg_catalog."char" THEN 'UPDATE'
              WHEN w.ev_type OPERATOR(pg_catalog.=) '3'::pg_catalog."char" THEN 'INSERT'
              ELSE 'DELETE' END
    FROM pg_catalog.pg_rewrite w
    JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) w.ev_class
    JOIN ours o ON o.oid OPERATOR(pg_catalog.=) c.relnamespace
   WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog."char"[])
     AND w.is_instead
     AND w.ev_enabled OPERATOR(pg_catalog.=) ANY (ARRAY['O', 'A']::pg_catalog."char"[])
     AND c.relowner OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT mine.oid FROM mine))
  UNION ALL
  -- One without a schema stands for the privileges that are else built in: others only add to it.
  SELECT n.kind, 'default', '', '', pg_catalog.array_to_string(ARRAY(
           SELECT pg_catalog.unnest(n.needed)
           EXCEPT SELECT a.privilege_type FROM pg_catalog.aclexplode(d.defaclacl) a
            WHERE a.grantee OPERATOR(pg_catalog.=) ANY (
                    0::pg_catalog.oid OPERATOR(pg_catalog.||) ARRAY(SELECT mine.oid FROM mine))
           ORDER BY 1), ', ')
    FROM me, pg_catalog.pg_default_acl d
    JOIN (VALUES
      ('r'::pg_catalog."char", 'table',
       '{SELECT,INSERT,UPDATE,DELETE,REFERENCES,TRIGGER}'::pg_catalog.text[]),
      ('S', 'sequence', '{USAGE}'), ('f', 'function', '{EXECUTE}'),
      ('n', 'schema', '{USAGE,CREATE}'), ('T', 'type', '{USAGE}')
    ) n(of, kind, needed) ON n.of OPERATOR(pg_catalog.=) d.defaclobjtype
   WHERE d.defaclrole OPERATOR(pg_catalog.=) me.oid AND NOT me.rolsuper
     AND d.defaclnamespace OPERATOR(pg_catalog.=) 0::pg_catalog.oid
), shut AS (
  SELECT l.kind, l.why, l.rights AS lacking, pg_catalog.count(*) AS count,
         (pg_catalog.array_agg(l.name ORDER BY l.name)
         )[1:%(examples)s::pg_catalog.int4] AS examples,
         pg_catalog.array_agg(DISTINCT l.schema) AS schemas
    FROM lacking l WHERE l.rights OPERATOR(pg_catalog.<>) ''
   GROUP BY l.kind, l.why, l.rights
), groups AS (
  SELECT x.kind, pg_catalog.pg_get_userbyid(x.owner) AS owner, pg_catalog.count(*) AS count,
         (pg_catalog.array_agg(x.name ORDER BY x.name))[1:%(examples)s::pg_catalog.int4] AS examples
    FROM objects x
   WHERE x.owner OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT mine.oid FROM mine))
   GROUP BY x.kind, x.owner
)
SELECT pg_catalog.jsonb_build_object(
  'role', %(role)s::pg_catalog.name,
  'database', pg_catalog.current_database(),
  'version_num', pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
  'role_exists', EXISTS (SELECT FROM me),
  'superuser', coalesce((SELECT me.rolsuper FROM me), false),
  'database_owner', (SELECT pg_catalog.pg_get_userbyid(here.datdba) FROM here),
  'owns_database', EXISTS (SELECT FROM here, mine
     WHERE mine.oid OPERATOR(pg_catalog.=) here.datdba),
  'create_on_database', coalesce((SELECT
     pg_catalog.has_database_privilege(me.oid, here.oid, 'CREATE') FROM me, here), false),
  'temporary_on_database', coalesce((SELECT
     pg_catalog.has_database_privilege(me.oid, here.oid, 'TEMPORARY') FROM me, here), false),
  'public_exists', EXISTS (SELECT FROM public),
  'public_owner', coalesce((SELECT pg_catalog.pg_get_userbyid(public.nspowner)::pg_catalog.text
     FROM public), ''),
  'create_on_public', coalesce((SELECT
     pg_catalog.has_schema_privilege(me.oid, public.oid, 'CREATE') FROM me, public), false),
  'usage_on_public', coalesce((SELECT
     pg_catalog.has_schema_privilege(me.oid, public.oid, 'USAGE') FROM me, public), false),
  'plpgsql_exists', EXISTS (SELECT FROM language),
  'usage_on_plpgsql', coalesce((SELECT
     pg_catalog.has_language_privilege(me.oid, language.oid, 'USAGE') FROM me, language), false),
  'schemas', (SELECT pg_catalog.count(*) FROM ours),
  'foreign', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('kind', g.kind,
     'owner', g.owner, 'count', g.count, 'examples', g.examples) ORDER BY g.kind, g.owner)
     FROM groups g WHERE EXISTS (SELECT FROM me)), '[]'::pg_catalog.jsonb),
  'shut', coalesce((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('kind', s.kind,
     'why', s.why, 'lacking', s.lacking, 'count', s.count, 'examples', s.examples,
     'schemas', s.schemas) ORDER BY s.why, s.kind, s.lacking) FROM shut s), '[]'::pg_catalog.jsonb)
)::pg_catalog.text
"""


def read(cursor: Any, requirements: Requirements, context: Context) -> PrivilegeFacts:
    """Return the facts that ``cursor``'s transaction sees, in the application's database.

    Raises FactUnavailable if the server's answer has not the shape that it must have.
    """
    cursor.execute(
        _QUERY,
        {
            "role": context.role,
            "table": requirements.migrations.table,
            "template": requirements.migrations.template_schema,
            "examples": EXAMPLES,
        },
    )
    try:
        return msgspec.json.decode(cursor.fetchone()[0], type=PrivilegeFacts)
    except msgspec.ValidationError as error:
        raise FactUnavailable(
            f"reading the privileges of role {context.role!r} in database {context.database!r}:"
            f" the catalog answered something unexpected ({error})"
        ) from error
