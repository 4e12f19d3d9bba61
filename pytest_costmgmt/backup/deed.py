"""What stands outside a dump, as deeds: done where the login may, else listed for who may.

Roles, extensions of superusers, a database's settings and privileges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup.model import Difference
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.postgres.statements import (
    INSUFFICIENT_PRIVILEGE,
    Statement,
    StatementFailed,
    run,
)

if TYPE_CHECKING:
    from psycopg import Connection


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """Something to do by SQL in ``database`` ("" where any will do).

    ``ends`` are the differences (object, property) that remain until it is done; an empty
    property stands for all of the object's, an object that ends with * for all that begin so.
    ``shown`` is what a person runs instead, where the statements hold what must not be written
    down. ``ours`` is False for what only a person may decide, whatever the login's rights.
    """

    what: str
    statements: tuple[Statement, ...]
    database: str = ""
    needs: str = "a superuser"
    why: str = ""
    ends: tuple[tuple[str, str], ...] = ()
    shown: tuple[str, ...] = ()
    ours: bool = True

    @property
    def sql(self) -> tuple[str, ...]:
        """What a person runs, for psql."""
        return self.shown or tuple(f"{each.shown};" for each in self.statements)

    def explains(self, difference: Difference) -> bool:
        """Say whether the difference ends with this deed."""
        return any(difference.of == of and name in {"", difference.name} for of, name in self.ends)


def _is(of: str, pattern: str) -> bool:
    return of == pattern or (pattern.endswith("*") and of.startswith(pattern[:-1]))


def spelled(what: str, name: str, tail: str = "") -> tuple[tuple[str, str], ...]:
    """Return an object as a difference names it, with its name quoted and not."""
    return tuple((f"{what}{each}{tail}", "") for each in (name, ident(name)))


def do(connection: Connection[Any], deed: Deed) -> bool:
    """Do it if the login may; say whether it is done. Any other refusal is a BackupFailed."""
    if not deed.ours:
        return False
    try:
        with asking(deed.what), connection.transaction():
            run(connection, deed.statements)
    except StatementFailed as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            return False
        # Its statement may hold a verifier: only what it is about is told.
        raise BackupFailed(
            f"{deed.what} could not be restored: {error.text} (SQLSTATE {error.sqlstate})"
        ) from None
    return True


def do_all(connection: Connection[Any], deeds: Iterable[Deed]) -> tuple[Deed, ...]:
    """Do what the login may do, in order; return what is left."""
    return tuple([deed for deed in deeds if not do(connection, deed)])


def unexplained(
    differences: Iterable[Difference], left: Sequence[Deed]
) -> tuple[tuple[Difference, ...], tuple[Difference, ...]]:
    """Return the differences that nothing listed will end, and those that it will."""
    wrong: list[Difference] = []
    pending: list[Difference] = []
    for difference in differences:
        known = any(deed.explains(difference) for deed in left)
        (pending if known else wrong).append(difference)
    return tuple(wrong), tuple(pending)


def script(deeds: Sequence[Deed], *, title: str) -> str:
    r"""Return fix.sql: what must be run by somebody with more rights, for psql.

    >>> deed = Deed(what="extension x", database="koku",
    ...             statements=(Statement("CREATE EXTENSION {}", ("x",)),))
    >>> print(script([deed], title="restore of koku"))
    -- restore of koku: what an administrator must run:
    --     psql -v ON_ERROR_STOP=1 -f fix.sql "dbname=postgres user=..."
    -- Read it before you run it; it holds no password.
    \set ON_ERROR_STOP 1
    <BLANKLINE>
    -- extension x (needs a superuser)
    \connect "koku"
    CREATE EXTENSION "x";
    <BLANKLINE>
    """
    lines = [
        f"-- {_one_line(title)}: what an administrator must run:",
        '--     psql -v ON_ERROR_STOP=1 -f fix.sql "dbname=postgres user=..."',
        "-- Read it before you run it; it holds no password.",
        "\\set ON_ERROR_STOP 1",
        "",
    ]
    place = None
    for deed in deeds:
        lines.append(f"-- {_one_line(deed.what)} (needs {deed.needs})")
        if deed.why:
            lines.append(f"-- {_one_line(deed.why)}")
        if deed.database and deed.database != place:
            place = deed.database
            lines.append(_connect(place))
        lines += [*deed.sql, ""]
    return "\n".join(lines)


def _connect(database: str) -> str:
    r"""Return psql's words that go to a database; a line's end in a name would end them.

    >>> print(_connect('k"u'))
    \connect "k""u"
    >>> print(_connect("a\nb'c"))
    \connect -reuse-previous=on '"dbname=\'a\nb\\\'c\'"'
    """
    if database.isprintable():
        return f"\\connect {ident(database)}"
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    # psql takes it out of single quotes, then as an identifier, then as a conninfo.
    return "\\connect -reuse-previous=on " + psql_word(ident(f"dbname='{quoted}'"))


def psql_word(text: str) -> str:
    r"""Quote an argument of one of psql's own commands.

    >>> print(psql_word("it's \\ here"))
    'it\'s \\ here'
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    for character, word in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = escaped.replace(character, word)
    return f"'{escaped}'"


def _one_line(text: str) -> str:
    return " ".join(text.split())


# What is stored as a list of quoted names; any other value is one literal (pg_dump's own list).
_LISTS = frozenset(
    {
        "local_preload_libraries",
        "oauth_validator_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)


def assignment(setting: str) -> str:
    """Return ``name=value``, as the catalog keeps it, as SET's words; braces doubled.

    >>> print(assignment('search_path="$user", public'))
    "search_path" TO '$user', 'public'
    >>> print(assignment("koku.greeting=it's {}"))
    "koku"."greeting" TO 'it''s {{}}'
    >>> print(assignment('search_path=""'))
    "search_path" TO ''
    """
    name, _, value = setting.partition("=")
    values = list(_elements(value)) if name.lower() in _LISTS else [value]
    quoted = ", ".join(map(literal, values)) or "''"
    words = f"{'.'.join(map(ident, name.split('.')))} TO {quoted}"
    return words.replace("{", "{{").replace("}", "}}")


def _elements(value: str) -> Iterator[str]:
    """Yield the names in a list, taken out of their quotes.

    >>> list(_elements('a,  "b ""c"", d" , e'))
    ['a', 'b "c", d', 'e']
    """
    rest = value.strip()
    while rest:
        if rest.startswith('"'):
            name, rest = _quoted(rest[1:])
            yield name
            rest = rest.strip().removeprefix(",").strip()
        else:
            name, _, rest = rest.partition(",")
            yield name.strip()
            rest = rest.strip()


def _quoted(text: str) -> tuple[str, str]:
    """Return the name up to its closing quote, and what follows."""
    name = ""
    while True:
        part, _, text = text.partition('"')
        name += part
        if not text.startswith('"'):
            return name, text
        name, text = name + '"', text[1:]
