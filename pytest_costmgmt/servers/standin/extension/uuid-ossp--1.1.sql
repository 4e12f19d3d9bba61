-- A stand-in for uuid-ossp 1.1: the same functions in SQL over PostgreSQL's own.
-- Same names, arguments and volatility. Version 1 has a random node as uuid_generate_v1mc does
-- (SQL cannot see a network card); version 5 is absent (PostgreSQL has no SHA-1 function).
\echo Use "CREATE EXTENSION "uuid-ossp"" to load this file. \quit

CREATE FUNCTION uuid_nil() RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT '00000000-0000-0000-0000-000000000000'::pg_catalog.uuid $$;

CREATE FUNCTION uuid_ns_dns() RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

CREATE FUNCTION uuid_ns_url() RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

CREATE FUNCTION uuid_ns_oid() RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

CREATE FUNCTION uuid_ns_x500() RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::pg_catalog.uuid $$;

CREATE FUNCTION uuid_generate_v4() RETURNS uuid
LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
AS $$ SELECT pg_catalog.gen_random_uuid() $$;

CREATE FUNCTION uuid_generate_v1mc() RETURNS uuid
LANGUAGE plpgsql VOLATILE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$
DECLARE
    -- 100 ns steps since 1582-10-15: the epoch of RFC 4122
    ticks constant bigint :=
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 10 + 122192928000000000;
    hex constant text := lpad(to_hex(ticks), 16, '0');
    node bytea := substring(uuid_send(gen_random_uuid()) FROM 11 FOR 6);
    clock bytea := substring(uuid_send(gen_random_uuid()) FROM 1 FOR 2);
BEGIN
    node := set_byte(node, 0, get_byte(node, 0) | 3);
    clock := set_byte(clock, 0, (get_byte(clock, 0) & 63) | 128);
    RETURN (substring(hex FROM 9 FOR 8) || substring(hex FROM 5 FOR 4) || '1'
        || substring(hex FROM 2 FOR 3) || encode(clock, 'hex') || encode(node, 'hex'))::uuid;
END
$$;

CREATE FUNCTION uuid_generate_v1() RETURNS uuid
LANGUAGE plpgsql VOLATILE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$
DECLARE
    ticks constant bigint :=
        (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 10 + 122192928000000000;
    hex constant text := lpad(to_hex(ticks), 16, '0');
    node bytea := substring(uuid_send(gen_random_uuid()) FROM 11 FOR 6);
    clock bytea := substring(uuid_send(gen_random_uuid()) FROM 1 FOR 2);
BEGIN
    node := set_byte(node, 0, get_byte(node, 0) | 3);
    clock := set_byte(clock, 0, (get_byte(clock, 0) & 63) | 128);
    RETURN (substring(hex FROM 9 FOR 8) || substring(hex FROM 5 FOR 4) || '1'
        || substring(hex FROM 2 FOR 3) || encode(clock, 'hex') || encode(node, 'hex'))::uuid;
END
$$;

CREATE FUNCTION uuid_generate_v3(namespace uuid, name text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog
AS $$
DECLARE
    hash bytea := decode(md5(uuid_send(namespace) || convert_to(name, 'UTF8')), 'hex');
BEGIN
    hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 48);
    hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);
    RETURN encode(hash, 'hex')::uuid;
END
$$;
