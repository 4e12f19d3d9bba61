"""What ends findings about extensions: packages, preloading, a provider's list."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_costmgmt.facts.extensions import AZURE
from pytest_costmgmt.judge.finding import Fix
from pytest_costmgmt.requirements.model import Requirements

# ALTER SYSTEM takes the libraries one by one: 'a, b' in one literal would be one library's name.
# Those that are there stay, in their order.
PRELOAD = """\
SELECT 'ALTER SYSTEM SET shared_preload_libraries = '
       || pg_catalog.string_agg(pg_catalog.quote_literal(library), ', ' ORDER BY place)
FROM (SELECT pg_catalog.btrim(part, ' "') AS library, pg_catalog.min(place) AS place
      FROM pg_catalog.unnest(pg_catalog.string_to_array(pg_catalog.current_setting(
           'shared_preload_libraries') || ',pg_stat_statements', ','))
           WITH ORDINALITY AS parts(part, place)
      GROUP BY 1) AS libraries
WHERE library <> '' \\gexec
-- Then restart the server. If the setting is managed elsewhere, set it there instead: a command
-- line's -c, POSTGRESQL_LIBRARIES of the sclorg image, a service's parameter group."""

PACKAGES = """\
# Debian, Ubuntu
apt-get install postgresql-contrib
# Fedora, RHEL
dnf install postgresql-contrib"""


def allow(setting: str, allowed: Sequence[str], requirements: Requirements) -> Fix:
    """Return how what is missing gets onto the provider's list ``setting``."""
    names = dict.fromkeys([*allowed, *(each.name for each in requirements.extensions)])
    listed = ",".join(names)
    text = (
        "# Aurora: modify-db-cluster-parameter-group --db-cluster-parameter-group-name\n"
        "aws rds modify-db-parameter-group --db-parameter-group-name GROUP \\\n  --parameters"
        f" \"ParameterName={setting},ParameterValue='{listed}',ApplyMethod=immediate\""
    )
    if setting == AZURE:
        text = (
            "az postgres flexible-server parameter set --resource-group GROUP"
            f" --server-name SERVER \\\n  --name {setting} --value {listed}"
        )
    return Fix(
        kind="shell", text=text, needs="whoever may set the server's parameters at its provider"
    )
