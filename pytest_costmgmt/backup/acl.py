"""Access lists as PostgreSQL prints them, taken apart here: their roles may not exist yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pytest_costmgmt.backup.model import Manifest

PUBLIC = ""

_ON_DATABASE = {"C": "CREATE", "T": "TEMPORARY", "c": "CONNECT"}
_NAME = r'"(?:[^"]|"")*"|[^"=/,\s]*'
_ITEM = re.compile(rf"(?P<to>{_NAME})=(?P<what>[a-zA-Z*]*)/(?P<by>{_NAME})", re.DOTALL)


class Item(NamedTuple):
    """What ``grantee`` (PUBLIC is "") was granted by ``grantor``, in PostgreSQL's letters."""

    grantee: str
    letters: str
    grantor: str

    def on_database(self) -> Iterator[tuple[str, bool]]:
        """Yield each privilege on a database, and whether it may be passed on.

        >>> list(Item("a", "C*c", "b").on_database())
        [('CREATE', True), ('CONNECT', False)]
        """
        for letter, star in re.findall(r"([a-zA-Z])(\*?)", self.letters):
            yield _ON_DATABASE[letter], bool(star)


def items(text: str) -> Iterator[Item]:
    """Yield the items of a list that may be joined by commas.

    >>> list(items('=Tc/koku, "a ""=/b"=C*/koku'))
    [Item(grantee='', letters='Tc', grantor='koku'), Item(grantee='a "=/b', letters='C*', \
grantor='koku')]
    """
    for found in _ITEM.finditer(text):
        yield Item(_plain(found["to"]), found["what"], _plain(found["by"]))


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def grantees(manifest: Manifest) -> set[str]:
    """Return the roles to whom something in the dump is granted, which fails without them."""
    lists: Iterable[str] = (each.value for each in manifest.properties if each.name == "ACL")
    found = {item.grantee for text in lists for item in items(text)}
    found |= {item.grantee for each in manifest.large_objects for item in items(each.acl)}
    return found - {PUBLIC}
