from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0001_initial")]
    operations = [migrations.AddField("provider", "settings", models.JSONField(default=dict))]
