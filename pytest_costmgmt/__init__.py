"""Is this PostgreSQL ready for Cost Management (koku), and will my data survive?

The types that users annotate with. Importing this package loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Credentials",
    "Database",
    "Databases",
    "Login",
    "Proof",
    "Secret",
    "Server",
    "Settings",
    "__version__",
]

if TYPE_CHECKING:
    from pytest_costmgmt.backup.model import Proof
    from pytest_costmgmt.engine.user_fixtures_database import Credentials, Database
    from pytest_costmgmt.engine.user_fixtures_databases import Databases
    from pytest_costmgmt.postgres.login import Login
    from pytest_costmgmt.secret import Secret
    from pytest_costmgmt.servers import Server
    from pytest_costmgmt.settings import Settings

_HOMES = {
    "Credentials": "pytest_costmgmt.engine.user_fixtures_database",
    "Database": "pytest_costmgmt.engine.user_fixtures_database",
    "Databases": "pytest_costmgmt.engine.user_fixtures_databases",
    "Login": "pytest_costmgmt.postgres.login",
    "Proof": "pytest_costmgmt.backup.model",
    "Secret": "pytest_costmgmt.secret",
    "Server": "pytest_costmgmt.servers",
    "Settings": "pytest_costmgmt.settings",
}


if not TYPE_CHECKING:  # else a misspelled name would be Any to a user's type checker

    def __getattr__(name: str) -> Any:
        if (home := _HOMES.get(name)) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - the package itself loads nothing

        return getattr(import_module(home), name)
