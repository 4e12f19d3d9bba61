"""Two in one: Django records the two that it replaces, then this one."""

from django.db import migrations, models

INDEX = models.Index(fields=["kind", "name"], name="provider_kind_name")


class Migration(migrations.Migration):
    replaces = [("api", "0002_provider_settings"), ("api", "0003_provider_index")]
    dependencies = [("api", "0001_initial")]
    operations = [
        migrations.AddField("provider", "settings", models.JSONField(default=dict)),
        migrations.AddIndex("provider", INDEX),
    ]
