"""A management command that changes the database at each migrate while a table says that it may.

It is the example application's otherwise.
"""

import os
import runpy
import sys

import psycopg

from pytest_costmgmt.resources import resource

DRIFT = """
DO $$ BEGIN
  IF to_regclass('public.costmgmt_drift') IS NOT NULL THEN
    EXECUTE format('ALTER TABLE public.costmgmt_drift ADD COLUMN %I int',
                   'run_' || md5(clock_timestamp()::text));
  END IF;
END $$
"""


def drift() -> None:
    """Add a column to the table that allows it."""
    environ = os.environ
    with psycopg.connect(
        host=environ["DATABASE_SERVICE_HOST"],
        port=environ["DATABASE_SERVICE_PORT"],
        dbname=environ["DATABASE_NAME"],
        user=environ["DATABASE_USER"],
        password=environ["DATABASE_PASSWORD"],
        autocommit=True,
    ) as connection:
        connection.execute(DRIFT)


if "migrate" in sys.argv[1:]:
    drift()
project = resource("examples/django-project")
sys.path.insert(0, str(project))
runpy.run_path(str(project / "manage.py"), run_name="__main__")
