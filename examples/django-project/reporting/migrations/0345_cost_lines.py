"""The lines, partitioned by month, and the invoices with a sequence of their own."""

from django.db import migrations, models

ID = models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")
MONEY_SUM = models.DecimalField(decimal_places=15, default=0, max_digits=33)

LINES = [
    # bigserial: partitioned tables have identity columns from PostgreSQL 17 on only.
    """
    CREATE TABLE reporting_costline (
        id bigserial,
        usage_start date NOT NULL,
        cluster_name varchar(256) NOT NULL,
        labels jsonb NOT NULL DEFAULT '{}',
        cost numeric(33, 15) NOT NULL,
        PRIMARY KEY (usage_start, id)
    ) PARTITION BY RANGE (usage_start)
    """,
    """
    CREATE TABLE reporting_costline_2026_01 PARTITION OF reporting_costline
        FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')
    """,
    """
    CREATE TABLE reporting_costline_2026_02 PARTITION OF reporting_costline
        FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')
    """,
    "CREATE TABLE reporting_costline_default PARTITION OF reporting_costline DEFAULT",
    "CREATE INDEX costline_labels ON reporting_costline USING gin (labels)",
]
NUMBERS = [
    "CREATE SEQUENCE reporting_invoice_numbers START 1000 OWNED BY reporting_invoice.number",
    """
    ALTER TABLE reporting_invoice
        ALTER COLUMN number SET DEFAULT nextval('reporting_invoice_numbers')
    """,
]
STATE = [
    migrations.CreateModel(
        name="CostLine",
        fields=[("id", ID.clone())],
        options={"db_table": "reporting_costline", "managed": False},
    )
]


class Migration(migrations.Migration):
    dependencies = [("reporting", "0300_tag_key_trigram")]
    operations = [
        migrations.RunSQL(LINES, "DROP TABLE reporting_costline", state_operations=STATE),
        migrations.CreateModel(
            name="Invoice",
            fields=[
                ("id", ID.clone()),
                ("number", models.BigIntegerField(unique=True)),
                ("month", models.DateField()),
                ("total", MONEY_SUM.clone()),
            ],
        ),
        migrations.RunSQL(NUMBERS, migrations.RunSQL.noop),
    ]
