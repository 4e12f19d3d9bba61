from django.db import migrations, models

INDEX = models.Index(fields=["kind", "name"], name="provider_kind_name")


class Migration(migrations.Migration):
    dependencies = [("api", "0002_provider_settings")]
    operations = [migrations.AddIndex("provider", INDEX)]
