"""pg_trgm, trusted, comes with the first tenant: this never runs in public."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("reporting", "0002_tag")]
    operations = [
        migrations.RunSQL(
            [
                "CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public",
                """
                CREATE INDEX IF NOT EXISTS tag_key_trigram
                    ON reporting_tag USING gin (upper(key) public.gin_trgm_ops)
                """,
            ],
            "DROP INDEX IF EXISTS tag_key_trigram",
        )
    ]
