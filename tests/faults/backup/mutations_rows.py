"""Mutations of rows and bytes, sequences, large objects and materialized views."""

# ruff: noqa: E501, Q003 - tables of statements

from __future__ import annotations

from tests.faults.backup.mutation import Mutation, table

MANY = table("many")
UPDATE = "UPDATE torture.every_type SET"

ROWS = [
    Mutation("row-deleted", "DELETE FROM torture.many WHERE id = 13", MANY, "rows", keys=("(id)=(13) missing",)),
    Mutation(
        "row-added",
        "INSERT INTO torture.many (id, amount, at) VALUES (-1, 1, now())",
        MANY,
        "rows",
        keys=("(id)=(-1) additional",),
    ),
    # The server has noted nothing of its size.
    Mutation(
        "row-added-to-none",
        "INSERT INTO torture.empty_ VALUES (7, 'seven')",
        table("empty_"),
        "rows",
        keys=("(id)=(7) additional",),
    ),
    Mutation(
        "value-changed",
        "UPDATE torture.many SET amount = amount + 0.0001 WHERE id = 16",
        MANY,
        "content",
        keys=("(id)=(16) changed",),
    ),
    Mutation(
        "two-values-swapped",
        "UPDATE torture.many SET note = CASE id WHEN 13 THEN 'note 3' ELSE 'note 2' END"
        " WHERE id IN (13, 16)",
        MANY,
        "content",
        keys=("(id)=(13) changed", "(id)=(16) changed"),
    ),
    Mutation(
        "key-changed",
        "UPDATE torture.many SET id = -5 WHERE id = 10",
        MANY,
        "content",
        keys=("(id)=(-5) additional", "(id)=(10) missing"),
    ),
    Mutation(
        "row-for-row",
        "DELETE FROM torture.many WHERE id = 19;"
        " INSERT INTO torture.many (id, amount, at) VALUES (-2, 1, '2024-01-01')",
        MANY,
        "content",
    ),
    Mutation(
        "all-rows-gone", "TRUNCATE torture.toasted", table("toasted"), "rows",
        keys=("(id)=(1) missing", "(id)=(2) missing", "(id)=(3) missing"),
    ),
    Mutation(
        # Two equal rows become two other equal ones: an exclusive or would not see it.
        "equal-rows-changed-in-pairs",
        "UPDATE torture.twins SET b = 'other' WHERE ctid IN"
        " (SELECT ctid FROM torture.twins WHERE a = 1 LIMIT 2)",
        table("twins"),
        "content",
    ),
    Mutation(
        "equal-rows-one-fewer-one-more",
        "UPDATE torture.twins SET a = 0 WHERE ctid ="
        " (SELECT ctid FROM torture.twins WHERE a = 1 LIMIT 1)",
        table("twins"),
        "content",
    ),
    Mutation(
        "row-without-columns-added",
        "INSERT INTO torture.nothing DEFAULT VALUES",
        table("nothing"),
        "rows",
    ),
    Mutation(
        "row-without-columns-deleted",
        "DELETE FROM torture.nothing_thrice WHERE ctid ="
        " (SELECT ctid FROM torture.nothing_thrice LIMIT 1)",
        table("nothing_thrice"),
        "rows",
    ),
    Mutation(
        "row-moved-to-the-child",
        "WITH gone AS (DELETE FROM ONLY torture.parent RETURNING *)"
        " INSERT INTO torture.child (id, a) SELECT id + 50, a FROM gone",
        table("child"),
        "rows",
        about=("torture.child", "torture.parent"),
    ),
    Mutation(
        "columns-swapped",
        "UPDATE torture.nulls SET b = c, c = b WHERE b = 'a'",
        table("nulls"),
        "content",
    ),
    Mutation(
        "null-for-empty", "UPDATE torture.nulls SET c = NULL WHERE c = ''", table("nulls"), "content"
    ),
    Mutation(
        "empty-for-null",
        "UPDATE torture.nulls SET b = '' WHERE a IS NULL AND b IS NULL",
        table("nulls"),
        "content",
    ),
    Mutation(
        "toasted-one-letter",
        "UPDATE torture.toasted SET plain = overlay(plain placing 'X' from 9000 for 1) WHERE id = 2",
        table("toasted"),
        "content",
        keys=("(id)=(2) changed",),
    ),
    Mutation(
        "toasted-one-byte",
        "UPDATE torture.toasted SET bytes = set_byte(bytes, 5999, 254) WHERE id = 3",
        table("toasted"),
        "content",
        keys=("(id)=(3) changed",),
    ),
    Mutation(
        "toasted-cut",
        "UPDATE torture.toasted SET squeezed = left(squeezed, -1) WHERE id = 1",
        table("toasted"),
        "content",
        keys=("(id)=(1) changed",),
    ),
    Mutation(
        "column-called-like-an-alias",
        "UPDATE torture.t SET r = 'R' WHERE t.t = 'u'",
        table("t"),
        "content",
    ),
    Mutation(
        "inside-a-whole-row",
        "UPDATE torture.r SET r = (SELECT whole FROM torture.t AS whole WHERE whole.t = 'u') WHERE ctid = '(0,1)'",
        table("r"),
        "content",
    ),
    Mutation(
        "partition", "UPDATE torture.ranged_2024_02 SET v = v || ' ' WHERE id = 60",
        table("ranged_2024_02"), "content", keys=("(id, day)=(60,2024-02-13) changed",),
    ),
    Mutation(
        "quoted-names",
        """UPDATE "Kök-u ""s'c\\"."Kök-u ""t'b\\" SET "a.b" = 'dots' WHERE "select" = 'one'""",
        """table "Kök-u ""s'c\\"."Kök-u ""t'b\\\"""",
        "content",
    ),
    Mutation(
        "unlogged-table", "DELETE FROM torture.unlogged_", table("unlogged_"), "rows",
        keys=("(id)=(1) missing",),
    ),
    Mutation(
        "table-of-another-method",
        "UPDATE torture.of_another_method SET a = 3 WHERE a = 2",
        table("of_another_method"),
        "content",
    ),
    Mutation(
        "enum-column", "UPDATE torture.pg_class SET a = 'a'", table("pg_class"), "content"
    ),
    Mutation(
        "shadowing-types",
        "UPDATE shadow.real SET c = 'Real'",
        "table shadow.real",
        "content",
    ),
]  # fmt: skip

# Each prints like what it replaces, or compares equal to it, or differs in the last place.
TYPES = [
    Mutation(f"type-{name}", f"{UPDATE} {what}", table("every_type"), "content", since=since)
    for name, what, since in (
        ("numeric-scale", "num = 1.00 WHERE id = 1", 13),
        ("numeric-nan", "num = NULL WHERE id = 2", 13),
        ("numeric-last-digit", "num_scaled = num_scaled + 0.0000001 WHERE id = 1", 13),
        ("float-minus-zero", "f8 = 0 WHERE id = 3", 13),
        ("real-minus-zero", "f4 = 0 WHERE id = 3", 13),
        ("float-nan", "f8 = 'infinity' WHERE id = 2", 13),
        ("float-last-bit", "f8 = 0.1::float8 + 1.4e-17::float8 WHERE id = 6", 13),
        ("real-last-bit", "f4 = 0.10000001::float4 WHERE id = 6", 13),
        ("float-denormal", "f8 = 0 WHERE id = 8", 13),
        ("bigint-minimum", "i8 = i8 + 1 WHERE id = 1", 13),
        ("money-cent", "money_ = '-92233720368547758.07' WHERE id = 1", 13),
        ("boolean", "b = false WHERE id = 1", 13),
        ("bit-string-length", "vbits = B'' WHERE id = 2", 13),
        ("bit", "bits = B'0000001' WHERE id = 2", 13),
        ("char-of-one-byte", "one = 'b' WHERE id = 1", 13),
        ("text-space-at-the-end", "txt = txt || ' ' WHERE id = 1", 13),
        ("varchar-space-at-the-end", "var = 'trailing ' WHERE id = 1", 13),
        ("text-composed", "txt = U&'e\\0301' WHERE id = 8", 13),
        ("text-null-in-letters", "txt = NULL WHERE id = 3", 13),
        ("text-zero-width", "txt = txt || U&'\\200B' WHERE id = 1", 13),
        ("text-line-end", "txt = replace(txt, E'\\n', E'\\r\\n') WHERE id = 1", 13),
        ("text-backslash-n", "var = NULL WHERE id = 4", 13),
        ("bytea-byte", "bytes = '\\x00ff5c26' WHERE id = 1", 13),
        ("bytea-printed", "bytes = 'N'::bytea WHERE id = 4", 13),
        ("bytea-empty", "bytes = NULL WHERE id = 2", 13),
        ("date-infinity", "d = 'infinity' WHERE id = 3", 13),
        ("date-day", "d = d + 1 WHERE id = 4", 13),
        ("timestamptz-microsecond", "tsz = tsz + interval '1 us' WHERE id = 1", 13),
        ("timestamp-far", "ts = ts - interval '1 us' WHERE id = 1", 13),
        ("time-24", "t = '00:00' WHERE id = 1", 13),
        ("timetz-same-moment", "tz = '22:59:59.999999+14:59' WHERE id = 1", 13),
        ("interval-month-or-days", "iv = '30 days' WHERE id = 6", 13),
        ("interval-day-or-hours", "iv = '24 hours' WHERE id = 4", 13),
        ("interval-sign", "iv = '1 day -24:00' WHERE id = 5", 13),
        ("uuid", "id_ = 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12' WHERE id = 1", 13),
        ("json-space", 'js = \'{"b": 1, "a":1.0,"a": 1.00 }\' WHERE id = 1', 13),
        ("json-doubled-key", 'js = \'{"b" : 1, "a":1.00,"a": 1.00 }\' WHERE id = 1', 13),
        ("json-key-order", 'js = \'{"a":1.0,"b" : 1, "a": 1.00 }\' WHERE id = 1', 13),
        ("jsonb-scale", 'jsb = \'{"b": 1.0, "a": null}\' WHERE id = 1', 13),
        ("jsonb-null", "jsb = NULL WHERE id = 2 AND jsb IS NOT NULL", 13),
        ("jsonpath", "jp = '$.a[*] ? (@.b > 1.5 && exists (@.\"c d\"))' WHERE id = 1", 13),
        ("xml-space", "x = ' <a> </a>  ' WHERE id = 5", 13),
        ("xml-comment", "x = '<a b=\"1\"><!--x --><b/>&lt;</a>' WHERE id = 1", 13),
        ("point-minus-zero", "pt = '(1.0,0)' WHERE id = 1", 13),
        ("point-nan", "pt = '(NaN,-Infinity)' WHERE id = 2", 13),
        ("box", "bx = '(2,2),(0,1)' WHERE id = 1", 13),
        ("path-closed", "pa = pclose(pa) WHERE id = 1", 13),
        ("polygon-order", "pg = '((1,0),(1,1),(0,0))' WHERE id = 1", 13),
        ("circle", "ci = '<(1,2),3.0000000000000004>' WHERE id = 1", 13),
        ("inet-host-bits", "inet_ = '10.1.2.3/9' WHERE id = 1", 13),
        ("cidr", "cidr_ = '10.0.0.0/9' WHERE id = 1", 13),
        ("macaddr", "mac = '08:00:2b:01:02:04' WHERE id = 1", 13),
        ("tsvector-weight", "tv = $$'a':1B,2 'it''s':3$$ WHERE id = 1", 13),
        ("tsquery-prefix", "tq = $$'fat' & ( 'rat' | !'cat':AB )$$ WHERE id = 1", 13),
        ("pg-lsn", "lsn = 'FFFF/FF1' WHERE id = 1", 13),
        ("snapshot", "snap = '10:20:10,14' WHERE id = 1", 13),
        ("xid8", "x8 = '18446744073709551614' WHERE id = 1", 13),
        ("tid", "td = '(42,8)' WHERE id = 1", 13),
        ("oid", "o = 4294967294 WHERE id = 1", 13),
        ("regclass", "cls = 'pg_catalog.pg_type' WHERE id = 1", 13),
        ("regtype", "typ = 'timestamp without time zone[]' WHERE id = 1", 13),
        ("int2vector", "i2v = '1 2 4' WHERE id = 1", 13),
        ("range-bound", "r4 = '[1,11)' WHERE id = 1", 13),
        ("range-empty", "r8 = NULL WHERE id = 1", 13),
        ("range-scale", "rn = '(,1.5]' WHERE id = 1", 13),
        ("range-unbounded", "rts = '(,infinity)' WHERE id = 1", 13),
        ("range-inclusive", "rf = '[-0.1,0.3)' WHERE id = 1", 13),
        (
            "array-null-in-letters",
            'arr2 = \'{{"","NULL"},{"NULL","a,b\\"{}\\\\"}}\' WHERE id = 1',
            13,
        ),
        ("array-bounds", "arr_bounds = '{1,2,3}' WHERE id = 1", 13),
        ("array-empty", "arr = NULL WHERE id = 2", 13),
        ("array-dimensions", "arr = '{1,2,3,4}' WHERE id = 5", 13),
        ("enum", "m = 'between' WHERE id = 1", 13),
        ("enum-array", "ms = '{sad,\"so, so\"}' WHERE id = 1", 13),
        ("composite-of-nulls", "p = NULL WHERE id = 2", 13),
        ("composite-scale", "p = ROW(1.0, NULL) WHERE id = 1", 13),
        ("composite-empty-or-null", "p = ROW(0, NULL) WHERE id = 3", 13),
        ("composite-nested", "n.m = 'between' WHERE id = 1", 13),
        ("domain", "dom = 1e-31 WHERE id = 1", 13),
        ("base-type", "base = 'semi; colon' WHERE id = 1", 13),
        ("generated", "i4 = 2147483646 WHERE id = 1", 13),
    )
]

INFINITE = [
    Mutation(
        "type-numeric-infinity",
        "UPDATE torture.infinite_numbers SET n = '1e1000' WHERE n = 'infinity'",
        table("infinite_numbers"),
        "content",
        since=14,
    ),
    Mutation(
        "type-interval-infinity",
        "UPDATE torture.infinite_intervals SET iv = '178000000 years' WHERE iv = 'infinity'",
        table("infinite_intervals"),
        "content",
        since=17,
    ),
]

SEQUENCES = [
    Mutation(f"sequence-{name}", sql, of, field, since=since)
    for name, sql, of, field, since in (
        ("next", "SELECT nextval('torture.called')", "sequence torture.called", "last value", 13),
        ("uncalled", "SELECT setval('torture.set_uncalled', 42)", "sequence torture.set_uncalled",
         "is called", 13),
        ("called", "SELECT setval('torture.called', 6, false)", "sequence torture.called",
         "is called", 13),
        ("touched", "SELECT nextval('torture.untouched')", "sequence torture.untouched",
         "is called", 13),
        ("at-its-end", "SELECT setval('torture.at_end', 9223372036854775806)",
         "sequence torture.at_end", "last value", 13),
        ("identity", "SELECT setval('torture.many_id_seq', 10, false)",
         "sequence torture.many_id_seq", "last value", 13),
        ("serial", "SELECT nextval('torture.serials_b_seq')", "sequence torture.serials_b_seq",
         "last value", 13),
        ("dropped", "DROP SEQUENCE torture.untouched", "sequence torture.untouched", "existence", 13),
        ("increment", "ALTER SEQUENCE torture.called INCREMENT 2", "SEQUENCE torture.called",
         "definition", 13),
        ("cycle", "ALTER SEQUENCE torture.backwards NO CYCLE", "SEQUENCE torture.backwards",
         "definition", 13),
        ("owned-by-none", "ALTER SEQUENCE torture.owned OWNED BY NONE",
         "SEQUENCE OWNED BY torture.owned", "existence", 13),
        ("unlogged", "SELECT nextval('torture.unlogged_sequence')",
         "sequence torture.unlogged_sequence", "last value", 15),
    )
]  # fmt: skip

LARGE_OBJECTS = [
    Mutation(f"large-object-{name}", sql, f"large object {oid}", field, about=(f"object {oid}",))
    for name, sql, oid, field in (
        ("byte", "SELECT lo_put(1000003, 4000, '\\x99')", 1000003, "content"),
        ("cut", "SELECT lo_truncate(lo_open(1000003, 131072), 100)", 1000003, "bytes"),
        ("zero-for-hole", "SELECT lo_put(1000004, 9000, '\\x00')", 1000004, "bytes"),
        ("no-longer-empty", "SELECT lo_put(1000001, 0, '\\x00')", 1000001, "bytes"),
        ("gone", "SELECT lo_unlink(1000001)", 1000001, "existence"),
        ("new", "SELECT lo_create(1000005)", 1000005, "existence"),
        ("owner", "ALTER LARGE OBJECT 1000003 OWNER TO \"torture owner\"", 1000003, "owner"),
        ("acl", "GRANT UPDATE ON LARGE OBJECT 1000002 TO PUBLIC", 1000002, "ACL"),
        ("comment", "COMMENT ON LARGE OBJECT 1000003 IS 'large'", 1000003, "comment"),
    )
]  # fmt: skip

VIEWS = [
    Mutation(
        "view-unpopulated",
        "REFRESH MATERIALIZED VIEW torture.none WITH NO DATA",
        "materialized view torture.none",
        "populated",
    ),
    Mutation(
        "view-populated",
        "REFRESH MATERIALIZED VIEW torture.unpopulated",
        "materialized view torture.unpopulated",
        "populated",
        about=("torture.unpopulated",),
    ),
    Mutation(
        "view-of-other-rows",
        "UPDATE torture.ranged SET v = 'v9' WHERE id = 1000; REFRESH MATERIALIZED VIEW torture.sums;"
        " UPDATE torture.ranged SET v = 'a' WHERE id = 1000",
        "materialized view torture.sums",
        "content",
        about=("torture.sums",),
    ),
]

MUTATIONS = [*ROWS, *TYPES, *INFINITE, *SEQUENCES, *LARGE_OBJECTS, *VIEWS]
