-- Objects of every other kind.
-- Indexes of every method and shape.
CREATE TABLE torture.indexed (
    id int PRIMARY KEY, k text, n int, doc jsonb, words tsvector, p point, r int4range, u int, v int, ci text
);
INSERT INTO torture.indexed
SELECT i, 'k' || i, i % 7, jsonb_build_object('i', i), to_tsvector('simple', 'word' || i), point(i, -i),
    int4range(i * 10, i * 10 + 5), i, i % 3, 'C' || i
FROM generate_series(1, 50) AS i;
CREATE UNIQUE INDEX indexed_unique ON torture.indexed (u) INCLUDE (v);
CREATE INDEX indexed_expression ON torture.indexed (lower(k) COLLATE "C" text_pattern_ops DESC, (n + 1) NULLS FIRST);
CREATE INDEX indexed_partial ON torture.indexed (n) WHERE v = 1 AND k <> 'it''s';
CREATE INDEX indexed_hash ON torture.indexed USING hash (k);
CREATE INDEX indexed_gin ON torture.indexed USING gin (doc jsonb_path_ops, words) WITH (fastupdate = off);
CREATE INDEX indexed_trgm ON torture.indexed USING gist (k public.gist_trgm_ops (siglen = 32));
CREATE INDEX indexed_gist ON torture.indexed USING gist (p, r);
CREATE INDEX indexed_spgist ON torture.indexed USING spgist (p);
CREATE INDEX indexed_brin ON torture.indexed USING brin (n) WITH (pages_per_range = 16);
ALTER INDEX torture.indexed_expression ALTER COLUMN 1 SET STATISTICS 77;
CREATE INDEX ranged_v ON torture.ranged (v);
CREATE INDEX hashed_v_alone ON ONLY torture.hashed (v);
CREATE INDEX hashed_0_v ON torture.hashed_0 (v);
ALTER INDEX torture.hashed_v_alone ATTACH PARTITION torture.hashed_0_v;

-- Constraints.
ALTER TABLE torture.indexed
    ADD CONSTRAINT "exclude, overlapping" EXCLUDE USING gist (r WITH &&) WHERE (id > 0) DEFERRABLE,
    ADD CONSTRAINT u_and_v UNIQUE (u, v) DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT id_positive CHECK (id > 0) NO INHERIT,
    ADD CONSTRAINT u_not_valid CHECK (u > 5) NOT VALID;
CREATE TABLE torture.referring (
    id int PRIMARY KEY REFERENCES torture.indexed ON DELETE CASCADE ON UPDATE SET NULL,
    itself int REFERENCES torture.referring DEFERRABLE INITIALLY DEFERRED,
    k bigint, day date,
    FOREIGN KEY (k, day) REFERENCES torture.ranged MATCH FULL
);
INSERT INTO torture.referring VALUES (1, 2, 17, '2024-01-01'), (2, 1, NULL, NULL);
SET CONSTRAINTS ALL IMMEDIATE;
ALTER TABLE torture.referring ADD CONSTRAINT not_valid_key FOREIGN KEY (itself) REFERENCES torture.indexed NOT VALID;
CREATE TABLE torture.round_a (id int PRIMARY KEY, b int);
CREATE TABLE torture.round_b (id int PRIMARY KEY, a int REFERENCES torture.round_a);
INSERT INTO torture.round_a VALUES (1, 1);
INSERT INTO torture.round_b VALUES (1, 1);
ALTER TABLE torture.round_a ADD CONSTRAINT around FOREIGN KEY (b) REFERENCES torture.round_b;

-- Functions, procedures, aggregates, operators and their families, casts.
CREATE FUNCTION torture.plain(a int, VARIADIC b text[] DEFAULT '{x,"$1"}') RETURNS TABLE (c text, d int)
    LANGUAGE plpgsql STABLE COST 7 ROWS 9 PARALLEL SAFE SECURITY DEFINER LEAKPROOF
    SET search_path = torture, pg_temp SET work_mem = '5MB' AS
    $body$ BEGIN RETURN QUERY SELECT 'x; $$ -- /* '::pg_catalog.text, $1; END; $body$;
CREATE FUNCTION torture.plain(a int, b int = 3, OUT c int, INOUT d numeric DEFAULT 1.50) LANGUAGE sql IMMUTABLE STRICT AS 'SELECT $1, $3';
CREATE FUNCTION torture."odd ""name(" (torture.mood, "x y" int[]) RETURNS SETOF torture.pair LANGUAGE sql AS 'SELECT 1.0, ''a''';
CREATE PROCEDURE torture.proc(INOUT a int) LANGUAGE plpgsql AS $$ BEGIN a := a + 1; COMMIT; END $$;
CREATE FUNCTION torture.add(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT coalesce($1, 0) + $2';
CREATE AGGREGATE torture.total(numeric) (SFUNC = torture.add, STYPE = numeric, INITCOND = '0', PARALLEL = SAFE);
CREATE AGGREGATE torture.percent(float8 ORDER BY float8) (SFUNC = ordered_set_transition, STYPE = internal,
    FINALFUNC = percentile_disc_final, FINALFUNC_EXTRA);
CREATE FUNCTION torture.window_() RETURNS bigint LANGUAGE internal WINDOW AS 'window_row_number';
CREATE FUNCTION torture.differs(torture.pair, torture.pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1.left_ <> $2.left_';
CREATE OPERATOR torture.<%%> (LEFTARG = torture.pair, RIGHTARG = torture.pair, FUNCTION = torture.differs, COMMUTATOR = OPERATOR(torture.<%%>));
CREATE FUNCTION torture.negated(torture.pair) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT NOT ($1.left_ > 0)';
CREATE OPERATOR torture.!~ (RIGHTARG = torture.pair, FUNCTION = torture.negated);
CREATE OPERATOR FAMILY torture.family USING btree;
CREATE OPERATOR CLASS torture.backwards FOR TYPE int4 USING btree FAMILY torture.family AS
    OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(int4, int4);
CREATE FUNCTION torture.to_pair(int) RETURNS torture.pair LANGUAGE sql IMMUTABLE AS 'SELECT $1::numeric, NULL::pg_catalog.text';
CREATE CAST (int AS torture.pair) WITH FUNCTION torture.to_pair(int) AS ASSIGNMENT;
CREATE CAST (torture.base AS pg_catalog.text) WITHOUT FUNCTION;
CREATE CONVERSION torture.latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE COLLATION torture."c collation" FROM "C";
CREATE TABLE torture.collated (a text COLLATE torture."c collation", b text COLLATE "POSIX");
INSERT INTO torture.collated VALUES ('B', 'b'), ('a', 'A');
-- With a handler of one's own: pg_dump takes any other for an extension's.
CREATE FUNCTION torture.handler() RETURNS language_handler LANGUAGE c AS '$libdir/plpgsql', 'plpgsql_call_handler';
CREATE TRUSTED LANGUAGE torture_language HANDLER torture.handler;
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION prsd_lextype(internal), TO SQL WITH FUNCTION int4recv(internal));
CREATE ACCESS METHOD torture_gist TYPE INDEX HANDLER gisthandler;
CREATE ACCESS METHOD torture_heap TYPE TABLE HANDLER heap_tableam_handler;
CREATE TABLE torture.of_another_method (a int) USING torture_heap;
INSERT INTO torture.of_another_method VALUES (1), (2);

-- Text search.
CREATE TEXT SEARCH TEMPLATE torture.template_ (INIT = dsimple_init, LEXIZE = dsimple_lexize);
CREATE TEXT SEARCH DICTIONARY torture.dictionary_ (TEMPLATE = torture.template_, STOPWORDS = english, ACCEPT = false);
CREATE TEXT SEARCH PARSER torture.parser_ (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype);
CREATE TEXT SEARCH CONFIGURATION torture.configuration_ (PARSER = torture.parser_);
ALTER TEXT SEARCH CONFIGURATION torture.configuration_ ADD MAPPING FOR word, asciiword WITH torture.dictionary_, simple;

-- Views and rules.
CREATE VIEW torture.view_ WITH (security_barrier = true, check_option = 'cascaded') AS SELECT id, k, n FROM torture.indexed WHERE n > 0;
CREATE RECURSIVE VIEW torture.counting (i) AS SELECT 1 UNION ALL SELECT i + 1 FROM counting WHERE i < 5;
ALTER VIEW torture.view_ ALTER n SET DEFAULT 5;
CREATE VIEW torture.whole_rows AS SELECT x FROM torture.indexed AS x;
CREATE RULE "rule ""one" AS ON DELETE TO torture.view_ DO ALSO NOTIFY "torture channel";
CREATE RULE insert_elsewhere AS ON INSERT TO torture.twins WHERE new.a > 100 DO INSTEAD NOTHING;
ALTER TABLE torture.twins DISABLE RULE insert_elsewhere;

-- Triggers in each state, on tables, partitions, views.
CREATE FUNCTION torture.trigger_() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(new, old); END $$;
CREATE TRIGGER on_ BEFORE INSERT OR UPDATE OF k, n ON torture.indexed FOR EACH ROW WHEN (new.n > 1) EXECUTE FUNCTION torture.trigger_('a''b', '\x00');
CREATE TRIGGER off AFTER DELETE ON torture.indexed FOR EACH STATEMENT EXECUTE FUNCTION torture.trigger_();
CREATE TRIGGER replica_ AFTER TRUNCATE ON torture.indexed EXECUTE FUNCTION torture.trigger_();
CREATE TRIGGER always_ AFTER UPDATE ON torture.indexed REFERENCING OLD TABLE AS was NEW TABLE AS is_ FOR EACH STATEMENT EXECUTE FUNCTION torture.trigger_();
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON torture.indexed DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION torture.trigger_();
CREATE TRIGGER instead INSTEAD OF INSERT ON torture.view_ FOR EACH ROW EXECUTE FUNCTION torture.trigger_();
CREATE TRIGGER on_partitions AFTER INSERT ON torture.ranged FOR EACH ROW EXECUTE FUNCTION torture.trigger_();
ALTER TABLE torture.indexed DISABLE TRIGGER off, ENABLE REPLICA TRIGGER replica_, ENABLE ALWAYS TRIGGER always_;
ALTER TABLE torture.ranged_2024_01 DISABLE TRIGGER on_partitions;

-- Properties of relations and columns.
ALTER TABLE torture.indexed REPLICA IDENTITY USING INDEX indexed_pkey;
ALTER TABLE torture.twins REPLICA IDENTITY FULL;
ALTER TABLE torture.one REPLICA IDENTITY NOTHING;
ALTER TABLE torture.indexed CLUSTER ON indexed_unique;
ALTER TABLE torture.many SET (fillfactor = 71, autovacuum_enabled = false, toast.autovacuum_enabled = false);
ALTER TABLE torture.many ALTER note SET STATISTICS 333, ALTER note SET (n_distinct = -0.5), ALTER doc SET STORAGE EXTERNAL;
CREATE STATISTICS torture.stats (ndistinct, dependencies, mcv) ON n, v FROM torture.indexed;
ALTER STATISTICS torture.stats SET STATISTICS 99;

-- Row security.
ALTER TABLE torture.many ENABLE ROW LEVEL SECURITY;
ALTER TABLE torture.twins ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY "see ""some" ON torture.many AS RESTRICTIVE FOR SELECT TO "torture owner", PUBLIC USING (note <> 'it''s');
CREATE POLICY change ON torture.twins FOR UPDATE USING (a > 0) WITH CHECK (b IS NOT NULL);

-- Foreign data, publications, event triggers.
CREATE FOREIGN DATA WRAPPER torture_wrapper OPTIONS (debug 'true');
CREATE SERVER "torture server" TYPE 'a' VERSION '1.0' FOREIGN DATA WRAPPER torture_wrapper OPTIONS (host 'it''s');
CREATE USER MAPPING FOR "torture owner" SERVER "torture server" OPTIONS ("user" 'x');
CREATE USER MAPPING FOR PUBLIC SERVER "torture server";
CREATE FOREIGN TABLE torture.foreign_ (a int OPTIONS (column_name 'b') NOT NULL, t text DEFAULT 'x') SERVER "torture server" OPTIONS (x 'y');
CREATE PUBLICATION torture_some FOR TABLE torture.one, torture.indexed WITH (publish = 'insert, truncate');
CREATE PUBLICATION "torture all" FOR ALL TABLES WITH (publish_via_partition_root = true);
CREATE FUNCTION torture.event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER torture_event ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE') EXECUTE FUNCTION torture.event();
ALTER EVENT TRIGGER torture_event DISABLE;
CREATE EVENT TRIGGER torture_drop ON sql_drop EXECUTE FUNCTION torture.event();

-- Large objects: empty, small, of several pages, with a hole.
SELECT lo_create(1000001), lo_from_bytea(1000002, '\x00ff'), lo_from_bytea(1000003, decode(repeat('00112233445566778899aabbccddeeff', 400), 'hex')), lo_create(1000004);
SELECT lo_put(1000004, 5000, '\x42');
ALTER LARGE OBJECT 1000002 OWNER TO "torture owner";
GRANT SELECT ON LARGE OBJECT 1000002 TO PUBLIC;
GRANT ALL ON LARGE OBJECT 1000003 TO "--torture";
COMMENT ON LARGE OBJECT 1000003 IS E'large\n''object';
--; since 14
CREATE FUNCTION torture.atomic(a int) RETURNS int LANGUAGE sql IMMUTABLE BEGIN ATOMIC SELECT a + 1; END;
CREATE PROCEDURE torture.outs(OUT a int, IN b int) LANGUAGE sql AS 'SELECT $1';
CREATE STATISTICS torture.expression_stats ON (lower(k)), n FROM torture.indexed;
CREATE FUNCTION torture.subscript(internal) RETURNS internal LANGUAGE internal IMMUTABLE STRICT AS 'array_subscript_handler';
ALTER TABLE torture.toasted ALTER squeezed SET COMPRESSION pglz;
--; since 15
CREATE UNIQUE INDEX nulls_alike ON torture.nulls (a, b, c) NULLS NOT DISTINCT;
CREATE VIEW torture.invokers WITH (security_invoker = true) AS SELECT * FROM torture.one;
CREATE PUBLICATION torture_rows FOR TABLE torture.indexed (id, n) WHERE (id > 10);
CREATE PUBLICATION torture_schema FOR TABLES IN SCHEMA shadow;
CREATE TABLE torture.set_null_some (id int PRIMARY KEY, a int REFERENCES torture.one ON DELETE SET NULL (a));
--; since 17
CREATE TABLE torture.identity_parts (id bigint GENERATED ALWAYS AS IDENTITY, d date) PARTITION BY RANGE (d);
CREATE TABLE torture.identity_parts_1 PARTITION OF torture.identity_parts FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
INSERT INTO torture.identity_parts (d) VALUES ('2024-05-05'), ('2024-06-06');
CREATE EVENT TRIGGER torture_login ON login EXECUTE FUNCTION torture.event();
ALTER EVENT TRIGGER torture_login DISABLE;
--; since 18
ALTER TABLE torture.nulls ADD CONSTRAINT c_later NOT NULL c NOT VALID;
ALTER TABLE torture.round_b ADD CONSTRAINT unenforced CHECK (a > 1) NOT ENFORCED;
CREATE TABLE torture.temporal (id int4range, at tsrange, PRIMARY KEY (id, at WITHOUT OVERLAPS));
INSERT INTO torture.temporal VALUES ('[1,2)', '[2024-01-01,2024-02-01)'), ('[1,2)', '[2024-02-01,)');
