"""Django's test database is one of ours."""

import pytest


@pytest.fixture(scope="session")
def django_db_modify_db_settings(costmgmt_database_factory):
    """Point Django at a fresh, initialized database; one for each worker."""
    from django.db import connections

    with costmgmt_database_factory.fresh() as database:
        connections["default"].settings_dict.update(database.django())
        yield


@pytest.fixture(scope="session")
def django_db_keepdb():
    """Have Django use the database that is there: it neither creates nor drops one."""
    return True


@pytest.fixture(scope="session")
def django_db_createdb():
    """Not for --create-db either: each run has a new database, and the role may not make one."""
    return False
