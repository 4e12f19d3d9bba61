"""Migrate once, alone, and say why if it fails. Arguments: the application's migration command.

Runs in the application's image, with its Python and its driver. Kubernetes may start a Job's pod
twice, so a lock in the database is held by a connection of its own while the command runs: in a
transaction, so that no pooler gives it to another, and without a snapshot, so that it holds up
neither VACUUM nor CREATE INDEX CONCURRENTLY.
"""

import os
import secrets
import signal
import subprocess
import sys
import time

LOCK = int.from_bytes(b"migrates", "big")
HAS_TRANSACTION_TIMEOUT = 170000
ASK_EVERY = 5
# The server's words for what no waiting heals. Anything else is tried again until the deadline.
HOPELESS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "not permitted to log in",
    "no password supplied",
    "certificate verify failed",
    "does not match host name",
    "does not support SSL",
    "could not read root certificate file",
)


def say(text):
    print("cost-mgmt-migration: " + text, flush=True)


def fail(text):
    sys.stdout.flush()
    sys.stderr.write("cost-mgmt-migration: " + text + "\n")
    raise SystemExit(1)


def driver():
    """Return psycopg or psycopg2, whichever the application brings."""
    for name in ("psycopg", "psycopg2"):
        try:
            return __import__(name)
        except ImportError:
            continue
    fail("the image has neither psycopg nor psycopg2: is it the application's?")


def login():
    """Return how the application connects, from its own variables."""
    prefix = os.environ["DATABASE_SERVICE_NAME"].upper().replace("-", "_")
    found = {
        "host": os.environ[prefix + "_SERVICE_HOST"],
        "port": os.environ[prefix + "_SERVICE_PORT"],
        "dbname": os.environ["DATABASE_NAME"],
        "user": os.environ["DATABASE_USER"],
        "password": os.environ["DATABASE_PASSWORD"],
        "connect_timeout": "10",
        "application_name": "cost-mgmt-migration",
    }
    if os.environ.get("DATABASE_SERVICE_CERT"):
        found["sslmode"] = "verify-full"
        found["sslrootcert"] = os.environ["DATABASE_SERVICE_CERTFILE"]
    return found


def connect(library, how, deadline):
    """Wait for an authenticated answer, not for an open port; a refusal ends the wait."""
    where = f"{how['user']} at {how['host']}:{how['port']}, database {how['dbname']}"
    told = None
    while True:
        try:
            connection = library.connect(**how)
        except library.OperationalError as error:
            last = " ".join(str(error).split())
        else:
            say("connected as " + where)
            return connection
        if any(word in last for word in HOPELESS):
            fail("the database refused " + where + ": " + last)
        if time.monotonic() > deadline:
            fail("no answer for " + where + "; the last one was: " + last)
        if last != told:
            say("waiting for " + where + ": " + last)
            told = last
        time.sleep(2)


def lock(connection, deadline):
    """Take the lock, or wait for who has it; returns the cursor that asks if it is still ours."""
    cursor = connection.cursor()
    cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    cursor.execute("SET LOCAL statement_timeout = 0")
    cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    cursor.execute("SELECT pg_catalog.current_setting('server_version_num')")
    if int(cursor.fetchone()[0]) >= HAS_TRANSACTION_TIMEOUT:
        cursor.execute("SET LOCAL transaction_timeout = 0")
    told = False
    while True:
        # Without parameters: a portal of the extended protocol would stay open, with its snapshot.
        cursor.execute(f"SELECT pg_catalog.pg_try_advisory_xact_lock({LOCK})")
        if cursor.fetchone()[0]:
            return cursor
        if time.monotonic() > deadline:
            fail("another migration still runs in this database; nothing was migrated here")
        if not told:
            say("another migration runs in this database: waiting for it to end")
            told = True
        time.sleep(2)


def end(child):
    child.terminate()
    try:
        child.wait(20)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def migrate(command, cursor, library):
    """Run the command to its end, as long as the lock is ours."""
    say("migrating: " + " ".join(command))
    told = []
    # As the container's first process we get no default action: the signal is passed on below.
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        child = subprocess.Popen(command)
    except OSError as error:
        fail(f"cannot start {command[0]}: {error.strerror}")
    asked = time.monotonic()
    while child.poll() is None:
        if told:
            end(child)
            fail("ended from outside (SIGTERM)")
        time.sleep(0.5)
        if time.monotonic() - asked > ASK_EVERY:
            asked = time.monotonic()
            try:
                cursor.execute("SELECT 1")
            except library.Error as error:
                end(child)
                fail("lost the database while it was migrated: " + " ".join(str(error).split()))
    return child.returncode


def main(command):
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: fail("ended from outside (SIGTERM)"))
    os.environ.setdefault("DJANGO_SECRET_KEY", secrets.token_hex(32))
    library = driver()
    deadline = began + float(os.environ["COSTMGMT_WAIT_SECONDS"])
    connection = connect(library, login(), deadline)
    # Who has the lock migrates, which may take as long as a Job may: that deadline ends it.
    cursor = lock(connection, float("inf"))
    status = migrate(command, cursor, library)
    if status < 0:
        why = " (killed: out of memory?)" if status == -signal.SIGKILL else ""
        fail(f"the migration command was ended by signal {-status}{why}")
    if status:
        fail(f"the migration command failed with status {status}: see its last lines above")
    say(f"migrated in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
