-- What no logical backup carries as it is.
CREATE TABLE torture.moved_on (id int PRIMARY KEY, a int);
INSERT INTO torture.moved_on VALUES (1, 1);
CREATE MATERIALIZED VIEW torture.stale AS SELECT id, a FROM torture.moved_on;
UPDATE torture.moved_on SET a = 2;
CREATE TABLE torture.doubled (a int);
INSERT INTO torture.doubled VALUES (1), (2);
CREATE INDEX invalid ON torture.doubled (a);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'torture.invalid'::pg_catalog.regclass;
SET check_function_bodies = off;
CREATE FUNCTION torture.needs_path(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT helper($1)';
CREATE FUNCTION torture.helper(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE SUBSCRIPTION torture_subscription CONNECTION 'host=nowhere.invalid' PUBLICATION x WITH (connect = false, slot_name = NONE, enabled = false, create_slot = false);
-- Inherited, but with its own order of columns: a restore has the parent's columns first.
ALTER TABLE torture.adopted INHERIT torture.parent;
