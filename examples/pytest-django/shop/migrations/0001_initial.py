"""The table, and a trigram index, which needs an extension of an initialized database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            name="Item",
            fields=[
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=100, unique=True)),
            ],
        ),
        migrations.RunSQL(
            "CREATE INDEX item_name ON shop_item USING gin (name gin_trgm_ops)",
            "DROP INDEX item_name",
        ),
    ]
