"""pg_stat_statements: only a superuser may create it, so it is there before, or this fails."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("api", "0039_create_hive_db")]
    operations = [
        migrations.RunSQL(
            "CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public",
            migrations.RunSQL.noop,
        )
    ]
