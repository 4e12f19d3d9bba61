from django.db import migrations, models

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")


class Migration(migrations.Migration):
    dependencies = [("reporting", "0001_initial")]
    operations = [
        migrations.CreateModel(
            name="Tag",
            fields=[
                ("id", ID.clone()),
                ("key", models.TextField(unique=True)),
                ("values", models.JSONField(default=list)),
                ("enabled", models.BooleanField(default=True)),
            ],
            options={"indexes": [models.Index(fields=["enabled", "key"], name="tag_enabled_key")]},
        )
    ]
