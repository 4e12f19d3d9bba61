"""Create tenants, each with a schema, its tables and a few rows; what exists is left alone."""

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django_tenants.utils import schema_context, schema_exists

from api.models import Tenant

ROWS = (
    """
    INSERT INTO reporting_cluster (name, labels) VALUES ('cluster-a', '{"env": "prod"}')
    """,
    """
    INSERT INTO reporting_node (cluster_id, name, capacity)
    SELECT id, 'node-' || n, 8 * n FROM reporting_cluster, generate_series(1, 3) AS n
    """,
    """
    INSERT INTO reporting_tag (key, values, enabled)
    VALUES ('app', '["web", "db"]', true), ('straße', '["ü"]', false)
    """,
    """
    INSERT INTO reporting_rate (metric, price) VALUES ('cpu_core_hour', 0.0475)
    """,
    """
    INSERT INTO reporting_costline (usage_start, cluster_name, labels, cost)
    SELECT date '2026-01-15' + n * 20, 'cluster-a', jsonb_build_object('n', n), n * 1.5
    FROM generate_series(0, 4) AS n
    """,
    """
    INSERT INTO reporting_invoice (month, total)
    SELECT month, cost FROM reporting_costsummary ORDER BY month
    """,
)


class Command(BaseCommand):
    help = "Create tenants, each with a schema, its tables and a few rows."

    def add_arguments(self, parser):
        parser.add_argument("names", nargs="+", metavar="NAME")

    def handle(self, *args, names, **options):
        for name in (settings.TEMPLATE_SCHEMA, *names):
            made = ensure(name)
            self.stdout.write(f"{name}: {'created' if made else 'present'}")


def ensure(name):
    """Create the tenant and its schema together, or find both there."""
    with transaction.atomic():
        # Two that create the same tenant at once: the second waits, then finds it.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('example: create_tenants'))")
        tenant = Tenant.objects.filter(schema_name=name).first()
        if tenant is None:
            tenant = Tenant(schema_name=name)
            tenant.full_clean()
            tenant.save()
        if schema_exists(name):
            return False
        tenant.create_schema(verbosity=0)
        if name != settings.TEMPLATE_SCHEMA:
            fill(name)
    return True


def fill(name):
    with schema_context(name), connection.cursor() as cursor:
        for statement in ROWS:
            cursor.execute(statement)
