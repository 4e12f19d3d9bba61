"""Planted faults of the group backup that any server can have; tests/faults/backup has the rest."""

from __future__ import annotations

from tests.faults.model import Fault, Sql


def admin(*statements: str) -> tuple[Sql, ...]:
    """Return what the administrator runs in the application's database."""
    return (Sql(statements=statements),)


def app(*statements: str) -> tuple[Sql, ...]:
    """Return what the application runs."""
    return (Sql(statements=statements, who="app"),)


# Python's own SHA-256, as a broken library would have it: everything has the same sum.
BROKEN_SHA256 = """
import hashlib

class Broken:
    def update(self, data):
        pass
    def hexdigest(self):
        return "0" * 64
    def digest(self):
        return bytes(32)

hashlib.sha256 = lambda data=b"", **rest: Broken()
"""

# A database that is a template cannot be dropped.
KEEP_SCRATCH = (
    "UPDATE pg_catalog.pg_database SET datistemplate = true"
    " WHERE datname LIKE 'costmgmt_verify_%' AND NOT datistemplate"
)

FAULTS = (
    Fault(
        id="bkp-table-of-another",
        check="CM-BKP-001",
        as_admin=False,
        plant=admin('CREATE SCHEMA "Vault é"', 'CREATE TABLE "Vault é"."t""x" (a int)'),
    ),
    Fault(
        id="bkp-large-object-of-another",
        check="CM-BKP-001",
        as_admin=False,
        plant=admin("SELECT pg_catalog.lo_create(424242)"),
    ),
    Fault(
        id="bkp-row-security-on-its-owner",
        check="CM-BKP-001",
        as_admin=False,
        plant=app(
            "CREATE TABLE public.secretive (a int)",
            "ALTER TABLE public.secretive ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE public.secretive FORCE ROW LEVEL SECURITY",
            # It hides nothing (CM-PRV-006), and pg_dump stops all the same.
            "CREATE POLICY everything ON public.secretive USING (true)",
        ),
    ),
    Fault(
        id="bkp-row-security-of-another",
        check="CM-BKP-001",
        as_admin=False,
        plant=admin(
            "CREATE SCHEMA vault",
            "CREATE TABLE vault.hidden (a int)",
            "GRANT USAGE ON SCHEMA vault TO {role}",
            "GRANT SELECT ON vault.hidden TO {role}",
            "ALTER TABLE vault.hidden ENABLE ROW LEVEL SECURITY",
        ),
        fix=admin("ALTER TABLE vault.hidden DISABLE ROW LEVEL SECURITY"),
    ),
    Fault(
        id="bkp-invalid-index",
        check="CM-BKP-002",
        plant=(
            *app("CREATE TABLE public.spare (a int)", "CREATE INDEX spare_a ON public.spare (a)"),
            *admin(
                "UPDATE pg_catalog.pg_index SET indisvalid = false"
                " WHERE indexrelid = 'public.spare_a'::pg_catalog.regclass"
            ),
        ),
    ),
    Fault(
        id="bkp-constraint-not-valid",
        check="CM-BKP-002",
        plant=app(
            "CREATE TABLE public.spare (a int)",
            'ALTER TABLE public.spare ADD CONSTRAINT "a > 0" CHECK (a > 0) NOT VALID',
        ),
    ),
    Fault(
        id="bkp-view-without-data",
        check="CM-BKP-002",
        plant=app("CREATE MATERIALIZED VIEW public.spare AS SELECT 1 AS a WITH NO DATA"),
    ),
    Fault(
        id="bkp-stale-view",
        check="CM-BKP-002",
        plant=app(
            "CREATE TABLE public.spare (a int)",
            'CREATE MATERIALIZED VIEW public."Of späre" AS SELECT a FROM public.spare',
            "INSERT INTO public.spare VALUES (1)",
        ),
    ),
    Fault(
        id="bkp-view-of-chance",
        check="CM-BKP-002",
        expected="unverifiable",
        plant=app("CREATE MATERIALIZED VIEW public.spare AS SELECT random() AS a"),
        fix=app("DROP MATERIALIZED VIEW public.spare"),
    ),
    Fault(
        id="bkp-disabled-foreign-key",
        check="CM-BKP-002",
        plant=(
            *app(
                "CREATE TABLE public.spare (a int PRIMARY KEY)",
                'CREATE TABLE public."Späre" (a int, CONSTRAINT "of it" FOREIGN KEY (a)'
                " REFERENCES public.spare)",
            ),
            *admin('ALTER TABLE public."Späre" DISABLE TRIGGER ALL'),
        ),
    ),
    Fault(
        id="bkp-heir-with-its-own-order",
        check="CM-BKP-002",
        plant=app(
            "CREATE TABLE public.spare (a int, b int)",
            "CREATE TABLE public.heir (b int, a int)",
            "ALTER TABLE public.heir INHERIT public.spare",
        ),
        fix=app("DROP TABLE public.heir"),
    ),
    Fault(
        id="bkp-function-by-search-path",
        check="CM-BKP-002",
        plant=app(
            "CREATE FUNCTION public.inner_one(int) RETURNS int IMMUTABLE LANGUAGE sql"
            " AS 'SELECT $1'",
            "CREATE FUNCTION public.outer_one(int) RETURNS int IMMUTABLE LANGUAGE plpgsql"
            " AS 'BEGIN RETURN Inner_One($1); END'",
            "CREATE TABLE public.spare (a int CHECK (public.outer_one(a) > 0))",
        ),
    ),
    Fault(
        id="bkp-extension-without-files",
        check="CM-BKP-002",
        plant=admin(
            "CREATE EXTENSION hstore",
            "UPDATE pg_catalog.pg_extension SET extname = 'uninstalled' WHERE extname = 'hstore'",
        ),
        fix=admin("DROP EXTENSION uninstalled"),
    ),
    Fault(
        id="bkp-rows-that-cannot-be-read",
        check="CM-BKP-004",
        profile="full",
        plant=(
            *app("CREATE TABLE public.spare (a int)", "INSERT INTO public.spare VALUES (1)"),
            *admin(
                "UPDATE pg_catalog.pg_class SET relfilenode = 99999999"
                " WHERE oid = 'public.spare'::pg_catalog.regclass"
            ),
        ),
        fix=admin("DROP TABLE public.spare"),
    ),
    Fault(
        id="bkp-damage-unseen",
        check="CM-BKP-005",
        profile="full",
        plant_environ={"PYTHONPATH": "{folder}"},
        open_files={"sitecustomize.py": BROKEN_SHA256},
        fix=(),
    ),
    Fault(
        id="bkp-scratch-that-stays",
        check="CM-BKP-008",
        profile="full",
        meanwhile=KEEP_SCRATCH,
        also=("CM-BKP-006",),
        why_also="a restore that cannot remove what it made has not gone well",
    ),
    Fault(
        id="bkp-rows-that-break-their-constraint",
        check="CM-BKP-006",
        profile="full",
        plant=app(
            "CREATE FUNCTION public.fits(int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT true'",
            "CREATE TABLE public.spare (a int CHECK (public.fits(a)))",
            "INSERT INTO public.spare VALUES (1)",
            "CREATE OR REPLACE FUNCTION public.fits(int) RETURNS bool IMMUTABLE LANGUAGE sql"
            " AS 'SELECT false'",
        ),
        fix=app("DELETE FROM public.spare"),
    ),
    Fault(
        id="bkp-generated-by-another-function",
        check="CM-BKP-007",
        profile="full",
        plant=app(
            "CREATE FUNCTION public.once(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
            "CREATE TABLE public.spare (a int, b int GENERATED ALWAYS AS (public.once(a)) STORED)",
            "INSERT INTO public.spare VALUES (1)",
            "CREATE OR REPLACE FUNCTION public.once(int) RETURNS int IMMUTABLE LANGUAGE sql"
            " AS 'SELECT $1 + 1'",
        ),
        fix=app("UPDATE public.spare SET a = a"),
    ),
    Fault(
        id="bkp-unlogged-table",
        check="CM-BKP-003",
        plant=app("CREATE UNLOGGED TABLE public.spare (a int)"),
    ),
    Fault(
        id="bkp-foreign-table",
        check="CM-BKP-003",
        plant=admin(
            "CREATE FOREIGN DATA WRAPPER nowhere",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
            "CREATE FOREIGN TABLE public.spare (a int) SERVER elsewhere",
            "ALTER FOREIGN TABLE public.spare OWNER TO {role}",
        ),
        fix=admin("DROP FOREIGN TABLE public.spare"),
    ),
    Fault(
        id="bkp-prepared-transaction",
        check="CM-BKP-003",
        conf=("max_prepared_transactions = 2",),
        plant=app(
            "CREATE TABLE public.spare (a int)",
            "BEGIN",
            "INSERT INTO public.spare VALUES (1)",
            "PREPARE TRANSACTION 'left ''over'",
        ),
        fix=app("COMMIT PREPARED 'left ''over'"),
    ),
    Fault(
        id="bkp-subscription",
        check="CM-BKP-003",
        plant=admin(
            "CREATE SUBSCRIPTION spare CONNECTION 'host=/nowhere' PUBLICATION p"
            " WITH (connect = false)"
        ),
        fix=admin(
            "ALTER SUBSCRIPTION spare SET (slot_name = NONE)",
            "DROP SUBSCRIPTION spare",
        ),
    ),
)
