"""The queries behind :mod:`properties`: each returns (object, property, value), set by set.

What is as it is by default is left out, so that a million sound indexes cost nothing: an object
without a row *has* the default. They are run with pg_catalog alone on the search path, so that
operators are PostgreSQL's and every name that PostgreSQL prints is qualified.
"""

# ruff: noqa: S608 - constants are composed with constants

from __future__ import annotations

from collections.abc import Callable

from pytest_costmgmt.backup import properties_objects_sql as objects
from pytest_costmgmt.backup.properties_parts import (
    FIRST_USER_OID,
    NAMED,
    OWNED,
    PG14,
    PG18,
    USER_SCHEMA,
    acl,
    options,
)


def relations(_version: int) -> str:
    """Return tables, views, sequences and the like: whose, for whom, where, and how kept."""
    acl_kind = "CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END"
    return f"""
SELECT {NAMED}, v.name, v.value
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
  LEFT JOIN pg_catalog.pg_tablespace AS s ON s.oid = c.reltablespace
  LEFT JOIN pg_catalog.pg_class AS toast
    ON toast.oid = c.reltoastrelid AND toast.reloptions IS NOT NULL
 CROSS JOIN LATERAL (VALUES
    ('owner', CASE WHEN c.relkind NOT IN ('i', 'I', 't')
              THEN pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text END),
    ('ACL', {acl("c.relacl", acl_kind, "c.relowner")}),
    ('access method', NULLIF(CASE WHEN c.relkind NOT IN ('i', 'I')
                             THEN a.amname::pg_catalog.text END, 'heap')),
    ('tablespace', s.spcname::pg_catalog.text),
    ('options', CASE WHEN c.reloptions IS NOT NULL THEN {options("c.reloptions")} END),
    ('toast options', CASE WHEN toast.oid IS NOT NULL THEN {options("toast.reloptions")} END),
    ('persistence', CASE c.relpersistence WHEN 'u' THEN 'unlogged' END),
    ('replica identity', CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'i' THEN 'index'
        WHEN 'n' THEN CASE WHEN c.relkind IN ('r', 'p', 'm') THEN 'nothing' END END),
    ('row security', CASE WHEN c.relrowsecurity OR c.relforcerowsecurity THEN
        CASE WHEN c.relrowsecurity THEN 'enabled' ELSE 'disabled' END
        || CASE WHEN c.relforcerowsecurity THEN ', forced' ELSE '' END END),
    ('partition bound', CASE WHEN c.relispartition AND c.relkind NOT IN ('i', 'I')
        THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid) END),
    ('partition key', CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END)
   ) AS v (name, value)
 WHERE v.value IS NOT NULL AND c.relkind NOT IN ('t', 'c') AND {USER_SCHEMA}
   -- Most indexes have nothing of all that: nothing is worked out for them.
   AND NOT (c.relkind IN ('i', 'I') AND c.reltablespace = 0 AND c.reloptions IS NULL
            AND c.relacl IS NULL AND c.relpersistence <> 'u' AND c.reltoastrelid = 0
            AND NOT c.relrowsecurity AND NOT c.relforcerowsecurity
            AND c.relreplident NOT IN ('f', 'i'))
   AND {OWNED.format("pg_class", "c")}"""


def parents(version: int) -> str:
    """Return whose partition or heir a relation is, in order."""
    pending = "i.inhdetachpending" if version >= PG14 else "false"
    return f"""
SELECT {NAMED}, 'inherits', pg_catalog.string_agg(
         pg_catalog.format('%I.%I', pn.nspname, p.relname)
         || CASE WHEN {pending} THEN ' (detach pending)' ELSE '' END, ', ' ORDER BY i.inhseqno)
  FROM pg_catalog.pg_inherits AS i
  JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid AND c.relkind <> 'I'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
  JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
 WHERE {USER_SCHEMA}
 GROUP BY c.relkind, n.nspname, c.relname"""


def columns(version: int) -> str:
    """Return what was set on single columns."""
    privileges = acl("a.attacl", "'c'::\"char\"", "c.relowner")
    compression = "NULLIF(a.attcompression, '')" if version >= PG14 else 'NULL::"char"'
    return f"""
SELECT CASE WHEN c.relkind IN ('i', 'I') THEN 'index column ' ELSE 'column ' END
       || pg_catalog.format('%I.%I.%I', n.nspname, c.relname, a.attname), v.name, v.value
  FROM (
    -- Of very many columns nothing was set: they are left out before anything is joined.
    SELECT a.*, t.typstorage
      FROM pg_catalog.pg_attribute AS a
      JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
     WHERE a.attnum > 0 AND NOT a.attisdropped
       AND (a.attstattarget <> -1 OR a.attstorage <> t.typstorage OR a.attoptions IS NOT NULL
            OR a.attfdwoptions IS NOT NULL OR a.attacl IS NOT NULL OR {compression} IS NOT NULL)
    OFFSET 0
   ) AS a
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (VALUES
    ('statistics target', NULLIF(a.attstattarget, -1)::pg_catalog.text),
    ('storage', CASE WHEN a.attstorage <> a.typstorage AND c.relkind NOT IN ('i', 'I')
        THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
             WHEN 'm' THEN 'main' WHEN 'x' THEN 'extended' END END),
    ('compression', CASE {compression} WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END),
    ('options', CASE WHEN a.attoptions IS NOT NULL THEN {options("a.attoptions")} END),
    ('foreign options', CASE WHEN a.attfdwoptions IS NOT NULL
        THEN 'md5 ' || pg_catalog.md5({options("a.attfdwoptions")}) END),
    ('ACL', {privileges})
   ) AS v (name, value)
 WHERE v.value IS NOT NULL AND c.relkind <> 't' AND {USER_SCHEMA}
   AND {OWNED.format("pg_class", "c")}"""


def indexes(_version: int) -> str:
    """Return the flags of indexes that are not as usual."""
    return f"""
SELECT {NAMED}, v.name, v.value
  FROM pg_catalog.pg_index AS x
  JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (VALUES
    ('valid', CASE WHEN NOT (x.indisvalid AND x.indisready AND x.indislive) THEN 'no' END),
    ('clustered on', CASE WHEN x.indisclustered THEN 'yes' END),
    ('replica identity', CASE WHEN x.indisreplident THEN 'yes' END)
   ) AS v (name, value)
 WHERE v.value IS NOT NULL AND {USER_SCHEMA}
   AND NOT (x.indisvalid AND x.indisready AND x.indislive
            AND NOT x.indisclustered AND NOT x.indisreplident)"""


def constraints(version: int) -> str:
    """Return constraints that were never validated, or are not enforced."""
    unenforced = "NOT k.conenforced" if version >= PG18 else "false"
    return f"""
SELECT 'constraint ' || pg_catalog.format('%I', k.conname) || ' on '
       || CASE WHEN c.oid IS NOT NULL THEN pg_catalog.format('%I.%I', n.nspname, c.relname)
               ELSE 'domain ' || pg_catalog.format('%I.%I', tn.nspname, t.typname) END,
       v.name, 'no'
  FROM pg_catalog.pg_constraint AS k
  LEFT JOIN (pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n
             ON n.oid = c.relnamespace AND {USER_SCHEMA}) ON c.oid = k.conrelid
  LEFT JOIN (pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS tn
             ON tn.oid = t.typnamespace) ON t.oid = k.contypid
 CROSS JOIN LATERAL (VALUES ('validated', NOT k.convalidated), ('enforced', {unenforced}))
       AS v (name, lacks)
 WHERE v.lacks AND (NOT k.convalidated OR {unenforced})
   AND k.oid >= {FIRST_USER_OID} AND (c.oid IS NOT NULL OR t.oid IS NOT NULL)"""


def triggers(_version: int) -> str:
    """Return triggers and rules that do not fire as usual, those of foreign keys too."""
    state = """CASE {0} WHEN 'D' THEN 'disabled' WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica'
                        WHEN 'O' THEN 'origin' END"""
    return f"""
SELECT CASE WHEN t.tgisinternal AND k.oid IS NOT NULL
            THEN 'trigger ' || p.proname || ' of constraint ' || pg_catalog.format('%I', k.conname)
            ELSE 'trigger ' || pg_catalog.format('%I', t.tgname) END
       || ' on ' || pg_catalog.format('%I.%I', n.nspname, c.relname),
       'enabled', {state.format("t.tgenabled")}
  FROM pg_catalog.pg_trigger AS t
  JOIN pg_catalog.pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
  LEFT JOIN pg_catalog.pg_constraint AS k ON k.oid = t.tgconstraint
 WHERE t.tgenabled <> 'O' AND {USER_SCHEMA}
UNION ALL
SELECT 'rule ' || pg_catalog.format('%I', r.rulename) || ' on '
       || pg_catalog.format('%I.%I', n.nspname, c.relname),
       'enabled', {state.format("r.ev_enabled")}
  FROM pg_catalog.pg_rewrite AS r
  JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE r.ev_enabled <> 'O' AND {USER_SCHEMA}"""


def policies(_version: int) -> str:
    """Return row security policies, whole."""
    return f"""
SELECT 'policy ' || pg_catalog.format('%I', p.polname) || ' on '
       || pg_catalog.format('%I.%I', n.nspname, c.relname), 'definition',
       pg_catalog.concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
         CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update'
                       WHEN 'd' THEN 'delete' ELSE 'all' END, 'to',
         (SELECT pg_catalog.string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.format('%I',
                 pg_catalog.pg_get_userbyid(r)) END, ', ' ORDER BY CASE r WHEN 0 THEN ''
                 ELSE pg_catalog.pg_get_userbyid(r)::pg_catalog.text END COLLATE "C")
            FROM pg_catalog.unnest(p.polroles) AS r),
         'using ' || pg_catalog.pg_get_expr(p.polqual, p.polrelid),
         'with check ' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
  FROM pg_catalog.pg_policy AS p
  JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE {USER_SCHEMA}"""


def statistics(_version: int) -> str:
    """Return extended statistics objects, and how many values each keeps."""
    return f"""
SELECT 'statistics ' || pg_catalog.format('%I.%I', n.nspname, s.stxname), v.name, v.value
  FROM pg_catalog.pg_statistic_ext AS s
  JOIN pg_catalog.pg_namespace AS n ON n.oid = s.stxnamespace
 CROSS JOIN LATERAL (VALUES
    ('definition', pg_catalog.pg_get_statisticsobjdef(s.oid)),
    ('statistics target', NULLIF(s.stxstattarget, -1)::pg_catalog.text)) AS v (name, value)
 WHERE v.value IS NOT NULL AND {USER_SCHEMA}"""


FAMILIES: tuple[Callable[[int], str], ...] = (
    relations,
    parents,
    columns,
    indexes,
    constraints,
    triggers,
    policies,
    statistics,
    *objects.FAMILIES,
)
