"""The queries behind :mod:`properties`: each returns (object, property, value), set by set.

What is as it is by default is left out, so that a million sound indexes cost nothing: an object
without a row *has* the default. They are run with pg_catalog alone on the search path, so that
operators are PostgreSQL's and every name that PostgreSQL prints is qualified.
"""

# ruff: noqa: S608 - constants are composed with constants

from __future__ import annotations

from collections.abc import Callable

PG14, PG15, PG18 = 140000, 150000, 180000
FIRST_USER_OID = 16384
"What initdb made is below (FirstNormalObjectId)."

# Objects of the extensions are the extensions' own; one query says all of theirs.
_OWNED = """
NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
             WHERE e.classid = 'pg_catalog.{0}'::pg_catalog.regclass AND e.objid = {1}.oid
               AND e.deptype = 'e')"""

_USER_SCHEMA = """
n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname, 'pg_')"""

_KIND = """
CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
     WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
     WHEN 'i' THEN 'index' WHEN 'I' THEN 'partitioned index' WHEN 'c' THEN 'composite type'
     WHEN 't' THEN 'toast table' ELSE c.relkind::pg_catalog.text END"""

_NAMED = f"{_KIND} || ' ' || pg_catalog.format('%I.%I', n.nspname, c.relname)"

# Items sorted, so that the order of grants does not matter; "none" is an empty list.
_SORTED = """
(SELECT COALESCE(pg_catalog.string_agg(i::pg_catalog.text, ', '
                 ORDER BY i::pg_catalog.text COLLATE "C"), 'none')
   FROM pg_catalog.unnest({0}) AS i)"""


def _acl(acl: str, kind: str, owner: str) -> str:
    """Return SQL for an ACL as text, NULL where it says no more than the default."""
    default = _SORTED.format(f"pg_catalog.acldefault({kind}, {owner})")
    return f"CASE WHEN {acl} IS NOT NULL THEN NULLIF({_SORTED.format(acl)}, {default}) END"


def _options(array: str) -> str:
    """Return SQL for sorted options; a server's private note on its own format is no option."""
    return f"""
(SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C") FROM pg_catalog.unnest({array}) AS o
  WHERE NOT pg_catalog.starts_with(o, 'pg_attver='))"""


def relations(_version: int) -> str:
    """Return tables, views, sequences and the like: whose, for whom, where, and how kept."""
    acl_kind = "CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r'::\"char\" END"
    return f"""
SELECT {_NAMED}, v.name, v.value
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
  LEFT JOIN pg_catalog.pg_tablespace AS s ON s.oid = c.reltablespace
  LEFT JOIN pg_catalog.pg_class AS toast
    ON toast.oid = c.reltoastrelid AND toast.reloptions IS NOT NULL
 CROSS JOIN LATERAL (VALUES
    ('owner', CASE WHEN c.relkind NOT IN ('i', 'I', 't')
              THEN pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text END),
    ('ACL', {_acl("c.relacl", acl_kind, "c.relowner")}),
    ('access method', NULLIF(CASE WHEN c.relkind NOT IN ('i', 'I')
                             THEN a.amname::pg_catalog.text END, 'heap')),
    ('tablespace', s.spcname::pg_catalog.text),
    ('options', CASE WHEN c.reloptions IS NOT NULL THEN {_options("c.reloptions")} END),
    ('toast options', CASE WHEN toast.oid IS NOT NULL THEN {_options("toast.reloptions")} END),
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
 WHERE v.value IS NOT NULL AND c.relkind NOT IN ('t', 'c') AND {_USER_SCHEMA}
   AND {_OWNED.format("pg_class", "c")}"""


def parents(version: int) -> str:
    """Return whose partition or heir a relation is, in order."""
    pending = "i.inhdetachpending" if version >= PG14 else "false"
    return f"""
SELECT {_NAMED}, 'inherits', pg_catalog.string_agg(
         pg_catalog.format('%I.%I', pn.nspname, p.relname)
         || CASE WHEN {pending} THEN ' (detach pending)' ELSE '' END, ', ' ORDER BY i.inhseqno)
  FROM pg_catalog.pg_inherits AS i
  JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid AND c.relkind <> 'I'
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
  JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
 WHERE {_USER_SCHEMA}
 GROUP BY c.relkind, n.nspname, c.relname"""


def columns(version: int) -> str:
    """Return what was set on single columns."""
    acl = _acl("a.attacl", "'c'::\"char\"", "c.relowner")
    compression = "NULLIF(a.attcompression, '')" if version >= PG14 else 'NULL::"char"'
    return f"""
SELECT CASE WHEN c.relkind IN ('i', 'I') THEN 'index column ' ELSE 'column ' END
       || pg_catalog.format('%I.%I.%I', n.nspname, c.relname, a.attname), v.name, v.value
  FROM pg_catalog.pg_attribute AS a
  JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
 CROSS JOIN LATERAL (VALUES
    ('statistics target', NULLIF(a.attstattarget, -1)::pg_catalog.text),
    ('storage', CASE WHEN a.attstorage <> t.typstorage AND c.relkind NOT IN ('i', 'I')
        THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external'
             WHEN 'm' THEN 'main' WHEN 'x' THEN 'extended' END END),
    ('compression', CASE {compression} WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END),
    ('options', CASE WHEN a.attoptions IS NOT NULL THEN {_options("a.attoptions")} END),
    ('foreign options', CASE WHEN a.attfdwoptions IS NOT NULL
        THEN 'md5 ' || pg_catalog.md5({_options("a.attfdwoptions")}) END),
    ('ACL', {acl})
   ) AS v (name, value)
 WHERE v.value IS NOT NULL AND a.attnum > 0 AND NOT a.attisdropped
   AND (a.attstattarget <> -1 OR a.attstorage <> t.typstorage OR a.attoptions IS NOT NULL
        OR a.attfdwoptions IS NOT NULL OR a.attacl IS NOT NULL OR {compression} IS NOT NULL)
   AND c.relkind <> 't' AND {_USER_SCHEMA} AND {_OWNED.format("pg_class", "c")}"""


def indexes(_version: int) -> str:
    """Return the flags of indexes that are not as usual."""
    return f"""
SELECT {_NAMED}, v.name, v.value
  FROM pg_catalog.pg_index AS x
  JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (VALUES
    ('valid', CASE WHEN NOT (x.indisvalid AND x.indisready AND x.indislive) THEN 'no' END),
    ('clustered on', CASE WHEN x.indisclustered THEN 'yes' END),
    ('replica identity', CASE WHEN x.indisreplident THEN 'yes' END)
   ) AS v (name, value)
 WHERE v.value IS NOT NULL AND {_USER_SCHEMA}
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
             ON n.oid = c.relnamespace AND {_USER_SCHEMA}) ON c.oid = k.conrelid
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
 WHERE t.tgenabled <> 'O' AND {_USER_SCHEMA}
UNION ALL
SELECT 'rule ' || pg_catalog.format('%I', r.rulename) || ' on '
       || pg_catalog.format('%I.%I', n.nspname, c.relname),
       'enabled', {state.format("r.ev_enabled")}
  FROM pg_catalog.pg_rewrite AS r
  JOIN pg_catalog.pg_class AS c ON c.oid = r.ev_class
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE r.ev_enabled <> 'O' AND {_USER_SCHEMA}"""


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
 WHERE {_USER_SCHEMA}"""


def statistics(_version: int) -> str:
    """Return extended statistics objects, and how many values each keeps."""
    return f"""
SELECT 'statistics ' || pg_catalog.format('%I.%I', n.nspname, s.stxname), v.name, v.value
  FROM pg_catalog.pg_statistic_ext AS s
  JOIN pg_catalog.pg_namespace AS n ON n.oid = s.stxnamespace
 CROSS JOIN LATERAL (VALUES
    ('definition', pg_catalog.pg_get_statisticsobjdef(s.oid)),
    ('statistics target', NULLIF(s.stxstattarget, -1)::pg_catalog.text)) AS v (name, value)
 WHERE v.value IS NOT NULL AND {_USER_SCHEMA}"""


_CLASSES = """
SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, n.oid, n.nspowner, n.nspacl, 'n'::"char"
  FROM pg_catalog.pg_namespace AS n
 WHERE n.nspname = 'public' OR NOT pg_catalog.starts_with(n.nspname, 'pg_')
UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid, proowner, proacl, 'f'
  FROM pg_catalog.pg_proc
UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, t.typowner, t.typacl, 'T'
  FROM pg_catalog.pg_type AS t LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
 WHERE (t.typrelid = 0 OR c.relkind = 'c') AND t.typtype <> 'm'
   AND (t.typelem = 0 OR t.typlen <> -1)
UNION ALL SELECT 'pg_catalog.pg_language'::pg_catalog.regclass, oid, lanowner, lanacl, 'l'
  FROM pg_catalog.pg_language
UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass, oid, fdwowner, fdwacl,
       'F'
  FROM pg_catalog.pg_foreign_data_wrapper
UNION ALL SELECT 'pg_catalog.pg_foreign_server'::pg_catalog.regclass, oid, srvowner, srvacl, 'S'
  FROM pg_catalog.pg_foreign_server
""" + "\n".join(
    f"UNION ALL SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass, oid, {owner}, NULL, NULL"
    f" FROM pg_catalog.{catalog}"
    for catalog, owner in (
        ("pg_operator", "oprowner"),
        ("pg_opclass", "opcowner"),
        ("pg_opfamily", "opfowner"),
        ("pg_collation", "collowner"),
        ("pg_conversion", "conowner"),
        ("pg_ts_dict", "dictowner"),
        ("pg_ts_config", "cfgowner"),
        ("pg_statistic_ext", "stxowner"),
        ("pg_event_trigger", "evtowner"),
        ("pg_publication", "pubowner"),
    )
)

_IDENTIFIED = """
CASE WHEN pg_catalog.right(i.type, 7) = ' column' AND i.type <> 'index column' THEN 'column'
     ELSE i.type END || ' ' || CASE i.type WHEN 'transform'
     THEN pg_catalog.replace(i.identity, ' on language ', ' language ')  -- before 16
     ELSE i.identity END"""

# Said without naming the object, so that none of PostgreSQL's own thousands is named.
_USERS = f"""
({{1}} >= {FIRST_USER_OID} OR {{0}} = 'pg_catalog.pg_namespace'::pg_catalog.regclass
 AND {{1}} = (SELECT p.oid FROM pg_catalog.pg_namespace AS p WHERE p.nspname = 'public'))"""

# Temporary objects are a session's own, whoever's.
_LASTING = "NOT pg_catalog.starts_with(COALESCE(i.schema, ''), 'pg_')"


def owners(_version: int) -> str:
    """Return owners and ACLs of all that is not a relation, nor made for another object."""
    return f"""
SELECT {_IDENTIFIED}, v.name, v.value
  FROM ({_CLASSES}) AS o (class, oid, owner, acl, kind)
 CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.class, o.oid, 0) AS i
 CROSS JOIN LATERAL (VALUES
    ('owner', pg_catalog.pg_get_userbyid(o.owner)::pg_catalog.text),
    ('ACL', {_acl("o.acl", "o.kind", "o.owner")})) AS v (name, value)
 WHERE v.value IS NOT NULL AND {_LASTING}
   AND {_USERS.format("o.class", "o.oid")}
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
                    WHERE e.classid = o.class AND e.objid = o.oid AND e.deptype IN ('e', 'i'))"""


def comments(_version: int) -> str:
    """Return comments and security labels of what is in the database."""
    return f"""
SELECT {_IDENTIFIED}, d.name, d.value
  FROM (SELECT classoid, objoid, objsubid, 'comment', description FROM pg_catalog.pg_description
        UNION ALL
        SELECT classoid, objoid, objsubid, 'security label (' || provider || ')', label
          FROM pg_catalog.pg_seclabel) AS d (classoid, objoid, objsubid, name, value)
 CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
 WHERE {_LASTING} AND d.classoid <> 'pg_catalog.pg_largeobject'::pg_catalog.regclass
   AND d.classoid <> 'pg_catalog.pg_extension'::pg_catalog.regclass
   AND {_USERS.format("d.classoid", "d.objoid")}
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e WHERE e.classid = d.classoid
                      AND e.objid = d.objoid AND e.deptype = 'e')
UNION ALL
SELECT 'the database', 'security label (' || s.provider || ')', s.label
  FROM pg_catalog.pg_shseclabel AS s
  JOIN pg_catalog.pg_database AS b ON b.oid = s.objoid
   AND b.datname = pg_catalog.current_database()
 WHERE s.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass"""


def defaults(_version: int) -> str:
    """Return default privileges."""
    return f"""
SELECT 'default privileges of ' || pg_catalog.format('%I', pg_catalog.pg_get_userbyid(
         d.defaclrole)) || CASE WHEN n.oid IS NULL THEN '' ELSE pg_catalog.format(' in schema %I',
         n.nspname) END || ' on '
       || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
          WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas'
          WHEN 'L' THEN 'large objects' ELSE d.defaclobjtype::pg_catalog.text END,
       'ACL', {_SORTED.format("d.defaclacl")}
  FROM pg_catalog.pg_default_acl AS d
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = d.defaclnamespace"""


def events(version: int) -> str:
    """Return event triggers, publications' members and subscriptions."""
    schemas = (
        """UNION ALL
SELECT 'publication ' || pg_catalog.format('%I', p.pubname),
       'schema ' || pg_catalog.format('%I', n.nspname), 'published'
  FROM pg_catalog.pg_publication_namespace AS s
  JOIN pg_catalog.pg_publication AS p ON p.oid = s.pnpubid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = s.pnnspid"""
        if version >= PG15
        else ""
    )
    return f"""
SELECT 'event trigger ' || pg_catalog.format('%I', e.evtname), 'definition',
       pg_catalog.concat_ws(' ', e.evtevent, e.evttags::pg_catalog.text,
         pg_catalog.format('%I.%I', n.nspname, p.proname), CASE e.evtenabled WHEN 'D'
         THEN 'disabled' WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica' ELSE 'origin' END)
  FROM pg_catalog.pg_event_trigger AS e
  JOIN pg_catalog.pg_proc AS p ON p.oid = e.evtfoid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
UNION ALL
SELECT 'publication ' || pg_catalog.format('%I', p.pubname), 'publishes',
       pg_catalog.concat_ws(', ', CASE WHEN p.puballtables THEN 'all tables' END,
         CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END,
         CASE WHEN p.pubdelete THEN 'delete' END, CASE WHEN p.pubtruncate THEN 'truncate' END,
         CASE WHEN p.pubviaroot THEN 'via the root' END)
  FROM pg_catalog.pg_publication AS p
UNION ALL
SELECT 'publication ' || pg_catalog.format('%I', p.pubname),
       'table ' || pg_catalog.format('%I.%I', n.nspname, c.relname), 'published'
  FROM pg_catalog.pg_publication_rel AS r
  JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
  JOIN pg_catalog.pg_class AS c ON c.oid = r.prrelid
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
{schemas}
UNION ALL
SELECT 'subscription ' || pg_catalog.format('%I', s.subname), v.name, v.value
  FROM pg_catalog.pg_subscription AS s
  JOIN pg_catalog.pg_database AS b ON b.oid = s.subdbid
   AND b.datname = pg_catalog.current_database()
 CROSS JOIN LATERAL (VALUES
    ('owner', pg_catalog.pg_get_userbyid(s.subowner)::pg_catalog.text),
    ('enabled', CASE WHEN s.subenabled THEN 'yes' END),
    ('publications', (SELECT pg_catalog.string_agg(x, ', ' ORDER BY x COLLATE "C")
                        FROM pg_catalog.unnest(s.subpublications) AS x))) AS v (name, value)
 WHERE v.value IS NOT NULL"""


def members(_version: int) -> str:
    """Return what each extension consists of, and a digest of its functions' bodies.

    pg_dump leaves out what belongs to an extension: only this says that it was changed by hand.
    """
    return """
SELECT 'extension ' || pg_catalog.format('%I', x.extname), v.name, v.value
  FROM (SELECT d.refobjid, count(*) AS members, pg_catalog.md5(pg_catalog.string_agg(
                 i.type || ' ' || i.identity, E'\\n'
                 ORDER BY (i.type || ' ' || i.identity) COLLATE "C")) AS names,
               pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws('|', i.identity, p.prosrc,
                 p.provolatile, p.proisstrict, p.prosecdef, p.proparallel, p.proconfig), E'\\n'
                 ORDER BY i.identity COLLATE "C") FILTER (WHERE p.oid IS NOT NULL)) AS bodies
          FROM pg_catalog.pg_depend AS d
         CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid) AS i
          LEFT JOIN pg_catalog.pg_proc AS p
            ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
         WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
         GROUP BY d.refobjid) AS m
  JOIN pg_catalog.pg_extension AS x ON x.oid = m.refobjid
 CROSS JOIN LATERAL (VALUES ('members', m.members || ', md5 ' || m.names),
                            ('functions', 'md5 ' || m.bodies)) AS v (name, value)
 WHERE v.value IS NOT NULL"""


FAMILIES: tuple[Callable[[int], str], ...] = (
    relations,
    parents,
    columns,
    indexes,
    constraints,
    triggers,
    policies,
    statistics,
    owners,
    comments,
    defaults,
    events,
    members,
)
