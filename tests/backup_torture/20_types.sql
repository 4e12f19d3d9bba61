-- Every kind of type, and values that print alike, or only in one way, or nearly not at all.
CREATE SCHEMA torture AUTHORIZATION "torture owner";
CREATE EXTENSION pg_trgm WITH SCHEMA public;
CREATE TYPE torture.mood AS ENUM ('sad', 'so, so', 'it''s "ok"', '');
ALTER TYPE torture.mood ADD VALUE 'between' BEFORE 'so, so';
CREATE TYPE torture.pair AS (left_ numeric, "right ""hand" text COLLATE "C");
CREATE TYPE torture.nest AS (p torture.pair, ps torture.pair[], m torture.mood);
CREATE TYPE torture.worn AS (a int, gone text, b text);
ALTER TYPE torture.worn DROP ATTRIBUTE gone;
CREATE DOMAIN torture.positive AS numeric DEFAULT 1 CHECK (VALUE > 0);
CREATE DOMAIN torture.small_positive AS torture.positive NOT NULL CHECK (VALUE < 1000);
CREATE DOMAIN torture.chars AS "char";
CREATE FUNCTION torture.float_distance(float8, float8) RETURNS float8
    LANGUAGE sql IMMUTABLE AS 'SELECT $1 - $2';
CREATE TYPE torture.float_range AS RANGE (subtype = float8, subtype_diff = torture.float_distance);
-- A base type of one's own, made of text's functions.
CREATE TYPE torture.base;
CREATE FUNCTION torture.base_in(cstring) RETURNS torture.base
    LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION torture.base_out(torture.base) RETURNS cstring
    LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE torture.base (INPUT = torture.base_in, OUTPUT = torture.base_out,
    INTERNALLENGTH = VARIABLE, STORAGE = extended, CATEGORY = 'U', DELIMITER = ';');
CREATE TYPE torture.shell_only;

CREATE TABLE torture.every_type (
    id int PRIMARY KEY,
    i2 smallint, i4 integer, i8 bigint,
    num numeric, num_scaled numeric(30, 7), money_ money,
    f4 real, f8 double precision,
    b boolean, bits bit(7), vbits bit varying, one "char", chars torture.chars, nm name,
    fixed char(6), var varchar(20), txt text, txt_c text COLLATE "C", bytes bytea,
    d date, t time, tz timetz, ts timestamp, tsz timestamptz, ts3 timestamptz(3),
    iv interval, iv_ym interval year to month,
    id_ uuid, js json, jsb jsonb, jp jsonpath, x xml,
    pt point, ln line, sg lseg, bx box, pa path, pg polygon, ci circle,
    inet_ inet, cidr_ cidr, mac macaddr, mac8 macaddr8,
    tv tsvector, tq tsquery, lsn pg_lsn, snap pg_snapshot, tsnap txid_snapshot, x8 xid8,
    xi xid, cc cid, td tid, o oid, cls regclass, prc regproc, prcs regprocedure, op regoper,
    ops regoperator, typ regtype, rol regrole, nsp regnamespace, cfg regconfig, dic regdictionary,
    i2v int2vector, ov oidvector,
    r4 int4range, r8 int8range, rn numrange, rd daterange, rts tsrange, rtz tstzrange,
    rf torture.float_range,
    arr int[], arr2 text[][], arr_bounds int[], arr_char "char"[],
    m torture.mood, ms torture.mood[], p torture.pair, n torture.nest, w torture.worn,
    dom torture.positive, base torture.base, bases torture.base[],
    gen text GENERATED ALWAYS AS (coalesce(i4, 0)::bigint * 2 || ' twice') STORED
);
INSERT INTO torture.every_type (id) VALUES (0);
INSERT INTO torture.every_type VALUES (
    1, -32768, 2147483647, -9223372036854775808,
    1.0, 12345678901234567890123.4567890, '-92233720368547758.08',
    1.17549435e-38, 2.2250738585072014e-308,
    true, B'1010101', B'', 'a', 'z', 'name',
    'ab', 'trailing  ', E'tab\tnewline\nquote"''back\\ é \U0001F40D', 'C', '\x00ff5c27',
    '4713-01-01 BC', '24:00:00', '23:59:59.999999+15:59', '294276-12-31 23:59:59.999999',
    '2024-03-31 02:30:00+01', '1999-12-31 23:59:59.9996+00',
    '1 year -2 mons +3 days -04:05:06.789', '13 months',
    'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{"b" : 1, "a":1.0,"a": 1.00 }', '{"b": 1.00, "a": null}',
    '$.a[*] ? (@.b > 1.50 && exists (@."c d"))', NULL,
    '(1.0,-0)', '{1,-1,0.1}', '[(0,0),(1,1)]', '(2,2),(0,0)', '[(0,0),(1,0),(1,1)]',
    '((0,0),(1,0),(1,1))', '<(1,2),3>',
    '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
    $$'a':1A,2 'it''s':3$$, $$'fat' & ( 'rat' | !'cat':AB* )$$, 'FFFF/FF0', '10:20:10,14,15',
    '10:20:10,14,15', '18446744073709551615',
    '4294967295', '7', '(42,7)', '4294967295', 'pg_class', 'pg_backend_pid', 'abs(integer)', '|/',
    '+(integer,integer)', 'timestamp with time zone[]', '"torture owner"', 'torture', 'english',
    'simple', '1 2 3', '4 5',
    '[1,10)', 'empty', '(,1.50]', '[2024-01-01,)', '(,)', '["2024-01-01 00:00:00+05:45",infinity]',
    '[-0.1,0.3]',
    '{1,NULL,-3}', '{{"",NULL},{"NULL","a,b\"{}\\"}}', '[-1:1]={1,2,3}', '{a,b}',
    'it''s "ok"', '{sad,"so, so",""}', ROW(1.00, NULL),
    ROW(ROW(1.0, 'x, "y"'), ARRAY[ROW(NULL, '')::torture.pair, NULL], 'sad'), ROW(1, 'b'),
    1e-30, 'semi;colon', '{a;"b c";";"}'
);
INSERT INTO torture.every_type (id, num, f4, f8, d, ts, tsz, txt, fixed, var, bytes, arr, jsb, js, iv,
    bits, vbits, pt, txt_c, p)
VALUES
    (2, 'NaN', 'NaN', 'NaN', 'infinity', 'infinity', 'infinity', '', '', '', '', '{}', 'null', 'null',
     '0', B'0000000', B'0', '(NaN,Infinity)', '', ROW(NULL, NULL)),
    (3, 1.00, '-0', '-0', '-infinity', '-infinity', '-infinity', 'NULL', NULL, ' ', '\x00', NULL, '""',
     '""', '24:00:00', B'1111111', B'00', '(-0,0)', ' ', ROW(0, '')),
    (4, 1.000, 'infinity', 'infinity', '2024-02-29', '2024-02-29', '2024-02-29 00:00+14', E'\x0b\x0c\r',
     E'a\x0b', '\N', '\x5c4e', '{NULL}', '[1, 1.0, 1.00]', '[1,1.0]', '1 day', NULL, B'1', '(1e-300,1e300)',
     '()', NULL),
    (5, 0, '-infinity', '-infinity', '0001-01-01', '0001-01-01 BC', '1883-11-18 12:03:58-04:56:02',
     '(,)', '()', '""', '\xdeadbeef', '{{1,2},{3,4}}', '{}', '{}', '-1 day +24:00', NULL, NULL, NULL,
     '\\', ROW('NaN', '\')),
    (6, -0.000, 0.1, 0.1, NULL, '1970-01-01', '1970-01-01 00:00Z', 'a,b', 'x     ', 'x', '\x0a', '{0}',
     '{"a": 1e2}', '{"a": 1e2}', '1 mon', NULL, NULL, NULL, NULL, NULL),
    (7, 1e100, 3.4028235e38, 1.7976931348623157e308, NULL, NULL, NULL, repeat('x', 100), NULL, NULL,
     decode(repeat('00', 300), 'hex'), NULL, '1e400', '1e400', '30 days', NULL, NULL, NULL, NULL, NULL),
    (8, 1e-100, 1e-45, 5e-324, NULL, NULL, NULL, E'\u00e9', NULL, NULL, NULL, NULL, NULL, NULL,
     '178000000 years', NULL, NULL, NULL, E'e\u0301', NULL);
--; if '<a/>'::xml IS NOT NULL
UPDATE torture.every_type SET x = v.x FROM (VALUES
    (1, '<a b="1"><!-- x --><b/>&lt;</a>'::xml), (2, ''), (3, '<?xml version="1.0"?><r/>'),
    (4, '<a/>'), (5, '  <a> </a>  '), (6, 'text <b>only</b>')
) AS v (id, x) WHERE v.id = every_type.id;
--; since 14
-- In a table of their own, for what all versions have must hash alike on all.
CREATE TABLE torture.infinite_numbers (n numeric);
INSERT INTO torture.infinite_numbers VALUES ('infinity'), ('-infinity');
CREATE TABLE torture.multiranges (
    id int PRIMARY KEY, r int4multirange, f torture.float_multirange, t tstzmultirange,
    squeezed text COMPRESSION pglz
);
INSERT INTO torture.multiranges VALUES
    (1, '{[1,3), [5,7)}', '{[0.1,0.2),(0.5,)}', '{["2024-01-01 00:00Z",)}', repeat('ab', 5000)),
    (2, '{}', NULL, '{}', '');
--; if 'lz4' = ANY ((SELECT enumvals FROM pg_settings WHERE name = 'default_toast_compression')::text[])
ALTER TABLE torture.multiranges ADD quick text COMPRESSION lz4;
UPDATE torture.multiranges SET quick = repeat('cd', 9000) WHERE id = 1;
--; since 17
CREATE TABLE torture.infinite_intervals (iv interval);
INSERT INTO torture.infinite_intervals VALUES ('infinity'), ('-infinity');
--; if EXISTS (SELECT FROM pg_available_extensions WHERE name = 'hstore')
CREATE EXTENSION hstore WITH SCHEMA torture;
CREATE TABLE torture.pairs (id int PRIMARY KEY, h torture.hstore);
INSERT INTO torture.pairs VALUES (1, '"a b"=>"c,d", e=>NULL'), (2, '');
--; if EXISTS (SELECT FROM pg_available_extensions WHERE name = 'citext')
CREATE EXTENSION citext;
CREATE TABLE torture.caseless (id citext PRIMARY KEY, c citext);
INSERT INTO torture.caseless VALUES ('Key', 'MiXed'), ('other', 'mixed');
