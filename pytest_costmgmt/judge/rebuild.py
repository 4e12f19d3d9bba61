"""The one way to change what a database got at its creation: dump it, create it anew, restore."""

from __future__ import annotations

import shlex

from pytest_costmgmt.judge.finding import Fix
from pytest_costmgmt.judge.sqltext import ident, literal


def rebuilt(database: str, owner: str, encoding: str) -> Fix:
    """Return the commands; the old database is kept under another name."""
    old = f"{database}_old"
    return Fix(
        kind="shell",
        text=f"""# With the application stopped, as a superuser; the old database is kept.
set -e
pg_dump --format=custom --no-comments --file=rebuild.dump --dbname={_target(database)}
psql -X -v ON_ERROR_STOP=1 --dbname=postgres <<'SQL'
ALTER DATABASE {ident(database)} RENAME TO {ident(old)};
CREATE DATABASE {ident(database)} OWNER {ident(owner)} TEMPLATE template0
  ENCODING {literal(encoding)} LC_COLLATE 'C' LC_CTYPE 'C';
SQL
pg_restore --exit-on-error --dbname={_target(database)} rebuild.dump""",
        needs="superuser",
    )


def _target(database: str) -> str:
    # As a connection string: a name with "=" in it would be read as one.
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return shlex.quote(f"dbname='{escaped}'")
