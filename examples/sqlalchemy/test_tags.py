"""Two tests that write the same key: each has its own database."""

import pytest
from models import Tag
from sqlalchemy import select
from sqlalchemy.orm import Session


@pytest.mark.parametrize("seen", [1, 2])
def test_tag(engine, seen):
    """What is committed is read again, and only that."""
    with Session(engine) as session:
        session.add(Tag(key="environment", seen=seen))
        session.commit()
    with Session(engine) as session:
        assert session.scalars(select(Tag.seen)).all() == [seen]
