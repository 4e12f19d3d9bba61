"""Mutations of owners, privileges, comments, roles and of the database itself."""

# ruff: noqa: E501, ISC004, Q003 - tables of statements

from __future__ import annotations

from tests.faults.backup.mutation import Mutation, table

OWNER = '"torture owner"'

OWNERS = [
    Mutation(f"owner-{name}", f"ALTER {what} OWNER TO {owner}", of, "owner", about=about)
    for name, what, owner, of, about in (
        ("table", "TABLE torture.one", OWNER, table("one"), ("torture.one", "torture.owned")),
        ("view", "VIEW torture.view_", "postgres", "view torture.view_", ("torture.view_",)),
        ("materialized-view", "MATERIALIZED VIEW torture.sums", "postgres",
         "materialized view torture.sums", ("torture.sums",)),
        ("sequence", "SEQUENCE torture.called", OWNER, "sequence torture.called", ()),
        ("function", "FUNCTION torture.window_()", OWNER, "function torture.window_()",
         ("torture.window_",)),
        ("procedure", "PROCEDURE torture.proc(int)", OWNER, "procedure torture.proc(integer)",
         ("torture.proc", "PROCEDURE proc")),
        ("aggregate", "AGGREGATE torture.total(numeric)", OWNER, "aggregate torture.total(numeric)",
         ("torture.total",)),
        ("type", "TYPE torture.worn", OWNER, "type torture.worn", ()),
        ("domain", "DOMAIN torture.small_positive", OWNER, "type torture.small_positive",
         ("torture.small_positive",)),
        ("schema", "SCHEMA shadow", OWNER, "schema shadow", ("shadow",)),
        ("operator", "OPERATOR torture.!~ (NONE, torture.pair)", OWNER,
         "operator torture.!~(NONE,torture.pair)", ("torture.!~",)),
        ("operator-class", "OPERATOR CLASS torture.backwards USING btree", OWNER,
         "operator class torture.backwards USING btree", ("torture.backwards",)),
        ("operator-family", "OPERATOR FAMILY torture.family USING btree", OWNER,
         "operator family torture.family USING btree", ("torture.family",)),
        ("collation", 'COLLATION torture."c collation"', OWNER, 'collation torture."c collation"',
         ("c collation",)),
        ("conversion", "CONVERSION torture.latin", OWNER, "conversion torture.latin", ()),
        ("dictionary", "TEXT SEARCH DICTIONARY torture.dictionary_", OWNER,
         "text search dictionary torture.dictionary_", ("torture.dictionary_",)),
        ("configuration", "TEXT SEARCH CONFIGURATION torture.configuration_", OWNER,
         "text search configuration torture.configuration_", ("torture.configuration_",)),
        ("server", 'SERVER "torture server"', OWNER, 'server "torture server"', ("torture server",)),
        ("statistics", "STATISTICS torture.stats", OWNER, "statistics object torture.stats",
         ("torture.stats",)),
        ("publication", "PUBLICATION torture_some", OWNER, "publication torture_some", ()),
        ("language", "LANGUAGE torture_language", OWNER, "language torture_language", ()),
    )
]  # fmt: skip

PRIVILEGES = [
    Mutation(f"privilege-{name}", sql, of, "ACL", about=about, since=since)
    for name, sql, of, about, since in (
        ("table", "GRANT DELETE ON torture.many TO \"--torture\"", table("many"),
         ("torture.many", "torture.TABLE many"), 13),
        ("grant-option", "REVOKE GRANT OPTION FOR SELECT ON torture.many FROM \"torture\nreader\"",
         table("many"), ("torture.many", "torture.TABLE many"), 13),
        ("public", "REVOKE INSERT ON torture.one FROM PUBLIC", table("one"),
         ("torture.one", "torture.TABLE one"), 13),
        ("of-the-owner", "GRANT SELECT ON torture.twins TO postgres", table("twins"),
         ("torture.twins", "torture.TABLE twins"), 13),
        ("column", "GRANT UPDATE (v) ON torture.indexed TO \"--torture\"",
         "column torture.indexed.v", ("torture.indexed", "torture.COLUMN indexed.v"), 13),
        ("column-other", "REVOKE UPDATE (n) ON torture.indexed FROM \"Tört-u \"\"r'w\\\"",
         "column torture.indexed.n", ("torture.indexed", "torture.COLUMN indexed.n"), 13),
        ("sequence", "GRANT SELECT ON SEQUENCE torture.called TO PUBLIC", "sequence torture.called",
         ("torture.called", "SEQUENCE called"), 13),
        ("function", "GRANT EXECUTE ON FUNCTION torture.add(numeric, numeric) TO PUBLIC",
         "function torture.add(numeric,numeric)",
         ("torture.add", "FUNCTION add"), 13),
        ("procedure", "REVOKE EXECUTE ON PROCEDURE torture.proc(int) FROM PUBLIC",
         "procedure torture.proc(integer)", ("torture.proc", "PROCEDURE proc"), 13),
        ("type", "GRANT USAGE ON TYPE torture.pair TO PUBLIC", "type torture.pair",
         ("torture.pair", "TYPE pair"), 13),
        ("domain", "REVOKE USAGE ON DOMAIN torture.positive FROM \"torture owner\"",
         "type torture.positive", ("torture.positive", "TYPE positive", "DOMAIN positive"), 13),
        ("schema", "GRANT CREATE ON SCHEMA shadow TO PUBLIC", "schema shadow", ("shadow",), 13),
        ("schema-public", "GRANT CREATE ON SCHEMA public TO PUBLIC", "schema public", ("public",),
         13),
        ("language", "REVOKE USAGE ON LANGUAGE torture_language FROM PUBLIC",
         "language torture_language", ("torture_language",), 13),
        ("wrapper", "GRANT USAGE ON FOREIGN DATA WRAPPER torture_wrapper TO \"--torture\"",
         "foreign-data wrapper torture_wrapper", ("torture_wrapper",), 13),
        ("server", "REVOKE USAGE ON FOREIGN SERVER \"torture server\" FROM \"torture owner\"",
         'server "torture server"', ("torture server",), 13),
        ("maintain", "REVOKE MAINTAIN ON torture.one FROM \"torture owner\"", table("one"),
         ("torture.one", "torture.TABLE one"), 17),
        ("default-added", "ALTER DEFAULT PRIVILEGES FOR ROLE \"torture owner\" IN SCHEMA torture"
         " GRANT INSERT ON TABLES TO \"--torture\"",
         'default privileges of "torture owner" in schema torture on tables',
         ("DEFAULT PRIVILEGES", "torture owner"), 13),
        ("default-removed", "ALTER DEFAULT PRIVILEGES FOR ROLE \"torture owner\""
         " GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
         'default privileges of "torture owner" on functions',
         ("DEFAULT PRIVILEGES", "torture owner"), 13),
    )
] + [
    Mutation(
        # Of PostgreSQL's own objects pg_dump tells what was granted otherwise than by initdb.
        "privilege-of-postgresql's-own-function",
        "GRANT EXECUTE ON FUNCTION pg_catalog.pg_sleep(float8) TO PUBLIC",
        "ACL pg_catalog.FUNCTION pg_sleep(double precision)",
        "existence",
        about=("pg_sleep",),
    ),
]  # fmt: skip

COMMENTS = [
    Mutation(f"comment-{name}", f"COMMENT ON {what} IS 'another'", of, "comment", about=about)
    for name, what, of, about in (
        ("schema", "SCHEMA torture", "schema torture", ("SCHEMA torture", "schema torture")),
        ("table", "TABLE torture.many", table("many"), ("torture.many", "torture.TABLE many")),
        ("column", "COLUMN torture.many.amount", "column torture.many.amount",
         ("many.amount",)),
        ("new", "COLUMN torture.many.note", "column torture.many.note", ("many.note",)),
        ("index", "INDEX torture.indexed_gin", "index torture.indexed_gin", ("indexed_gin",)),
        ("constraint", "CONSTRAINT id_positive ON torture.indexed",
         "table constraint id_positive on torture.indexed", ("id_positive",)),
        ("domain-constraint", "CONSTRAINT positive_check ON DOMAIN torture.positive",
         "domain constraint positive_check on torture.positive", ("positive_check",)),
        ("function", "FUNCTION torture.plain(int, text[])",
         "function torture.plain(integer,pg_catalog.text[])", ("plain",)),
        ("operator", "OPERATOR torture.!~ (NONE, torture.pair)",
         "operator torture.!~(NONE,torture.pair)", ("!~",)),
        ("type", "TYPE torture.nest", "type torture.nest", ("nest",)),
        ("cast", "CAST (int AS torture.pair)", "cast (integer AS torture.pair)", ("torture.pair",)),
        ("sequence", "SEQUENCE torture.called", "sequence torture.called", ("called",)),
        ("view", "VIEW torture.view_", "view torture.view_", ("view_",)),
        ("trigger", "TRIGGER off ON torture.indexed", "trigger off on torture.indexed", ("off",)),
        ("rule", 'RULE "rule ""one" ON torture.view_', 'rule "rule ""one" on torture.view_',
         ("rule",)),
        ("policy", "POLICY change ON torture.twins", "policy change on torture.twins", ("change",)),
        ("statistics", "STATISTICS torture.stats", "statistics object torture.stats", ("stats",)),
        ("server", 'SERVER "torture server"', 'server "torture server"', ("torture server",)),
        ("publication", "PUBLICATION torture_some", "publication torture_some", ("torture_some",)),
        ("event-trigger", "EVENT TRIGGER torture_event", "event trigger torture_event",
         ("torture_event",)),
        ("language", "LANGUAGE torture_language", "language torture_language",
         ("torture_language",)),
    )
] + [
    Mutation(
        "comment-extension",
        "COMMENT ON EXTENSION pg_trgm IS 'its own'",
        "COMMENT EXTENSION pg_trgm",
        "definition",
    )
]  # fmt: skip

THE = "the database"
DATABASE = [
    Mutation(f"database-{name}", f"ALTER DATABASE {{database}} {what}", THE, field)
    for name, what, field in (
        ("setting-changed", "SET work_mem = '4MB'", "setting work_mem"),
        ("setting-removed", "RESET TimeZone", "setting TimeZone"),
        ("setting-added", "SET lock_timeout = '5s'", "setting lock_timeout"),
        ("setting-quoted", "SET torture.custom = E'it''s, \"quoted\"'", "setting torture.custom"),
        ("connection-limit", "CONNECTION LIMIT 78", "connection limit"),
        ("owner", 'OWNER TO "torture owner"', "owner"),
        ("template", "IS_TEMPLATE true", "template"),
    )
] + [
    Mutation(
        "database-setting-of-a-role",
        'ALTER ROLE "torture owner" IN DATABASE {database} SET statement_timeout = \'24min\'',
        THE,
        "setting torture owner: statement_timeout",
    ),
    Mutation(
        "database-comment", "COMMENT ON DATABASE {database} IS 'another'", THE, "comment"
    ),
    Mutation("database-acl", "GRANT TEMPORARY ON DATABASE {database} TO PUBLIC", THE, "ACL"),
    Mutation(
        "database-acl-grant-option",
        'REVOKE GRANT OPTION FOR CONNECT ON DATABASE {database} FROM "torture owner"',
        THE,
        "ACL",
    ),
]  # fmt: skip

ROLE = 'role "torture owner"'
ROLES = [
    Mutation(f"role-{name}", f'ALTER ROLE "torture owner" {what}', ROLE, field,
             undo=f'ALTER ROLE "torture owner" {undo}')
    for name, what, undo, field in (
        ("login", "NOLOGIN", "LOGIN", "login"),
        ("superuser", "SUPERUSER", "NOSUPERUSER", "superuser"),
        ("createdb", "NOCREATEDB", "CREATEDB", "createdb"),
        ("createrole", "CREATEROLE", "NOCREATEROLE", "createrole"),
        ("bypassrls", "BYPASSRLS", "NOBYPASSRLS", "bypassrls"),
        ("inherit", "NOINHERIT", "INHERIT", "inherit"),
        ("replication", "REPLICATION", "NOREPLICATION", "replication"),
        ("connection-limit", "CONNECTION LIMIT 8", "CONNECTION LIMIT 7", "connection limit"),
        ("valid-until", "VALID UNTIL '2200-01-01'", "VALID UNTIL 'infinity'", "valid until"),
        ("setting", "SET statement_timeout = '18min'", "SET statement_timeout = '17min'",
         "setting statement_timeout"),
    )
    if name != "valid-until"
] + [
    Mutation(
        "role-valid-until", "ALTER ROLE \"--torture\" VALID UNTIL '2200-01-01 00:00:00+00'",
        'role "--torture"', "valid until",
        undo="ALTER ROLE \"--torture\" VALID UNTIL '2199-01-01 00:00:00+00'",
    ),
    Mutation(
        "role-comment", "COMMENT ON ROLE \"torture owner\" IS 'another'", ROLE, "comment",
        undo="COMMENT ON ROLE \"torture owner\" IS E'owns\\nmost of it'",
    ),
    Mutation(
        "role-password", "ALTER ROLE \"torture owner\" PASSWORD 'another'", ROLE, "password",
        undo="ALTER ROLE \"torture owner\" PASSWORD NULL",
    ),
    Mutation(
        "membership-gone", 'REVOKE pg_monitor FROM "torture owner"',
        'membership of "torture owner" in pg_monitor', "existence",
        about=("membership of \"torture owner\" in pg_monitor",),
        undo='GRANT pg_monitor TO "torture owner"',
    ),
    Mutation(
        "membership-new", 'GRANT pg_read_all_data TO "torture owner"',
        'membership of "torture owner" in pg_read_all_data', "existence",
        about=("membership of \"torture owner\" in pg_read_all_data",),
        undo='REVOKE pg_read_all_data FROM "torture owner"', since=14,
    ),
    Mutation(
        "membership-admin", 'REVOKE ADMIN OPTION FOR "torture owner" FROM "--torture"',
        'membership of "--torture" in "torture owner"', "admin",
        about=("membership of \"--torture\" in \"torture owner\"",),
        undo='GRANT "torture owner" TO "--torture" WITH ADMIN OPTION',
    ),
    Mutation(
        "role-parameter", 'GRANT SET ON PARAMETER log_statement TO "torture owner"', ROLE,
        "parameter log_statement",
        undo='REVOKE SET ON PARAMETER log_statement FROM "torture owner"', since=15,
    ),
]  # fmt: skip

MUTATIONS = [*OWNERS, *PRIVILEGES, *COMMENTS, *DATABASE, *ROLES]
