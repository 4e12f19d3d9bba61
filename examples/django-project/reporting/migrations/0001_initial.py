import django.db.models.deletion
from django.db import migrations, models

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")
MONEY = models.DecimalField(decimal_places=15, max_digits=33)
MONEY_SUM = models.DecimalField(decimal_places=15, default=0, max_digits=33)


def of_cluster(**how):
    return models.ForeignKey(
        on_delete=django.db.models.deletion.CASCADE, to="reporting.cluster", **how
    )


class Migration(migrations.Migration):
    initial = True
    dependencies = [("api", "0001_initial")]
    operations = [
        migrations.CreateModel(
            name="Cluster",
            fields=[
                ("id", ID.clone()),
                ("name", models.CharField(max_length=256, unique=True)),
                ("labels", models.JSONField(default=dict)),
            ],
        ),
        migrations.CreateModel(
            name="Node",
            fields=[
                ("id", ID.clone()),
                ("name", models.CharField(max_length=253)),
                ("capacity", models.DecimalField(decimal_places=6, max_digits=18, null=True)),
                ("cluster", of_cluster()),
            ],
            options={"unique_together": {("cluster", "name")}},
        ),
        migrations.CreateModel(
            name="Rate",
            fields=[
                ("id", ID.clone()),
                ("metric", models.CharField(max_length=64)),
                ("price", MONEY.clone()),
                ("cluster", of_cluster(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="CostSummary",
            fields=[
                ("id", ID.clone()),
                ("month", models.DateField()),
                ("cluster_name", models.CharField(max_length=256)),
                ("cost", MONEY_SUM.clone()),
                ("changed", models.DateTimeField(auto_now=True)),
            ],
            options={"unique_together": {("month", "cluster_name")}},
        ),
    ]
