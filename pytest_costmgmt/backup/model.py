"""What a backup says of the database that it holds, and what a proof found: plain data.

All of it but :class:`Difference` and :class:`Proof` is written into the archive's manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from pytest_costmgmt.facts.hazards import Hazard

API_VERSION = "costmgmt.backup/v1"
MANIFEST = "manifest.json"
ARCHIVE = "archive"
"The folder beside the manifest that pg_dump --format=directory wrote."

KEYS = 20
"How many differing rows of one relation are told by their keys."


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of one table, partition or materialized view itself (``FROM ONLY``).

    ``content`` is the 64-bit sum of the rows' hashes as 16 hexadecimal digits, the same for the
    same rows in any order: of their columns' texts, by the server; or, where ``by`` says so, of
    COPY's lines. ``populated`` is False only for a materialized view WITH NO DATA.
    """

    schema: str
    name: str
    kind: Literal["table", "materialized view"]
    rows: int
    content: str
    by: Literal["server", "lines"] = "server"
    bytes: int = 0
    "On disk, without indexes: for progress and the order of work, never compared."
    populated: bool = True


class SequenceValue(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sequence stands, as the archive itself will set it."""

    schema: str
    name: str
    last_value: int
    is_called: bool


class LargeObject(msgspec.Struct, frozen=True, kw_only=True):
    """One large object. ``content`` hashes its bytes; ``acl`` is sorted items, "" for none set."""

    oid: int
    bytes: int
    content: str
    owner: str
    acl: str = ""
    comment: str = ""


class Property(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One thing that is so of one object: what pg_dump's text does not tell, or tells too late.

    ``of`` names the object as a person would ("index public.a_key"), ``name`` the property
    ("valid"), ``value`` its text.
    """

    of: str
    name: str
    value: str


class Extension(msgspec.Struct, frozen=True, kw_only=True):
    """An installed extension. ``superuser`` says whether only a superuser may create it."""

    name: str
    version: str
    schema: str
    superuser: bool = False


class Membership(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """``member`` belongs to ``role``; options and grantor as far as the version has them."""

    role: str
    member: str
    grantor: str = ""
    admin: bool = False
    inherit: bool | None = None
    set: bool | None = None


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role that the database needs. ``verifier`` only on the operator's word."""

    name: str
    attributes: dict[str, str]
    """superuser, login, createdb, ..., connection limit, valid until, as text, by name; and
    "parameter NAME": the privileges on a server parameter, with * for the right to grant them."""
    settings: tuple[str, ...] = ()
    comment: str = ""
    verifier: str | None = None
    """How the password is stored, "" if there is none; None where nobody asked."""


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """The database itself: what pg_dump without --create leaves out."""

    name: str
    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str = "libc"
    locale: str = ""
    "ICU's or the builtin provider's locale."
    icu_rules: str = ""
    connection_limit: int = -1
    acl: tuple[str, ...] = ()
    "Sorted items; one empty item for what is so by default, which is not the same as none."
    settings: tuple[str, ...] = ()
    "ALTER DATABASE ... SET, and ALTER ROLE ... IN DATABASE ... SET as 'role: name=value'."
    comment: str = ""
    tablespace: str = ""
    bytes: int = 0
    "pg_database_size: for the disk that a copy needs, never compared."
    template: bool = False
    "IS_TEMPLATE: whoever has CREATEDB may copy it."


class SchemaDigest(msgspec.Struct, frozen=True, kw_only=True):
    """The archive's schema as text, of very many relations, as the client's pg_restore tells it.

    ``content`` is the 128-bit sum of its entries' hashes as 32 hexadecimal digits, the same in
    whatever order they come. Another release's programs may tell the same schema otherwise: that
    they are equal proves it, that they are not proves nothing.
    """

    entries: int
    content: str
    encoding: str


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the archive; ``path`` is relative to the folder of the manifest."""

    path: str
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename={"api_version": "apiVersion"}):
    """What the archive beside it holds, seen in the dump's own snapshot."""

    api_version: str = API_VERSION
    kind: str = "Backup"
    created: str
    "UTC, ISO 8601."
    run_id: str
    seconds: float
    tool: str
    "pytest-costmgmt's version."
    server: str
    "The server's version as it says it, e.g. 15.18."
    server_number: int
    "server_version_num."
    client: str
    "pg_dump's version."
    compression: Literal["none", "gzip", "lz4", "zstd"]
    jobs: int
    database: Database
    roles: tuple[Role, ...]
    memberships: tuple[Membership, ...]
    extensions: tuple[Extension, ...]
    relations: Sequence[Relation]
    sequences: Sequence[SequenceValue]
    large_objects: Sequence[LargeObject]
    properties: Sequence[Property]
    hazards: tuple[Hazard, ...]
    files: Sequence[File]
    collations: tuple[str, ...] = ()
    "Of the server's own, those that something uses: a restore needs them, and no dump makes them."
    schema_digest: SchemaDigest | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as the backup says. ``keys`` names rows of a keyed table."""

    of: str
    name: str
    expected: str
    found: str
    keys: tuple[str, ...] = ()
    more_keys: int = 0

    @property
    def line(self) -> str:
        """The difference in one line."""
        told = f"{self.of}: {self.name}: expected {self.expected}, found {self.found}"
        if not self.keys:
            return told
        more = f" and {self.more_keys} more" if self.more_keys else ""
        return f"{told}; rows {', '.join(self.keys)}{more}"


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """A difference that is right as it is, and why."""

    difference: Difference
    rule: str
    reason: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and what differs. Nothing compared proves nothing."""

    compared: dict[str, int]
    "How many relations, rows, sequences, large objects, properties, schema entries."
    differences: tuple[Difference, ...]
    allowed: tuple[Allowance, ...] = ()
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Say whether the target is what the backup says."""
        return not self.differences and self.compared.get("schema entries", 0) > 0
