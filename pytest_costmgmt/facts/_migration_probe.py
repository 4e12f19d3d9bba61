"""What runs inside the application's interpreter: ``MANAGE... shell -c``, read as text.

Nothing here may need this package, a database, or a Python newer than Django 4.2's oldest.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from importlib import import_module
from typing import Any


def answer(mark: str) -> None:
    """Print the application's migrations as one line of JSON between two marks."""
    line = "\n" + mark + json.dumps(migrations()) + mark + "\n"
    sys.stdout.flush()
    # Past whatever the application made of sys.stdout; the pipe may take it in parts.
    data = line.encode("ascii")
    while data:
        data = data[os.write(1, data) :]


def migrations() -> dict[str, Any]:
    """Return every migration of Django's own loader: what it depends on and what it replaces."""
    loader_module = import_module("django.db.migrations.loader")
    exceptions = import_module("django.db.migrations.exceptions")
    # Without a connection: the plan is the application's, whatever the database says. This one
    # raises what Django itself would raise of a broken set.
    loader_module.MigrationLoader(None)
    loader = loader_module.MigrationLoader(None, load=False, replace_migrations=False)
    # Replaced migrations may no longer be on disk: the loader above bridged them.
    with contextlib.suppress(exceptions.NodeNotFoundError):
        loader.build_graph()
    return {
        "django": import_module("django").get_version(),
        "migrations": [
            {
                "name": ".".join(key),
                "dependencies": sorted(".".join(n.key) for n in loader.graph.node_map[key].parents),
                "replaces": [".".join(replaced) for replaced in migration.replaces],
            }
            for key, migration in sorted(loader.disk_migrations.items())
        ],
    }
