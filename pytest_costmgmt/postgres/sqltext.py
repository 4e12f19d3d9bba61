"""SQL text for people: names and texts quoted as PostgreSQL's own quoting functions do.

Only for text that is shown (fixes, findings). SQL that runs is composed with ``psycopg.sql``.
Names are always quoted, so a reserved word or a future keyword needs no list.
"""

from __future__ import annotations


def ident(name: str) -> str:
    """Quote a name of an object.

    >>> print(ident("koku"))
    "koku"
    >>> print(ident('Kök-u "db" '))
    "Kök-u ""db"" "
    """
    return '"' + _storable(name, "a name").replace('"', '""') + '"'


def literal(text: str) -> str:
    r"""Quote a text so that it means the same with ``standard_conforming_strings`` on and off.

    >>> print(literal("it's"))
    'it''s'
    >>> print(literal("back\\slash"))
    E'back\\slash'
    """
    quoted = "'" + _storable(text, "a text").replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in quoted else quoted


def qualified(schema: str, name: str) -> str:
    """Quote a name with its schema.

    >>> print(qualified("public", "api_tenant"))
    "public"."api_tenant"
    """
    return f"{ident(schema)}.{ident(name)}"


def _storable(text: str, what: str) -> str:
    if "\x00" in text:
        raise ValueError(f"{what} with a NUL character cannot exist in PostgreSQL: {text!r}")
    return text
