"""Tests as any Django project has them."""

import pytest
from django.db import connection
from shop.models import Item


@pytest.mark.django_db
@pytest.mark.parametrize("again", [1, 2])
def test_rolled_back(again):
    """Each test sees an empty table."""
    Item.objects.create(name="lamp")
    assert Item.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_committed(costmgmt_credentials):
    """Django works as the application's role, in a database of ours."""
    Item.objects.create(name="chair")
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, current_database()")
        role, database = cursor.fetchone()
    assert role == costmgmt_credentials.role
    assert database.startswith("costmgmt_")
