"""A trigger keeps the summary; a second 0345, as names that meet in two branches are."""

from django.db import migrations

MAKE = [
    """
    CREATE FUNCTION reporting_summarize() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format(
            'INSERT INTO %I.reporting_costsummary AS s (month, cluster_name, cost, changed)'
            ' VALUES (date_trunc(''month'', $1)::date, $2, $3, now())'
            ' ON CONFLICT (month, cluster_name)'
            ' DO UPDATE SET cost = s.cost + EXCLUDED.cost, changed = now()',
            TG_TABLE_SCHEMA
        ) USING NEW.usage_start, NEW.cluster_name, NEW.cost;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER summarize AFTER INSERT ON reporting_costline
        FOR EACH ROW EXECUTE FUNCTION reporting_summarize()
    """,
]
DROP = [
    "DROP TRIGGER summarize ON reporting_costline",
    "DROP FUNCTION reporting_summarize()",
]


class Migration(migrations.Migration):
    dependencies = [("reporting", "0345_cost_lines")]
    operations = [migrations.RunSQL(MAKE, DROP)]
