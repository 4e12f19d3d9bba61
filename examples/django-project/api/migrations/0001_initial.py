"""The shared tables; uuid-ossp is created by the database's owner (it is a trusted extension)."""

from uuid import uuid4

import django.db.models.deletion
from django.db import migrations, models
from django_tenants.postgresql_backend import base

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.RunSQL(
            'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" WITH SCHEMA public',
            migrations.RunSQL.noop,
        ),
        migrations.CreateModel(
            name="Tenant",
            fields=[
                ("id", ID.clone()),
                (
                    "schema_name",
                    models.CharField(
                        db_index=True,
                        max_length=63,
                        unique=True,
                        validators=[base._check_schema_name],  # noqa: SLF001 - TenantMixin's own
                    ),
                ),
            ],
            options={"abstract": False},
        ),
        migrations.CreateModel(
            name="Domain",
            fields=[
                ("id", ID.clone()),
                ("domain", models.CharField(db_index=True, max_length=253, unique=True)),
                ("is_primary", models.BooleanField(db_index=True, default=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="domains",
                        to="api.tenant",
                    ),
                ),
            ],
            options={"abstract": False},
        ),
        migrations.CreateModel(
            name="Provider",
            fields=[
                (
                    "uuid",
                    models.UUIDField(
                        default=uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.CharField(max_length=256)),
                ("kind", models.CharField(max_length=50)),
                (
                    "customer",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="api.tenant",
                    ),
                ),
            ],
        ),
        migrations.RunSQL(
            "ALTER TABLE api_provider ALTER COLUMN uuid SET DEFAULT public.uuid_generate_v4()",
            migrations.RunSQL.noop,
        ),
    ]
