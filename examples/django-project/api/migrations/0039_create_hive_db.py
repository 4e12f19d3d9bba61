"""Role and database hive, as koku makes them: by a connection of its own, forgiving refusals.

What it did stays even if the migration fails. It fails where role or database are missing and the
server refuses to have them made; where they exist, it proves nothing about hive's login.
"""

import logging

import psycopg
from django.conf import settings
from django.db import migrations
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

LOG = logging.getLogger(__name__)
FORGIVEN = (errors.InsufficientPrivilege, errors.DuplicateObject, errors.DuplicateDatabase)


def create_hive_db(apps, schema_editor):
    if settings.ONPREM:
        LOG.info("no database hive with ONPREM=True")
        return
    database = schema_editor.connection.settings_dict
    with psycopg.connect(
        **parameters(database["PASSWORD"]),
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        dbname=database["NAME"],
        autocommit=True,
        **database["OPTIONS"],
    ) as connection:
        make(connection)
        separate(connection, database["NAME"], database["USER"])


def parameters(password):
    """Return what libpq reads from a URI with the password as it is, as koku's is built."""
    try:
        read = conninfo_to_dict(f"postgresql://application:{password}@host/")
    except psycopg.ProgrammingError:
        read = {}
    if (read.get("host"), read.get("user")) != ("host", "application"):
        # libpq's own text would show a part of it.
        raise ValueError("the password of the application breaks a URI") from None
    return {"password": read.get("password", "")}


def make(connection):
    role = sql.Identifier(settings.HIVE_DATABASE_USER)
    asked = "SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s"
    # A refused statement would be in the server's log, with the password in it.
    if connection.execute(asked, (settings.HIVE_DATABASE_USER,)).fetchone() is None:
        attempt(
            connection,
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                role, sql.Literal(settings.HIVE_DATABASE_PASSWORD)
            ),
        )
    attempt(
        connection,
        sql.SQL("CREATE DATABASE {} OWNER {}").format(
            sql.Identifier(settings.HIVE_DATABASE_NAME), role
        ),
    )


def separate(connection, database, user):
    """Keep each role in its own database; asking about a hive that is missing raises."""
    hive, hive_user = settings.HIVE_DATABASE_NAME, settings.HIVE_DATABASE_USER
    for name, who in ((database, "public"), (hive, "public"), (database, hive_user)):
        if not may_connect(connection, who, name):
            continue
        grantee = sql.SQL("PUBLIC") if who == "public" else sql.Identifier(who)
        revoke = sql.SQL("REVOKE CONNECT ON DATABASE {} FROM {}")
        attempt(connection, revoke.format(sql.Identifier(name), grantee))
    if not may_connect(connection, user, hive):
        grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
        attempt(connection, grant.format(sql.Identifier(hive), sql.Identifier(user)))


def may_connect(connection, role, database):
    asked = "SELECT pg_catalog.has_database_privilege(%s, %s, 'CONNECT')"
    return connection.execute(asked, (role, database)).fetchone()[0]


def attempt(connection, statement):
    try:
        connection.execute(statement)
    except FORGIVEN as error:
        LOG.info("%s", error)


class Migration(migrations.Migration):
    dependencies = [("api", "0003_provider_index")]
    operations = [migrations.RunPython(create_hive_db, migrations.RunPython.noop)]
