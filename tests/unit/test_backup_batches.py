"""What is hashed in one transaction: few tables and few locks, the largest relations first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_costmgmt.backup import content
from pytest_costmgmt.backup.listing import Listed

BYTES = st.sampled_from([1, 8192, content.SMALL - 1, content.SMALL, 10 * content.SMALL])
LOCKS = st.sampled_from([1, 2, 9, 900])
SIZES = st.lists(st.tuples(BYTES, LOCKS), max_size=250) | st.just([(1, 1)] * 700)


@given(SIZES)
def test_a_batch_takes_few_locks_and_no_relation_is_left_out(sizes: list[tuple[int, int]]) -> None:
    """At most 200 tables and 500 locks at once, unless one table alone takes more.

    COPY takes the table's lock and its TOAST table's, and is not mixed with what the server hashes.
    """
    todo = [
        Listed(
            oid=oid, schema="s", name=str(oid), kind="table", bytes=size, locks=locks,
            lines=size <= 8192,
        )
        for oid, (size, locks) in enumerate(sorted(sizes, reverse=True))
    ]  # fmt: skip
    batches = list(content.batches(todo))
    assert [each for batch in batches for each in batch] == todo
    for batch in batches:
        assert len(batch) <= 200
        taken = sum(min(each.locks, 3) if each.lines else each.locks for each in batch)
        assert len(batch) == 1 or taken <= 500
        assert len({each.lines for each in batch}) == 1
        assert len(batch) == 1 or sum(each.bytes for each in batch) <= content.SMALL
