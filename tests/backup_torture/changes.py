"""Changes of the torture database's data: each of one relation, in a way of its own."""

from __future__ import annotations

AWKWARD = "%s %(x)s {} {0} %I $1 :name :'quoted' ?"

CHANGES: dict[str, tuple[str, str]] = {
    "a-row-less": ("one", "DELETE FROM torture.one"),
    "a-row-more": ("many", "INSERT INTO torture.many (amount, at) VALUES (1, now())"),
    "an-equal-row-twice-less": (
        "twins",
        (
            "DELETE FROM torture.twins WHERE ctid = ANY (ARRAY(SELECT ctid FROM "
            "torture.twins LIMIT 2))"
        ),
    ),
    "scale": ("typed", "UPDATE torture.typed SET left_ = 1.5"),
    "scale-in-json": (
        "every_type",
        """UPDATE torture.every_type SET jsb = '{"b": 1.0, "a": null}' WHERE id = 1""",
    ),
    "space-in-json": (
        "every_type",
        """UPDATE torture.every_type SET js = '{"b":1, "a":1}' WHERE id = 1""",
    ),
    "null-is-no-empty-text": (
        "nulls",
        "UPDATE torture.nulls SET c = '' WHERE a IS NULL AND b IS NULL",
    ),
    "null-is-no-zero": ("every_type", "UPDATE torture.every_type SET i4 = 0 WHERE id = 2"),
    "null-is-no-zero-of-char": (
        "every_type",
        "UPDATE torture.every_type SET chars = '' WHERE id = 2",
    ),
    "null-is-no-uuid-of-zeros": (
        "every_type",
        "UPDATE torture.every_type SET id_ = '00000000-0000-0000-0000-000000000000' WHERE id = 2",
    ),
    "null-is-no-row-of-nulls": (
        "every_type",
        "UPDATE torture.every_type SET p = ROW(NULL, NULL) WHERE id = 4",
    ),
    "null-and-empty-text-change-places": (
        "nulls",
        "UPDATE torture.nulls SET b = c, c = b WHERE a = 3",
    ),
    "nulls-change-places": ("referring", "UPDATE torture.referring SET itself = 1 WHERE id = 1"),
    "columns-change-places": ("t", "UPDATE torture.t SET t = r, r = t WHERE t = 't'"),
    "values-change-rows": (
        "indexed",
        (
            "UPDATE torture.indexed SET ci = CASE id WHEN 11 THEN 'C12' ELSE 'C11' END WHERE "
            "id IN (11, 12)"
        ),
    ),
    "a-bit-of-a-toasted-value": (
        "toasted",
        (
            "UPDATE torture.toasted SET plain = overlay(plain placing 'x' from 9000 for 1) "
            "WHERE id = 2"
        ),
    ),
    "minus-zero": ("every_type", "UPDATE torture.every_type SET f8 = 0 WHERE id = 3"),
    "the-last-digit": (
        "every_type",
        "UPDATE torture.every_type SET f8 = 0.1::float8 + 1.4e-17 WHERE id = 6",
    ),
    "not-a-number": ("every_type", "UPDATE torture.every_type SET num = 0 WHERE id = 2"),
    "a-microsecond": (
        "every_type",
        "UPDATE torture.every_type SET ts = ts - interval '1 us' WHERE id = 1",
    ),
    "an-hour-of-zone": (
        "every_type",
        "UPDATE torture.every_type SET tz = '22:59:59.999999+14:59' WHERE id = 1",
    ),
    "a-day-is-not-24-hours": (
        "every_type",
        "UPDATE torture.every_type SET iv = '24:00:00' WHERE id = 4",
    ),
    "trailing-space": (
        "every_type",
        "UPDATE torture.every_type SET var = 'trailing' WHERE id = 1",
    ),
    "case": ("collated", "UPDATE torture.collated SET a = 'b' WHERE a = 'B'"),
    "composed-é": (
        "every_type",
        """UPDATE torture.every_type SET txt = E'e\\u0301' WHERE id = 8""",
    ),
    "bits": ("every_type", "UPDATE torture.every_type SET vbits = B'0' WHERE id = 3"),
    "money": ("every_type", "UPDATE torture.every_type SET money_ = '0.01' WHERE id = 1"),
    "one-char": ("every_type", "UPDATE torture.every_type SET one = 'b' WHERE id = 1"),
    "xml": ("every_type", "UPDATE torture.every_type SET x = '<a></a>' WHERE id = 4"),
    "a-point": ("every_type", "UPDATE torture.every_type SET pt = '(-0,1e-320)' WHERE id = 3"),
    "array-bounds": (
        "every_type",
        "UPDATE torture.every_type SET arr_bounds = '{1,2,3}' WHERE id = 1",
    ),
    "array-null": ("every_type", "UPDATE torture.every_type SET arr = '{}' WHERE id = 4"),
    "nested": ("every_type", "UPDATE torture.every_type SET n.m = NULL WHERE id = 1"),
    "of-a-parent-itself": ("parent", "UPDATE ONLY torture.parent SET a = 'x'"),
    "of-a-child": ("grandchild", "UPDATE torture.grandchild SET z = 6"),
    "of-a-partition": (
        "ranged_2024_02",
        "UPDATE torture.ranged SET v = 'w' WHERE day = '2024-02-05'",
    ),
    "fast-default": ("worn_out", "UPDATE torture.worn_out SET later = 'x' WHERE a = 2"),
    "a-column-more": ("round_b", "ALTER TABLE torture.round_b ADD more int"),
    "a-stale-view": ("sums_of_sums", "REFRESH MATERIALIZED VIEW torture.sums_of_sums"),
    "a-view-emptied": ("sums", "REFRESH MATERIALIZED VIEW torture.sums WITH NO DATA"),
    "unlogged": ("unlogged_", "TRUNCATE torture.unlogged_"),
    "a-whole-row": ("r", "UPDATE torture.r SET r.count = 2 WHERE (r.r).t = 't'"),
    "another-method": (
        "of_another_method",
        "UPDATE torture.of_another_method SET a = 3 WHERE a = 2",
    ),
    "an-awkward-name": (AWKWARD, f"""UPDATE torture."{AWKWARD}" SET "%s" = ''"""),  # noqa: S608
}
