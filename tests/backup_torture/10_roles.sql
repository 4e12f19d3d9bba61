-- Roles are the server's, not the database's: made if they are missing, and left.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['torture owner', 'Tört-u "r''w\', '--torture', E'torture\nreader']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
    END LOOP;
END
$$;
ALTER ROLE "torture owner" LOGIN CREATEDB CONNECTION LIMIT 7;
ALTER ROLE "--torture" NOINHERIT BYPASSRLS VALID UNTIL '2199-01-01 00:00:00+00';
ALTER ROLE "torture owner" SET statement_timeout = '17min';
ALTER ROLE "Tört-u ""r'w\" SET search_path = 'a b', public;
COMMENT ON ROLE "torture owner" IS E'owns\nmost of it';
GRANT "torture owner" TO "--torture" WITH ADMIN OPTION;
GRANT pg_monitor TO "torture owner";
--; since 16
GRANT "torture owner" TO "Tört-u ""r'w\" WITH INHERIT FALSE, SET TRUE;
