"""An engine on a fresh database for each test."""

import pytest
from models import Base
from sqlalchemy import create_engine


@pytest.fixture
def engine(costmgmt_database):
    """An engine, its tables made."""
    engine = create_engine(costmgmt_database.dsn)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()
