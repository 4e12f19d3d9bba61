"""The queries behind :mod:`properties` for what is no relation, and for what is said of objects.

See :mod:`properties_sql` for how they are run.
"""

# ruff: noqa: S608 - constants are composed with constants

from __future__ import annotations

from pytest_costmgmt.backup.properties_parts import FIRST_USER_OID, PG15, SORTED, acl

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
    ('ACL', {acl("o.acl", "o.kind", "o.owner")})) AS v (name, value)
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
       'ACL', {SORTED.format("d.defaclacl")}
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


FAMILIES = (owners, comments, defaults, events, members)
