"""What the server is asked about a database's contents.

All of it runs with the search path pinned to pg_catalog, which no operator of a user's comes
before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Everything that shapes a value's text, a statement's meaning, or where rows are read from: an
# index may lie, or hold other rows than its table.
_PINNED = {
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    "row_security": "off",
    "enable_seqscan": "on",
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "work_mem": "16MB",
}

# In versions that know it, a view that took a table's place is refused: it would run its owner's
# functions as us.
PINS = "".join(  # noqa: S608 - constants of ours
    f"SET LOCAL {name} = '{value}'; " for name, value in _PINNED.items()
) + (
    "SELECT pg_catalog.set_config(s.name, 'view, foreign-table', true)"
    " FROM (VALUES ('restrict_nonsystem_relation_kind')) AS s (name)"
    " WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL"
)

# How large a relation is, exactly, and roughly where the server noted it: to ask for the size opens
# each relation, which takes most of the time of a list of thousands. A note is taken only for
# something: of nothing, it may be that nobody noted anything yet.
EXACT = ("pg_catalog.pg_relation_size(c.oid)", "pg_catalog.pg_relation_size(s.reltoastrelid)")
_NOTED = """CASE WHEN c.relpages > 0 THEN 8192 * c.relpages::pg_catalog.int8
                ELSE pg_catalog.pg_relation_size(c.oid) END"""
ROUGH = (_NOTED, "0")

# Every relation that holds rows itself. Of an extension's own tables too: pg_dump leaves most of
# them out, and that is a difference.
_LISTED = """
SELECT s.oid, s.nspname, s.relname, s.relkind, s.relispopulated, s.relam = 2, s.main, s.locks,
       CASE WHEN s.main > 0 AND s.reltoastrelid <> 0
            THEN {toast} ELSE 0 END
FROM (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relispopulated, c.relam, c.reltoastrelid,
           {main} AS main,
           1 + (SELECT pg_catalog.count(*)::pg_catalog.int4 FROM pg_catalog.pg_index AS i
                 WHERE i.indrelid = c.oid)
             + CASE WHEN c.reltoastrelid <> 0 THEN 2 ELSE 0 END AS locks
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
      AND n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname, 'pg_')
    OFFSET 0
) AS s
ORDER BY s.nspname, s.relname
"""


def listed(size: tuple[str, str]) -> str:
    """Return the query for what is to be hashed, with each one's size: EXACT or ROUGH."""
    main, toast = size
    return _LISTED.replace("{main}", main).replace("{toast}", toast)


# A row's hash is a chain: each column's text is hashed with the hash of those before it as seed,
# by name, for an inherited column may stand elsewhere after a restore. (ROW(...)::text takes twice
# the time; hash_record has no hash for json, point, xml, money and bit, calls 1.0 and 1.00 equal,
# and is not there before 14.) Each column is named with its relation, or one called like the
# relation would be the whole row. concat() takes a type's own output, which no cast of a user's
# replaces, and has an empty text for null: where a value's may be empty, null changes the seed.
# "char" prints otherwise since 16.
_STEPS = """
SELECT a.attname, f.*
FROM pg_catalog.pg_attribute AS a
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid,
LATERAL (
    SELECT pg_catalog.quote_ident(a.attname)
           || CASE COALESCE(NULLIF(t.typbasetype, 0), t.oid)
              WHEN 18 THEN '::pg_catalog.int4' WHEN 1002 THEN '::pg_catalog.int4[]' ELSE '' END,
           CASE WHEN t.oid IN (20, 21, 23, 26) OR COALESCE(NULLIF(t.typbasetype, 0), t.oid) = 18
                THEN 'int'
                WHEN t.oid IN (25, 1043) THEN 'text'
                WHEN t.oid = 2950 THEN 'uuid'
                WHEN t.typcategory = 'A' OR t.typtype IN ('c', 'm', 'r')
                  OR t.oid IN (16, 17, 114, 650, 700, 701, 774, 790, 829, 869, 1082, 1083, 1114,
                               1184, 1186, 1266, 1700, 3802) THEN 'never empty'
                ELSE 'other' END
) AS v (name, kind),
LATERAL (
    SELECT pg_catalog.format(
               CASE v.kind
               WHEN 'int' THEN 'pg_catalog.hashtextextended('
                               'CASE WHEN r.%1$s IS NULL THEN ''-'' ELSE '''' END, '
               WHEN 'text' THEN 'pg_catalog.hashtextextended('
                                'COALESCE(r.%1$s, '''') COLLATE pg_catalog."C", '
               WHEN 'uuid' THEN 'pg_catalog.uuid_hash_extended('
                                'COALESCE(r.%1$s, ''00000000-0000-0000-0000-000000000000''), '
               ELSE 'pg_catalog.hashtextextended(pg_catalog.concat(r.%1$s), ' END, v.name),
           pg_catalog.format(
               CASE v.kind
               WHEN 'int' THEN ' # COALESCE(r.%1$s, 0)::pg_catalog.int8)'
               WHEN 'never empty' THEN ')'
               ELSE ' # CASE WHEN r.%1$s IS NULL THEN 6148914691236517205 ELSE 0 END)'
               END, v.name)
) AS f (before, after)
WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
"""

# So many columns are one chain, and the chains' hashes another: the server takes no deeper nesting.
_HASH = """
(SELECT CASE pg_catalog.count(*) WHEN 0 THEN '1' WHEN 1 THEN pg_catalog.max(g.chain)
        ELSE pg_catalog.string_agg(
                 'pg_catalog.hashtextextended(pg_catalog.concat(' || g.chain || '), ', ''
                 ORDER BY g.at DESC)
             || '0' || pg_catalog.repeat(')', pg_catalog.count(*)::pg_catalog.int4) END
   FROM (
    SELECT s.at / 64 AS at,
           pg_catalog.string_agg(s.before, '' ORDER BY s.attname DESC) || '0'
           || pg_catalog.string_agg(s.after, '' ORDER BY s.attname) AS chain
      FROM (
        SELECT w.*, pg_catalog.row_number() OVER (ORDER BY w.attname) - 1 AS at
          FROM ({steps}) AS w) AS s
     GROUP BY 1) AS g)
""".replace("{steps}", _STEPS)

# One statement for many relations; {oids} are numbers.
STATEMENT = """
SELECT pg_catalog.string_agg(pg_catalog.format(
         'SELECT %s, pg_catalog.count(*), pg_catalog.sum(%s)::pg_catalog.text'
         || ' FROM ONLY %I.%I AS r',
         c.oid, {hash}, n.nspname, c.relname), E'\\nUNION ALL\\n')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid IN ({oids})
""".replace("{hash}", _HASH)

# Every sequence but those of a session; their values are read from themselves.
SEQUENCES = """
SELECT c.oid, n.nspname, c.relname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname, 'pg_')
ORDER BY n.nspname, c.relname
"""

VALUES = """
SELECT pg_catalog.string_agg(pg_catalog.format(
         'SELECT %s, r.last_value, r.is_called FROM %I.%I AS r',
         c.oid, n.nspname, c.relname), E'\nUNION ALL\n')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid IN ({oids})
"""

VALUES_18 = """
SELECT c.oid, v.last_value, v.is_called
FROM pg_catalog.pg_class AS c, pg_catalog.pg_get_sequence_data(c.oid) AS v
WHERE c.oid IN ({oids})
"""

# Read as its owner may, in pieces: pg_largeobject is the superuser's, and lo_get of all takes at
# most 1 GB. 262144 is INV_READ.
LARGE_OBJECTS = """
SELECT o.oid, o.size, pg_catalog.pg_get_userbyid(o.lomowner),
       o.lomacl IS NOT NULL,
       ARRAY(SELECT a::pg_catalog.text FROM pg_catalog.unnest(o.lomacl) AS a
              ORDER BY a::pg_catalog.text COLLATE pg_catalog."C"),
       COALESCE(pg_catalog.obj_description(o.oid, 'pg_largeobject'), ''),
       (SELECT pg_catalog.sum(pg_catalog.hashtextextended(p::pg_catalog.text || ' '
                 || pg_catalog.encode(pg_catalog.sha256(
                      pg_catalog.lo_get(o.oid, p, {piece})), 'hex') COLLATE pg_catalog."C", 0)
               )::pg_catalog.text
          FROM pg_catalog.generate_series(0, o.size - 1, {piece}) AS p),
       pg_catalog.lo_close(o.descriptor)
FROM (
    SELECT s.*, pg_catalog.lo_lseek64(s.descriptor, 0, 2) AS size
    FROM (
        SELECT m.oid, m.lomowner, m.lomacl, pg_catalog.lo_open(m.oid, 262144) AS descriptor
        FROM pg_catalog.pg_largeobject_metadata AS m ORDER BY m.oid OFFSET 0
    ) AS s OFFSET 0
) AS o
""".replace("{piece}", "1048576")

# A row's hash of one relation, and its key: the primary one, else the shortest that is unique
# and without null.
KEY = """
SELECT c.oid, pg_catalog.format('%%I.%%I', n.nspname, c.relname), {hash}, k.names, k.columns
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    SELECT pg_catalog.string_agg(a.attname::pg_catalog.text, ', ' ORDER BY u.place) AS names,
           pg_catalog.string_agg(pg_catalog.format('r.%%I', a.attname), ', ' ORDER BY u.place)
             AS columns
    FROM pg_catalog.pg_index AS i,
         pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS u (attnum, place),
         pg_catalog.pg_attribute AS a
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid
      AND i.indpred IS NULL AND i.indexprs IS NULL AND u.place <= i.indnkeyatts
      AND a.attrelid = c.oid AND a.attnum = u.attnum
    GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
    HAVING pg_catalog.bool_and(a.attnotnull)
    ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1
) AS k ON true
WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'm')
""".replace("{hash}", _HASH.replace("%", "%%"))

_KEYED = """
SELECT pg_catalog.hashtextextended(q.k, 0) AS h, q.k, q.v
FROM (SELECT ROW({key})::pg_catalog.text COLLATE pg_catalog."C" AS k, {hash} AS v
      FROM ONLY {relation} AS r) AS q
"""

_KEYLESS = """
SELECT q.h, '' AS k, pg_catalog.count(*) AS v
FROM (SELECT {hash} AS h FROM ONLY {relation} AS r) AS q
GROUP BY q.h
"""

BUCKETS = 4096

_SUMS = """
SELECT (q.h & {mask})::pg_catalog.int4, pg_catalog.count(*), pg_catalog.sum(q.v)::pg_catalog.text
FROM ({rows}) AS q GROUP BY 1
""".replace("{mask}", str(BUCKETS - 1))

_ROWS = """
SELECT q.h, q.k, q.v FROM ({rows}) AS q
WHERE (q.h & {mask}) IN ({buckets}) ORDER BY q.h, q.k
""".replace("{mask}", str(BUCKETS - 1))


def sums(relation: str, row_hash: str, key: str) -> str:
    """Return the query for each bucket's number of rows and the sum of their hashes."""
    return _SUMS.replace("{rows}", _rows(relation, row_hash, key))


def rows(relation: str, row_hash: str, key: str, buckets: Iterable[int]) -> str:
    """Return the query for the rows of some buckets: where, key, hash (without key: how many)."""
    wanted = ", ".join(map(str, sorted(buckets)))
    return _ROWS.replace("{buckets}", wanted).replace("{rows}", _rows(relation, row_hash, key))


def _rows(relation: str, row_hash: str, key: str) -> str:
    parts = {"{relation}": relation, "{hash}": row_hash, "{key}": key}
    # In one go: a name may look like a part.
    pattern = "|".join(map(re.escape, parts))
    return re.sub(pattern, lambda found: parts[found[0]], _KEYED if key else _KEYLESS)
