"""What is asked of the catalogs about each kind of hazard."""

from __future__ import annotations

from typing import NamedTuple


class Question(NamedTuple):
    """A query for one kind of hazard, and what follows from each that it finds."""

    kind: str
    query: str
    consequence: str


# Every query runs with search_path = pg_catalog, pg_temp, so unqualified operators are the
# server's own. Each yields: what the object is called, and the SQL that ends the hazard (a comment
# where a person must act).
MINE = """
WITH spaces AS (
  SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n
   WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), owned AS (  -- what an extension brings comes back with the extension
  SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.deptype = 'e'
), relations AS (
  SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relispopulated, c.relrowsecurity,
         c.relforcerowsecurity, c.relowner, s.oid AS space, s.nspname,
         pg_catalog.format('%I.%I', s.nspname, c.relname) AS name
    FROM pg_catalog.pg_class c JOIN spaces s ON s.oid = c.relnamespace
   WHERE NOT EXISTS (SELECT FROM owned o
      WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = c.oid)
)
"""

_UNREADABLE = """
SELECT CASE r.relkind WHEN 'S' THEN 'sequence ' WHEN 'm' THEN 'materialized view '
            ELSE 'table ' END || r.name,
       pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I;' || E'\\n' ||
         'GRANT SELECT ON ' || CASE r.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END
         || ' %s TO %I', r.nspname, CURRENT_USER, r.name, CURRENT_USER)
  FROM relations r
 WHERE r.relkind IN ('r', 'p', 'm', 'S')
   AND NOT (pg_catalog.has_schema_privilege(r.space, 'USAGE')
            AND CASE r.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege(r.oid, 'SELECT')
                ELSE pg_catalog.has_table_privilege(r.oid, 'SELECT') END)
UNION ALL
SELECT 'large object ' || m.oid,
       pg_catalog.format('GRANT SELECT ON LARGE OBJECT %s TO %I', m.oid, CURRENT_USER)
  FROM pg_catalog.pg_largeobject_metadata m
 WHERE NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
   AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a
         WHERE a.privilege_type = 'SELECT'
           AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))
"""

_ROW_SECURITY = """
SELECT 'table ' || r.name,
       CASE WHEN pg_catalog.pg_has_role(r.relowner, 'USAGE')
            THEN pg_catalog.format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', r.name)
            ELSE pg_catalog.format('-- Make the backup as role %I, or as a superuser',
                                   pg_catalog.pg_get_userbyid(r.relowner)) END
  FROM relations r
 WHERE r.relkind IN ('r', 'p') AND r.relrowsecurity AND pg_catalog.row_security_active(r.oid)
"""

_INVALID_INDEX = """
SELECT 'index ' || r.name || ' of ' || pg_catalog.format('%s', i.indrelid::pg_catalog.regclass),
       pg_catalog.format('REINDEX INDEX CONCURRENTLY %s', r.name)
  FROM pg_catalog.pg_index i JOIN relations r ON r.oid = i.indexrelid
 WHERE r.relkind = 'i' AND NOT i.indisvalid
"""

# NOT ENFORCED (18) is a choice, not a state to be mended.
_UNVALIDATED = """
SELECT pg_catalog.format('constraint %I of %s', k.conname, r.name),
       pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I', r.name, k.conname)
  FROM pg_catalog.pg_constraint k JOIN relations r ON r.oid = k.conrelid
 WHERE NOT k.convalidated AND k.conparentid = 0
   AND COALESCE(pg_catalog.to_jsonb(k) ->> 'conenforced', 'true') = 'true'
"""

_UNPOPULATED = """
SELECT 'materialized view ' || r.name, 'REFRESH MATERIALIZED VIEW ' || r.name
  FROM relations r WHERE r.relkind = 'm' AND NOT r.relispopulated
"""

# A restore runs with an empty search_path. It calls a function that an index, a CHECK, a generated
# column or a materialized view uses; one that finds a name only by the path fails there.
_SEARCH_PATH = """
, users AS (
  SELECT d.refobjid AS function
    FROM pg_catalog.pg_depend d
    LEFT JOIN pg_catalog.pg_class c ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND c.oid = d.objid AND c.relkind IN ('i', 'I')
    LEFT JOIN pg_catalog.pg_constraint k
          ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid
    LEFT JOIN pg_catalog.pg_attrdef g
          ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND g.oid = d.objid
    LEFT JOIN pg_catalog.pg_attribute a
          ON a.attrelid = g.adrelid AND a.attnum = g.adnum AND a.attgenerated <> ''
    LEFT JOIN pg_catalog.pg_rewrite w
          ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND w.oid = d.objid
    LEFT JOIN pg_catalog.pg_class m ON m.oid = w.ev_class AND m.relkind = 'm'
   WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
     AND (c.oid IS NOT NULL OR k.oid IS NOT NULL OR a.attnum IS NOT NULL OR m.oid IS NOT NULL)
), suspects AS (
  SELECT p.oid, p.prosrc, s.nspname, p.proname,
         pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments
    FROM pg_catalog.pg_proc p
    JOIN spaces s ON s.oid = p.pronamespace
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang AND l.lanname IN ('sql', 'plpgsql')
   WHERE p.oid IN (SELECT users.function FROM users)
     AND p.prosrc <> ''  -- BEGIN ATOMIC holds what it found, not names
     AND NOT EXISTS (SELECT FROM pg_catalog.unnest(p.proconfig) setting
                      WHERE setting ~ '^search_path=')
     AND NOT EXISTS (SELECT FROM owned o
          WHERE o.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND o.objid = p.oid)
), names AS (
  SELECT c.relname::pg_catalog.text AS name
    FROM pg_catalog.pg_class c JOIN spaces s ON s.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   UNION SELECT p.proname::pg_catalog.text
    FROM pg_catalog.pg_proc p JOIN spaces s ON s.oid = p.pronamespace
)
SELECT pg_catalog.format('function %I.%I(%s)', f.nspname, f.proname, f.arguments),
       pg_catalog.format('ALTER FUNCTION %I.%I(%s) SET search_path = %I, public, pg_temp',
                         f.nspname, f.proname, f.arguments, f.nspname)
  FROM suspects f
 WHERE EXISTS (SELECT FROM names n
         WHERE pg_catalog.strpos(pg_catalog.lower(f.prosrc), pg_catalog.lower(n.name)) > 0
           AND f.prosrc ~* ('(^|[^.[:alnum:]_"])'
               || pg_catalog.regexp_replace(n.name, '([^[:alnum:]_])', '\\\\\\1', 'g')
               || '($|[^[:alnum:]_.])'))
"""

# pg_dump passes over the triggers that PostgreSQL made itself, and with them over their state.
_TRIGGER = """
SELECT pg_catalog.format('trigger %s of constraint %I of %s', p.proname, k.conname, r.name),
       pg_catalog.format('ALTER TABLE %s ENABLE TRIGGER %I', r.name, t.tgname)
  FROM pg_catalog.pg_trigger t
  JOIN relations r ON r.oid = t.tgrelid
  JOIN pg_catalog.pg_constraint k ON k.oid = t.tgconstraint
  JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
 WHERE t.tgisinternal AND t.tgenabled <> 'O'
"""

# CREATE TABLE ... INHERITS has the parents' columns first, ALTER TABLE ... INHERIT leaves them be.
_ORDER = """
SELECT 'table ' || r.name,
       pg_catalog.format('-- Name the columns wherever %s is read by * or written', r.name)
  FROM relations r
 WHERE r.relkind = 'r' AND EXISTS (
   SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
    WHERE i.inhrelid = r.oid AND p.relkind = 'r')
   AND EXISTS (
   SELECT FROM (
     SELECT pg_catalog.row_number() OVER (ORDER BY a.attnum) AS now,
            pg_catalog.row_number() OVER (ORDER BY p.seq NULLS LAST, p.attnum, a.attnum) AS later
       FROM pg_catalog.pg_attribute a
       LEFT JOIN LATERAL (
         SELECT i.inhseqno AS seq, o.attnum FROM pg_catalog.pg_inherits i
           JOIN pg_catalog.pg_attribute o ON o.attrelid = i.inhparent AND o.attname = a.attname
            AND o.attnum > 0 AND NOT o.attisdropped
          WHERE i.inhrelid = r.oid ORDER BY i.inhseqno LIMIT 1) p ON true
      WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped) places
    WHERE places.now <> places.later)
"""

_EXTENSION = """
SELECT 'extension ' || pg_catalog.quote_ident(e.extname), pg_catalog.format(
         '-- On the server, install the package that brings extension %I', e.extname)
  FROM pg_catalog.pg_extension e
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = e.extname)
"""

_UNLOGGED = """
SELECT 'table ' || r.name, pg_catalog.format('ALTER TABLE %s SET LOGGED', r.name)
  FROM relations r WHERE r.relkind = 'r' AND r.relpersistence = 'u'
"""

_FOREIGN = """
SELECT 'foreign table ' || r.name,
       pg_catalog.format('-- Back up what foreign server %I holds, too', f.srvname)
  FROM relations r
  JOIN pg_catalog.pg_foreign_table t ON t.ftrelid = r.oid
  JOIN pg_catalog.pg_foreign_server f ON f.oid = t.ftserver
 WHERE r.relkind = 'f'
"""

_PREPARED = """
SELECT pg_catalog.format('prepared transaction %L of role %I', x.gid, x.owner),
       pg_catalog.format('-- Decide: COMMIT PREPARED %L, or ROLLBACK PREPARED %1$L', x.gid)
  FROM pg_catalog.pg_prepared_xacts x WHERE x.database = pg_catalog.current_database()
"""

_SUBSCRIPTION = """
SELECT 'subscription ' || pg_catalog.quote_ident(s.subname), pg_catalog.format(
         '-- After a restore, make its slot and run ALTER SUBSCRIPTION %I ENABLE', s.subname)
  FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid
 WHERE d.datname = pg_catalog.current_database()
"""

_OTHERS = """
SELECT 'database ' || pg_catalog.quote_ident(d.datname), ''
  FROM pg_catalog.pg_database d
 WHERE NOT d.datistemplate AND d.datallowconn
   AND d.datname NOT IN (pg_catalog.current_database(), 'postgres')
"""

# pg_shdepend has owners, grantees and policies' roles.
_ROLES = """
SELECT 'role ' || pg_catalog.quote_ident(r.rolname), ''
  FROM pg_catalog.pg_roles r
 WHERE r.oid >= 16384 AND r.oid IN (
   SELECT d.datdba FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
   UNION SELECT s.refobjid FROM pg_catalog.pg_shdepend s
     JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
    WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
      AND (s.dbid = d.oid OR s.dbid = 0 AND s.objid = d.oid
           AND s.classid = 'pg_catalog.pg_database'::pg_catalog.regclass))
"""

QUESTIONS = (
    Question("unreadable", _UNREADABLE, "pg_dump stops: the role may not read it"),
    Question(
        "row security", _ROW_SECURITY, "pg_dump stops: row security would hide rows from the role"
    ),
    Question("invalid index", _INVALID_INDEX, "pg_dump leaves it out: the restore has no index"),
    Question(
        "unvalidated constraint",
        _UNVALIDATED,
        "rows that break it are restored as they are, and nothing says so",
    ),
    Question(
        "unpopulated materialized view", _UNPOPULATED, "it cannot be read after the restore either"
    ),
    Question(
        "disabled trigger of a constraint",
        _TRIGGER,
        "pg_dump does not carry that: the restored one checks again, and rows that break the"
        " constraint stop the restore",
    ),
    Question(
        "inherited columns in another order",
        _ORDER,
        "the restored table has its parent's columns first: what reads it by * or writes it"
        " without naming columns means others",
    ),
    Question(
        "function without search_path",
        _SEARCH_PATH,
        "a restore calls it with an empty search_path, in which it does not find its names",
    ),
    Question(
        "extension without files",
        _EXTENSION,
        "the server no longer has its files: a restore on it stops at CREATE EXTENSION",
    ),
    Question(
        "unlogged table",
        _UNLOGGED,
        "its rows are in the backup, but a crash or a failover empties it before one is made",
    ),
    Question("foreign table", _FOREIGN, "its rows are on another server, and not in the backup"),
    Question(
        "prepared transaction",
        _PREPARED,
        "what it wrote is not in the backup, and its locks can stop one",
    ),
    Question("subscription", _SUBSCRIPTION, "it is restored disabled, and without its slot"),
    Question("other database", _OTHERS, "it needs a backup of its own"),
    Question(
        "role outside the dump",
        _ROLES,
        "pg_dump has no roles; costmgmt's manifest has it, without its password unless"
        " --with-role-passwords",
    ),
)

LOOKED = """
SELECT CASE r.relkind WHEN 'r' THEN 'tables' WHEN 'p' THEN 'tables' WHEN 'i' THEN 'indexes'
            WHEN 'S' THEN 'sequences' WHEN 'm' THEN 'materialized views' ELSE 'others' END,
       pg_catalog.count(*)
  FROM relations r GROUP BY 1
UNION ALL SELECT 'databases', pg_catalog.count(*) FROM pg_catalog.pg_database
"""
