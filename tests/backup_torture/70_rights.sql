-- Owners, privileges, default privileges, comments.
ALTER TABLE torture.many OWNER TO "torture owner";
ALTER TABLE torture.ranged OWNER TO "torture owner";
ALTER TABLE torture.ranged_2024_01 OWNER TO "Tört-u ""r'w\";
ALTER SEQUENCE torture.called OWNER TO "--torture";
ALTER FUNCTION torture.add(numeric, numeric) OWNER TO "torture owner";
ALTER TYPE torture.mood OWNER TO "torture owner";
ALTER MATERIALIZED VIEW torture.sums OWNER TO "torture owner";
ALTER VIEW torture.view_ OWNER TO "torture owner";
GRANT SELECT, INSERT ON torture.many TO "torture
reader" WITH GRANT OPTION;
GRANT SELECT (id, n), UPDATE (n) ON torture.indexed TO "Tört-u ""r'w\";
GRANT ALL ON torture.one TO PUBLIC;
REVOKE ALL ON torture.twins FROM CURRENT_USER;
GRANT USAGE ON SEQUENCE torture.called TO "torture
reader";
REVOKE EXECUTE ON FUNCTION torture.add(numeric, numeric) FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE torture.proc(int) TO "--torture";
REVOKE USAGE ON TYPE torture.pair FROM PUBLIC;
GRANT USAGE ON DOMAIN torture.positive TO "torture owner";
GRANT USAGE, CREATE ON SCHEMA torture TO "torture
reader";
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON LANGUAGE torture_language TO PUBLIC;
GRANT USAGE ON FOREIGN DATA WRAPPER torture_wrapper TO "torture owner";
GRANT USAGE ON FOREIGN SERVER "torture server" TO "torture owner" WITH GRANT OPTION;
REVOKE EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE "torture owner" IN SCHEMA torture GRANT SELECT ON TABLES TO "torture
reader";
ALTER DEFAULT PRIVILEGES FOR ROLE "torture owner" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA "Kök-u ""s'c\" GRANT ALL ON SEQUENCES TO "--torture";
ALTER DEFAULT PRIVILEGES FOR ROLE "torture owner" GRANT USAGE ON TYPES TO "--torture";

COMMENT ON SCHEMA torture IS E'a schema\nof ''quotes'' and \\ "more"';
COMMENT ON TABLE torture.many IS E'-- Name: x; Type: TABLE; Schema: y; Owner: z\n--\n\nDROP TABLE x;';
COMMENT ON COLUMN torture.many.amount IS 'col';
COMMENT ON INDEX torture.indexed_gin IS 'index';
COMMENT ON CONSTRAINT id_positive ON torture.indexed IS 'constraint';
COMMENT ON CONSTRAINT positive_check ON DOMAIN torture.positive IS 'of a domain';
COMMENT ON FUNCTION torture.plain(int, text[]) IS 'function';
COMMENT ON PROCEDURE torture.proc(int) IS 'procedure';
COMMENT ON AGGREGATE torture.total(numeric) IS 'aggregate';
COMMENT ON OPERATOR torture.!~ (NONE, torture.pair) IS 'operator';
COMMENT ON OPERATOR CLASS torture.backwards USING btree IS 'class';
COMMENT ON OPERATOR FAMILY torture.family USING btree IS 'family';
COMMENT ON CAST (int AS torture.pair) IS 'cast';
COMMENT ON TYPE torture.nest IS 'type';
COMMENT ON COLUMN torture.pair.left_ IS 'attribute';
COMMENT ON DOMAIN torture.positive IS 'domain';
COMMENT ON SEQUENCE torture.called IS 'sequence';
COMMENT ON VIEW torture.view_ IS 'view';
COMMENT ON MATERIALIZED VIEW torture.sums IS 'materialized view';
COMMENT ON TRIGGER off ON torture.indexed IS 'trigger';
COMMENT ON RULE "rule ""one" ON torture.view_ IS 'rule';
COMMENT ON POLICY change ON torture.twins IS 'policy';
COMMENT ON STATISTICS torture.stats IS 'statistics';
COMMENT ON COLLATION torture."c collation" IS 'collation';
COMMENT ON CONVERSION torture.latin IS 'conversion';
COMMENT ON TEXT SEARCH CONFIGURATION torture.configuration_ IS 'configuration';
COMMENT ON TEXT SEARCH DICTIONARY torture.dictionary_ IS 'dictionary';
COMMENT ON FOREIGN DATA WRAPPER torture_wrapper IS 'wrapper';
COMMENT ON SERVER "torture server" IS 'server';
COMMENT ON FOREIGN TABLE torture.foreign_ IS 'foreign';
COMMENT ON PUBLICATION torture_some IS 'publication';
COMMENT ON EVENT TRIGGER torture_event IS 'event';
COMMENT ON LANGUAGE torture_language IS 'language';
COMMENT ON ACCESS METHOD torture_gist IS 'method';
COMMENT ON TRANSFORM FOR int LANGUAGE sql IS 'transform';
COMMENT ON EXTENSION pg_trgm IS 'another comment than its own';
--; since 17
GRANT MAINTAIN ON torture.one TO "torture owner";
