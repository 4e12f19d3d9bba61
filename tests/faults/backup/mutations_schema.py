"""Mutations of definitions: tables, columns, constraints, indexes, triggers, views, functions..."""

# ruff: noqa: E501, ISC004, Q003 - tables of statements

from __future__ import annotations

from tests.faults.backup.mutation import Mutation, table

T = "TABLE torture."
INDEX = "INDEX torture."
RI = "trigger RI_FKey_check_ins of constraint around on torture.round_a"

TABLES = [
    Mutation(f"table-{name}", sql, of, field, about=about, since=since)
    for name, sql, of, field, about, since in (
        ("added", "CREATE TABLE torture.extra (a int)", table("extra"), "existence",
         ("torture.extra",), 13),
        ("dropped", "DROP TABLE torture.collated", table("collated"), "existence",
         ("torture.collated",), 13),
        ("renamed", "ALTER TABLE torture.collated RENAME TO collated2", table("collated2"),
         "existence", ("torture.collated",), 13),
        ("moved", "ALTER TABLE torture.collated SET SCHEMA shadow", table("collated"), "existence",
         ("torture.collated", "shadow.collated"), 13),
        ("column-added", "ALTER TABLE torture.collated ADD c int", T + "collated", "definition",
         ("torture.collated",), 13),
        ("column-dropped", "ALTER TABLE torture.collated DROP b", T + "collated", "definition",
         ("torture.collated",), 13),
        ("column-renamed", "ALTER TABLE torture.collated RENAME b TO bb", T + "collated",
         "definition", ("torture.collated",), 13),
        ("column-type", "ALTER TABLE torture.collated ALTER b TYPE varchar COLLATE \"POSIX\"",
         T + "collated", "definition", ("torture.collated",), 13),
        ("column-collation", "ALTER TABLE torture.collated ALTER b TYPE text COLLATE \"C\"",
         T + "collated", "definition", ("torture.collated",), 13),
        ("column-order",
         "ALTER TABLE torture.collated ADD a2 text COLLATE torture.\"c collation\";"
         " UPDATE torture.collated SET a2 = a; ALTER TABLE torture.collated DROP a;"
         " ALTER TABLE torture.collated RENAME a2 TO a",
         T + "collated", "definition", ("torture.collated",), 13),
        ("column-longer", "ALTER TABLE torture.every_type ALTER var TYPE varchar(21)",
         T + "every_type", "definition", ("torture.every_type",), 13),
        ("default", "ALTER TABLE torture.worn_out ALTER later SET DEFAULT 'slow default'",
         T + "worn_out", "definition", ("torture.worn_out",), 13),
        ("not-null", "ALTER TABLE torture.many ALTER amount DROP NOT NULL", T + "many",
         "definition", ("torture.many",), 13),
        ("identity", "ALTER TABLE torture.many ALTER id SET GENERATED ALWAYS",
         "SEQUENCE torture.many_id_seq", "definition", ("torture.many",), 13),
        ("storage", "ALTER TABLE torture.toasted ALTER plain SET STORAGE EXTENDED",
         "column torture.toasted.plain", "storage", ("torture.toasted",), 13),
        ("compression", "ALTER TABLE torture.toasted ALTER squeezed SET COMPRESSION default",
         "column torture.toasted.squeezed", "compression", ("torture.toasted",), 14),
        ("statistics-target", "ALTER TABLE torture.many ALTER note SET STATISTICS 334",
         "column torture.many.note", "statistics target", ("torture.many",), 13),
        ("column-options", "ALTER TABLE torture.many ALTER note RESET (n_distinct)",
         "column torture.many.note", "options", ("torture.many",), 13),
        ("options", "ALTER TABLE torture.many SET (fillfactor = 72)", table("many"), "options",
         ("torture.many",), 13),
        ("toast-options", "ALTER TABLE torture.many RESET (toast.autovacuum_enabled)",
         table("many"), "toast options", ("torture.many",), 13),
        ("logged", "ALTER TABLE torture.unlogged_ SET LOGGED", table("unlogged_"), "persistence",
         ("torture.unlogged_",), 13),
        ("access-method", "ALTER TABLE torture.of_another_method SET ACCESS METHOD heap",
         table("of_another_method"), "access method", ("torture.of_another_method",), 15),
        ("replica-identity", "ALTER TABLE torture.twins REPLICA IDENTITY DEFAULT", table("twins"),
         "replica identity", ("torture.twins",), 13),
        ("replica-identity-index", "ALTER TABLE torture.indexed REPLICA IDENTITY DEFAULT",
         "index torture.indexed_pkey", "replica identity",
         ("torture.indexed_pkey", "torture.indexed"), 13),
        ("not-clustered", "ALTER TABLE torture.indexed SET WITHOUT CLUSTER",
         "index torture.indexed_unique", "clustered on", ("torture.indexed",), 13),
        ("row-security-off", "ALTER TABLE torture.many DISABLE ROW LEVEL SECURITY", table("many"),
         "row security", ("torture.many",), 13),
        ("row-security-not-forced", "ALTER TABLE torture.twins NO FORCE ROW LEVEL SECURITY",
         table("twins"), "row security", ("torture.twins",), 13),
        ("no-heir", "ALTER TABLE torture.child NO INHERIT torture.parent", table("child"),
         "inherits", ("torture.child", "torture.grandchild"), 13),
        ("partition-detached", "ALTER TABLE torture.ranged DETACH PARTITION torture.ranged_2024_02",
         table("ranged_2024_02"), "partition bound", ("torture.ranged", "torture.on_partitions",
         "referring"), 13),
        ("partition-bound",
         "ALTER TABLE torture.ranged_later DETACH PARTITION torture.ranged_later_rest;"
         "ALTER TABLE torture.ranged_later ATTACH PARTITION torture.ranged_later_rest"
         " FOR VALUES FROM (1001) TO (MAXVALUE)",
         table("ranged_later_rest"), "partition bound", ("torture.ranged_later",), 13),
        ("foreign-option", "ALTER FOREIGN TABLE torture.foreign_ OPTIONS (SET x 'z')",
         "FOREIGN TABLE torture.foreign_", "definition", ("torture.foreign_",), 13),
        ("foreign-column-option",
         "ALTER FOREIGN TABLE torture.foreign_ ALTER a OPTIONS (SET column_name 'c')",
         "column torture.foreign_.a", "foreign options", ("torture.foreign_",), 13),
        ("virtual-column", "ALTER TABLE torture.virtual_ ALTER b SET EXPRESSION AS (a * 3)",
         T + "virtual_", "definition", ("torture.virtual_",), 18),
    )
]  # fmt: skip

CONSTRAINTS = [
    Mutation(f"constraint-{name}", sql, of, field, about=about, since=since)
    for name, sql, of, field, about, since in (
        ("dropped", "ALTER TABLE torture.indexed DROP CONSTRAINT id_positive", T + "indexed",
         "definition", ("torture.indexed", "CONSTRAINT id_positive"), 13),
        ("check", "ALTER TABLE torture.parent DROP CONSTRAINT parent_id_check;"
         " ALTER TABLE torture.parent ADD CONSTRAINT parent_id_check CHECK (id >= 0)",
         T + "parent", "definition", ("torture.parent", "torture.child", "torture.grandchild"), 13),
        ("validated", "UPDATE torture.indexed SET u = u + 100; UPDATE torture.indexed SET u = u - 100 WHERE u > 105;"
         "ALTER TABLE torture.indexed VALIDATE CONSTRAINT u_not_valid",
         "constraint u_not_valid on torture.indexed", "validated", ("torture.indexed",), 13),
        ("never-validated", "UPDATE pg_constraint SET convalidated = false WHERE conname = 'around'",
         "constraint around on torture.round_a", "validated", ("round_a",), 13),
        ("key-dropped", "ALTER TABLE torture.round_b DROP CONSTRAINT round_b_a_fkey",
         "FK CONSTRAINT torture.round_b round_b_a_fkey", "existence", ("torture.round_b",), 13),
        ("key-action", "ALTER TABLE torture.round_b DROP CONSTRAINT round_b_a_fkey;"
         " ALTER TABLE torture.round_b ADD CONSTRAINT round_b_a_fkey FOREIGN KEY (a)"
         " REFERENCES torture.round_a ON DELETE CASCADE",
         "FK CONSTRAINT torture.round_b round_b_a_fkey", "definition", ("torture.round_b",), 13),
        ("key-deferrable", "ALTER TABLE torture.round_b ALTER CONSTRAINT round_b_a_fkey DEFERRABLE",
         "FK CONSTRAINT torture.round_b round_b_a_fkey", "definition", ("torture.round_b",), 13),
        ("unique-dropped", "ALTER TABLE torture.indexed DROP CONSTRAINT u_and_v",
         "CONSTRAINT torture.indexed u_and_v", "existence", ("torture.indexed",), 13),
        ("exclusion-dropped",
         'ALTER TABLE torture.indexed DROP CONSTRAINT "exclude, overlapping"',
         "CONSTRAINT torture.indexed exclude, overlapping", "existence", ("torture.indexed",), 13),
        ("renamed", "ALTER TABLE torture.round_a RENAME CONSTRAINT round_a_pkey TO other_pkey",
         "CONSTRAINT torture.round_a round_a_pkey", "existence",
         ("torture.round_a", "torture.other"), 13),
        ("of-a-domain", "ALTER DOMAIN torture.small_positive DROP CONSTRAINT small_positive_check",
         "DOMAIN torture.small_positive", "definition", (), 13),
        ("unenforced", "ALTER TABLE torture.round_b DROP CONSTRAINT unenforced",
         "constraint unenforced on torture.round_b", "enforced", ("torture.round_b",), 18),
    )
]  # fmt: skip

INDEXES = [
    Mutation(f"index-{name}", sql, of, field, about=about, since=since)
    for name, sql, of, field, about, since in (
        ("dropped", "DROP INDEX torture.indexed_hash", INDEX + "indexed_hash", "existence", (), 13),
        ("added", "CREATE INDEX extra ON torture.many (at)", INDEX + "extra", "existence", (), 13),
        ("invalid", "UPDATE pg_index SET indisvalid = false"
         " WHERE indexrelid = 'torture.indexed_hash'::regclass",
         "index torture.indexed_hash", "valid", (), 13),
        ("not-ready", "UPDATE pg_index SET indisready = false"
         " WHERE indexrelid = 'torture.indexed_brin'::regclass",
         "index torture.indexed_brin", "valid", (), 13),
        ("partitioned-invalid", "UPDATE pg_index SET indisvalid = true"
         " WHERE indexrelid = 'torture.hashed_v_alone'::regclass",
         "partitioned index torture.hashed_v_alone", "valid", ("torture.hashed_v_alone",), 13),
        ("predicate", "DROP INDEX torture.indexed_partial; CREATE INDEX indexed_partial"
         " ON torture.indexed (n) WHERE v = 1 AND k <> 'its'",
         INDEX + "indexed_partial", "definition", (), 13),
        ("order", "DROP INDEX torture.indexed_hash; CREATE INDEX indexed_hash ON torture.indexed"
         " USING btree (k)", INDEX + "indexed_hash", "definition", (), 13),
        ("options", "ALTER INDEX torture.indexed_gin SET (fastupdate = on)",
         "index torture.indexed_gin", "options", (), 13),
        ("statistics", "ALTER INDEX torture.indexed_expression ALTER COLUMN 1 SET STATISTICS 78",
         "index column torture.indexed_expression.lower", "statistics target",
         ("torture.indexed_expression",), 13),
        ("unique", "DROP INDEX torture.sums_v; CREATE INDEX sums_v ON torture.sums (v)",
         INDEX + "sums_v", "definition", (), 13),
        ("nulls", "DROP INDEX torture.nulls_alike;"
         " CREATE UNIQUE INDEX nulls_alike ON torture.nulls (a, b, c)",
         INDEX + "nulls_alike", "definition", (), 15),
    )
]  # fmt: skip

TRIGGERS = [
    Mutation(f"trigger-{name}", sql, of, field, about=about, since=since)
    for name, sql, of, field, about, since in (
        ("disabled", "ALTER TABLE torture.indexed DISABLE TRIGGER on_",
         "trigger on_ on torture.indexed", "enabled", ("torture.indexed",), 13),
        ("enabled", "ALTER TABLE torture.indexed ENABLE TRIGGER off",
         "trigger off on torture.indexed", "enabled", ("torture.indexed",), 13),
        ("not-always", "ALTER TABLE torture.indexed ENABLE TRIGGER always_",
         "trigger always_ on torture.indexed", "enabled", ("torture.indexed",), 13),
        ("of-a-partition", "ALTER TABLE torture.ranged_2024_01 ENABLE TRIGGER on_partitions",
         "trigger on_partitions on torture.ranged_2024_01", "enabled",
         ("torture.ranged_2024_01",), 13),
        ("of-a-foreign-key", "ALTER TABLE torture.round_a DISABLE TRIGGER ALL", RI, "enabled",
         ("torture.round_a",), 13),
        ("dropped", "DROP TRIGGER later ON torture.indexed", "TRIGGER torture.indexed later",
         "existence", (), 13),
        ("condition", "DROP TRIGGER on_ ON torture.indexed; CREATE TRIGGER on_ BEFORE INSERT OR"
         " UPDATE OF k, n ON torture.indexed FOR EACH ROW WHEN (new.n > 2)"
         " EXECUTE FUNCTION torture.trigger_('a''b', '\\x00')",
         "TRIGGER torture.indexed on_", "definition", (), 13),
        ("argument", "DROP TRIGGER on_ ON torture.indexed; CREATE TRIGGER on_ BEFORE INSERT OR"
         " UPDATE OF k, n ON torture.indexed FOR EACH ROW WHEN (new.n > 1)"
         " EXECUTE FUNCTION torture.trigger_('a''b', 'x00')",
         "TRIGGER torture.indexed on_", "definition", (), 13),
        ("event-enabled", "ALTER EVENT TRIGGER torture_event ENABLE", "event trigger torture_event",
         "definition", ("torture_event",), 13),
        ("event-dropped", "DROP EVENT TRIGGER torture_drop", "EVENT TRIGGER torture_drop",
         "existence", ("torture_drop",), 13),
        ("rule-enabled", "ALTER TABLE torture.twins ENABLE RULE insert_elsewhere",
         "rule insert_elsewhere on torture.twins", "enabled", ("torture.twins",), 13),
        ("rule-dropped", 'DROP RULE "rule ""one" ON torture.view_',
         'RULE torture.view_ rule "one', "existence",
         ("torture.view_", "ON view_"), 13),
    )
]  # fmt: skip

FUNCTION = "FUNCTION torture.plain(integer, text[])"
OBJECTS = [
    Mutation(f"object-{name}", sql, of, field, about=about, since=since)
    for name, sql, of, field, about, since in (
        ("function-body", "CREATE OR REPLACE FUNCTION torture.add(numeric, numeric) RETURNS numeric"
         " LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 1) + $2'",
         "FUNCTION torture.add(numeric, numeric)", "definition", (), 13),
        ("function-volatility", "ALTER FUNCTION torture.plain(int, text[]) IMMUTABLE", FUNCTION,
         "definition", (), 13),
        ("function-definer", "ALTER FUNCTION torture.plain(int, text[]) SECURITY INVOKER", FUNCTION,
         "definition", (), 13),
        ("function-setting", "ALTER FUNCTION torture.plain(int, text[]) SET work_mem = '6MB'",
         FUNCTION, "definition", (), 13),
        ("function-cost", "ALTER FUNCTION torture.plain(int, text[]) COST 8", FUNCTION,
         "definition", (), 13),
        ("function-leaks", "ALTER FUNCTION torture.plain(int, text[]) NOT LEAKPROOF", FUNCTION,
         "definition", (), 13),
        ("function-parallel", "ALTER FUNCTION torture.plain(int, text[]) PARALLEL UNSAFE", FUNCTION,
         "definition", (), 13),
        ("function-dropped", "DROP FUNCTION torture.window_()", "FUNCTION torture.window_()",
         "existence", ("torture.window_",), 13),
        ("overload-added", "CREATE FUNCTION torture.window_(int) RETURNS int LANGUAGE sql"
         " AS 'SELECT 1'", "FUNCTION torture.window_(integer)", "existence",
         ("torture.window_(integer)",), 13),
        ("procedure-body", "CREATE OR REPLACE PROCEDURE torture.proc(INOUT a int) LANGUAGE plpgsql"
         " AS $$ BEGIN a := a + 2; COMMIT; END $$",
         "PROCEDURE torture.proc(integer)", "definition", (), 13),
        ("aggregate-dropped", "DROP AGGREGATE torture.percent(float8 ORDER BY float8)",
         "AGGREGATE torture.percent(double precision, double precision)", "existence",
         ("torture.percent",), 13),
        ("operator-dropped", "DROP OPERATOR torture.!~ (NONE, torture.pair)",
         "OPERATOR torture.!~", "existence", ("torture.!~", "OPERATOR !~"), 13),
        ("operator-class-dropped", "DROP OPERATOR CLASS torture.backwards USING btree",
         "OPERATOR CLASS torture.backwards", "existence", ("torture.backwards", "OPERATOR CLASS backwards"), 13),
        ("cast-context", "UPDATE pg_cast SET castcontext = 'i'"
         " WHERE casttarget = 'torture.pair'::regtype",
         "CAST CAST (integer AS torture.pair)", "definition", (), 13),
        ("enum-renamed", "ALTER TYPE torture.mood RENAME VALUE 'sad' TO 'Sad'",
         "TYPE torture.mood", "definition", ("torture.mood", "torture.every_type"), 13),
        ("enum-added", "ALTER TYPE torture.mood ADD VALUE 'new'", "TYPE torture.mood",
         "definition", (), 13),
        ("enum-order", "UPDATE pg_enum SET enumsortorder = 100 WHERE enumlabel = 'between'",
         "TYPE torture.mood", "definition", (), 13),
        ("composite-attribute", "ALTER TYPE torture.worn RENAME ATTRIBUTE b TO c",
         "TYPE torture.worn", "definition", (), 13),
        ("domain-default", "ALTER DOMAIN torture.positive SET DEFAULT 2", "DOMAIN torture.positive",
         "definition", (), 13),
        ("domain-not-null", "ALTER DOMAIN torture.small_positive DROP NOT NULL",
         "DOMAIN torture.small_positive", "definition", (), 13),
        ("type-dropped", "DROP TYPE torture.shell_only", "TYPE torture.shell_only",
         "existence", ("torture.shell_only",), 13),
        ("collation-dropped", "ALTER COLLATION torture.\"c collation\" RENAME TO cc",
         "COLLATION torture.cc", "existence", ("torture.cc", "c collation", "torture.collated", "COLLATION cc"), 13),
        ("view-definition", "CREATE OR REPLACE VIEW torture.whole_rows AS"
         " SELECT x FROM torture.indexed AS x WHERE id > 1",
         "VIEW torture.whole_rows", "definition", (), 13),
        ("view-options", "ALTER VIEW torture.view_ RESET (security_barrier)", "view torture.view_",
         "options", (), 13),
        ("view-default", "ALTER VIEW torture.view_ ALTER n DROP DEFAULT",
         "DEFAULT torture.view_ n", "existence", ("torture.view_",), 13),
        ("schema-added", "CREATE SCHEMA extra", "SCHEMA extra", "existence", ("extra",), 13),
        ("statistics-dropped", "DROP STATISTICS torture.stats", "statistics torture.stats",
         "definition", ("torture.stats", "STATISTICS stats"), 13),
        ("statistics-target", "ALTER STATISTICS torture.stats SET STATISTICS 98",
         "statistics torture.stats", "statistics target", (), 13),
        ("statistics-kinds", "DROP STATISTICS torture.stats; CREATE STATISTICS torture.stats"
         " (ndistinct, dependencies) ON n, v FROM torture.indexed;"
         " ALTER STATISTICS torture.stats SET STATISTICS 99;"
         " COMMENT ON STATISTICS torture.stats IS 'statistics'",
         "statistics torture.stats", "definition", (), 13),
        ("policy-dropped", "DROP POLICY change ON torture.twins", "policy change on torture.twins",
         "definition", ("torture.twins", "POLICY change ON twins"), 13),
        ("policy-expression", "ALTER POLICY change ON torture.twins USING (a > 1)",
         "policy change on torture.twins", "definition", ("torture.twins",), 13),
        ("policy-roles", 'ALTER POLICY "see ""some" ON torture.many TO "--torture"',
         'policy "see ""some" on torture.many', "definition", ("torture.many",), 13),
        ("publication-operation", "ALTER PUBLICATION torture_some SET (publish = 'insert')",
         "publication torture_some", "publishes", ("torture_some",), 13),
        ("publication-table", "ALTER PUBLICATION torture_some DROP TABLE torture.one",
         "publication torture_some", "table torture.one", ("torture_some",), 13),
        ("publication-rows", "ALTER PUBLICATION torture_rows SET TABLE torture.indexed (id, n)"
         " WHERE (id > 11)", "PUBLICATION TABLE torture.torture_rows indexed", "definition",
         ("torture_rows",), 15),
        ("publication-schema", "ALTER PUBLICATION torture_schema DROP TABLES IN SCHEMA shadow",
         "publication torture_schema", "schema shadow", ("torture_schema",), 15),
        ("server-option", "ALTER SERVER \"torture server\" OPTIONS (SET host 'its')",
         "SERVER torture server", "definition", (), 13),
        ("wrapper-option", "ALTER FOREIGN DATA WRAPPER torture_wrapper OPTIONS (SET debug 'false')",
         "FOREIGN DATA WRAPPER torture_wrapper", "definition", ("torture_wrapper",), 13),
        ("user-mapping", "ALTER USER MAPPING FOR \"torture owner\" SERVER \"torture server\""
         " OPTIONS (SET \"user\" 'y')",
         "USER MAPPING USER MAPPING torture owner SERVER torture server", "definition", (), 13),
        ("text-search-mapping", "ALTER TEXT SEARCH CONFIGURATION torture.configuration_"
         " ALTER MAPPING FOR word WITH simple",
         "TEXT SEARCH CONFIGURATION torture.configuration_", "definition",
         ("torture.configuration_",), 13),
        ("text-search-option", "ALTER TEXT SEARCH DICTIONARY torture.dictionary_ (accept = true)",
         "TEXT SEARCH DICTIONARY torture.dictionary_", "definition", ("torture.dictionary_",), 13),
        ("extension-dropped", "DROP INDEX torture.indexed_trgm; DROP EXTENSION pg_trgm", "extension pg_trgm", "existence",
         ("pg_trgm", "torture.indexed_trgm"), 13),
        ("extension-added", "CREATE EXTENSION tablefunc", "extension tablefunc", "existence",
         ("tablefunc",), 13),
        ("extension-moved", "ALTER EXTENSION pg_trgm SET SCHEMA shadow", "extension pg_trgm",
         "schema", ("pg_trgm", "torture.indexed_trgm"), 13),
        ("extension-function", "CREATE OR REPLACE FUNCTION public.show_limit() RETURNS real"
         " LANGUAGE sql STABLE STRICT AS 'SELECT 0.9::real'",
         "extension pg_trgm", "functions", (), 13),
        ("extension-member-gone", "ALTER EXTENSION pg_trgm DROP FUNCTION public.show_limit();"
         " DROP FUNCTION public.show_limit()", "extension pg_trgm", "members", (), 13),
        ("table-made-an-extension's", "ALTER EXTENSION pg_trgm ADD TABLE torture.one",
         T + "one", "existence", ("torture.one", "TABLE one", "torture.owned", "pg_trgm", "torture_some",
                                     "torture.invokers", "torture.set_null_some"), 13),
    )
]  # fmt: skip

MUTATIONS = [*TABLES, *CONSTRAINTS, *INDEXES, *TRIGGERS, *OBJECTS]
