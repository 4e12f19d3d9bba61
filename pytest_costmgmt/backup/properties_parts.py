"""Pieces of SQL that the queries for properties share."""

# ruff: noqa: S608 - constants are composed with constants

from __future__ import annotations

PG14, PG15, PG18 = 140000, 150000, 180000
FIRST_USER_OID = 16384
"What initdb made is below (FirstNormalObjectId)."

# Objects of the extensions are the extensions' own; one query says all of theirs.
OWNED = """
NOT EXISTS (SELECT FROM pg_catalog.pg_depend AS e
             WHERE e.classid = 'pg_catalog.{0}'::pg_catalog.regclass AND e.objid = {1}.oid
               AND e.deptype = 'e')"""

USER_SCHEMA = """
n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname, 'pg_')"""

KIND = """
CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
     WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table'
     WHEN 'i' THEN 'index' WHEN 'I' THEN 'partitioned index' WHEN 'c' THEN 'composite type'
     WHEN 't' THEN 'toast table' ELSE c.relkind::pg_catalog.text END"""

NAMED = f"{KIND} || ' ' || pg_catalog.format('%I.%I', n.nspname, c.relname)"

# Items sorted, so that the order of grants does not matter; "none" is an empty list.
SORTED = """
(SELECT COALESCE(pg_catalog.string_agg(i::pg_catalog.text, ', '
                 ORDER BY i::pg_catalog.text COLLATE "C"), 'none')
   FROM pg_catalog.unnest({0}) AS i)"""


def acl(acl: str, kind: str, owner: str) -> str:
    """Return SQL for an ACL as text, NULL where it says no more than the default."""
    default = SORTED.format(f"pg_catalog.acldefault({kind}, {owner})")
    return f"CASE WHEN {acl} IS NOT NULL THEN NULLIF({SORTED.format(acl)}, {default}) END"


def options(array: str) -> str:
    """Return SQL for sorted options; a server's private note on its own format is no option."""
    return f"""
(SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C") FROM pg_catalog.unnest({array}) AS o
  WHERE NOT pg_catalog.starts_with(o, 'pg_attver='))"""
