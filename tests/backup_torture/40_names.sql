-- Names that need quoting, look like options, hold quotes, newlines, or are as long as may be.
CREATE SCHEMA "Kök-u ""s'c\";
CREATE TABLE "Kök-u ""s'c\"."Kök-u ""t'b\" ("Kök-u ""c'l\" int PRIMARY KEY, "select" text, "a.b" text);
INSERT INTO "Kök-u ""s'c\"."Kök-u ""t'b\" VALUES (1, 'one', 'dot'), (2, 'two', NULL);
CREATE INDEX "Kök-u ""i'x\" ON "Kök-u ""s'c\"."Kök-u ""t'b\" ("select", "a.b" DESC NULLS LAST);
CREATE SEQUENCE "Kök-u ""s'c\"."Kök-u ""s'q\" START 77;
CREATE TABLE torture."--dbname=postgres" ("--" int, "-f" text);
INSERT INTO torture."--dbname=postgres" VALUES (1, '-- no comment');
CREATE TABLE torture."-t *" ("*" int);
INSERT INTO torture."-t *" VALUES (42);
CREATE TABLE torture."line
break; DROP TABLE x; --" ("new
line" text, "tab	" text);
INSERT INTO torture."line
break; DROP TABLE x; --" VALUES ('1', '2');
CREATE TABLE torture."%s %(x)s {} {0} %I $1 :name :'quoted' ?" ("%s" text, "{}" int, ":a" int);
INSERT INTO torture."%s %(x)s {} {0} %I $1 :name :'quoted' ?" VALUES ('%s', 1, 2);
CREATE TABLE torture."Name: x; Type: TABLE; Schema: -; Owner: -" (a int);
INSERT INTO torture."Name: x; Type: TABLE; Schema: -; Owner: -" VALUES (1);
CREATE TABLE torture."эюя_63_bytes_long_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" (a int);
CREATE TABLE torture."TABLE" ("order" int, "ORDER" int, "user" int, "ctid_" int);
INSERT INTO torture."TABLE" VALUES (1, 2, 3, 4);
CREATE TABLE torture."table" ("order" int, "ORDER" int, "user" int, "ctid_" int);
INSERT INTO torture."table" VALUES (1, 2, 3, 5);
CREATE TABLE torture." " (" " int, "  " int);
INSERT INTO torture." " VALUES (1, 2);
CREATE TABLE torture."\" ("\" text, "\\" text, "\n" text);
INSERT INTO torture."\" VALUES ('\', '\\', '\n');
CREATE TYPE torture."Type, with (commas)" AS ENUM ('a', 'b)');
CREATE TABLE torture."pg_class" (a torture."Type, with (commas)");
INSERT INTO torture."pg_class" VALUES ('b)');
