"""Requirement sets: what ships is complete, and what is wrong with a file is told by its key."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.requirements import reader
from tests.nameless import nameless, needs_root

toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

FOLDER = Path(reader.__file__).parent
SHIPPED = (FOLDER / "koku-hive.toml").read_text(encoding="utf-8")

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write koku-hive with ``old`` replaced by ``new`` as koku.toml and return its path."""

    def write(old: str, new: str) -> str:
        assert old in SHIPPED
        path = tmp_path / "koku.toml"
        path.write_text(SHIPPED.replace(old, new), encoding="utf-8")
        return str(path)

    return write


def refused(name: str) -> str:
    """Return what the operator reads about the file that is refused."""
    with pytest.raises(UsageProblem) as caught:
        reader.load(name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "policy", "floor"), [("koku-hive", "required", 13), ("koku-onprem", "forbidden", 14)]
)
def test_both_eras_ship(name: str, policy: str, floor: int) -> None:
    """Both requirement sets have the hive policy and the version floor of their era."""
    needs = reader.load(name)
    assert (needs.name, needs.hive.policy, needs.server.minimum_major) == (name, policy, floor)
    assert {(e.name, e.schema, e.created_by) for e in needs.extensions} == {
        ("uuid-ossp", "public", "application"),
        ("pg_trgm", "public", "application"),
        ("pg_stat_statements", "public", "administrator"),
    }


def test_the_default_is_hive() -> None:
    """Without a name, the documented chart's requirement set is meant."""
    assert reader.load() == reader.load("koku-hive")


@pytest.mark.parametrize("name", reader.SHIPPED)
def test_shipped_sets_satisfy_the_schema(name: str) -> None:
    """What ships validates against schema.json with a validator that is not ours."""
    schema = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    data = toml.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(data)


def test_the_schema_is_not_stale() -> None:
    """schema.json is what the model says today; `reader.schema()` prints it."""
    assert json.loads((FOLDER / "schema.json").read_text(encoding="utf-8")) == reader.schema()


def test_the_schema_refuses_unknown_keys() -> None:
    """An editor that follows schema.json marks a misspelt key."""
    data: dict[str, Any] = toml.loads(SHIPPED)
    data["hive"]["polizy"] = "required"
    with pytest.raises(jsonschema.ValidationError, match="polizy"):
        jsonschema.validate(data, reader.schema())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param(
            "minimum_major = 13",
            'minimum_major = "fourteen"',
            "koku.toml: key `server.minimum_major`: expected an integer from 10 to 99,"
            ' found the string "fourteen"',
            id="a-word-for-a-number",
        ),
        pytest.param(
            "minimum_major = 13", "minimum_major = 9", "found the integer 9", id="too-small"
        ),
        pytest.param(
            "minimum_major = 13", "minimum_major = true", "found the boolean true", id="boolean"
        ),
        pytest.param(
            "minimum_major = 13", "minimum_major = 13.5", "found the number 13.5", id="fraction"
        ),
        pytest.param(
            "minimum_major = 13",
            "minimum_major = 2026-01-31",
            "found the date or time 2026-01-31",
            id="date",
        ),
        pytest.param(
            "minimum_major = 13",
            "minimum_mayor = 13",
            "key `server.minimum_mayor`: is unknown; did you mean `minimum_major`?",
            id="misspelt-key",
        ),
        pytest.param(
            "minimum_major = 13", "zz = 1", "key `server.zz`: is unknown; known here", id="unknown"
        ),
        pytest.param(
            "minimum_major = 13",
            "",
            "key `server.minimum_major`: is missing; expected an integer from 10 to 99",
            id="missing-key",
        ),
        pytest.param(
            "[hive]", "[hives]", "key `hives`: is unknown; did you mean `hive`?", id="table"
        ),
        pytest.param(
            '"required"',
            '"maybe"',
            'key `hive.policy`: expected "forbidden" or "required", found the string "maybe"',
            id="unknown-word",
        ),
        pytest.param(
            '["hive"]', '"hive"', "key `hive.forbidden_passwords`: expected a list", id="no-list"
        ),
        pytest.param(
            'created_by = "administrator"',
            'created_by = "dba"',
            "key `extensions[2].created_by`: expected",
            id="inside-a-list",
        ),
        pytest.param(
            'name = "pg_trgm"', 'name = "uuid-ossp"', "stands there twice", id="duplicate"
        ),
        pytest.param("schema = 1", "schema = 2", "key `schema`: expected 1", id="schema-version"),
        pytest.param(
            '[role]\nname = "koku"',
            f'[role]\nname = "{"ö" * 40}"',
            "key `role.name`: is 80 bytes long",
            id="name-that-is-cut",
        ),
        pytest.param(
            '[role]\nname = "koku"',
            '[role]\nname = "pg_koku"',
            "PostgreSQL keeps for itself",
            id="reserved-name",
        ),
        pytest.param(
            'role = "hive"', 'role = "koku"', "key `hive.role`: is the application", id="same-role"
        ),
        pytest.param(
            'database = "hive"',
            'database = "koku"',
            "key `hive.database`: is the application",
            id="same-database",
        ),
        pytest.param("[server]", "[server", "is not TOML", id="broken-toml"),
        pytest.param("schema = 1", "schema = 1\nschema = 1", "line", id="duplicate-toml-key"),
    ],
)
def test_a_wrong_file_is_told_by_key(write: Write, old: str, new: str, told: str) -> None:
    """A wrong file is refused with its name, the key and what was expected."""
    message = refused(write(old, new))
    assert message.startswith("koku.toml: ")
    assert told in message


def test_a_file_of_the_operator(write: Write) -> None:
    """A file with names that need quoting is read as it stands."""
    needs = reader.load(write('[role]\nname = "koku"', '[role]\nname = "Kök-u \\"db\\""'))
    assert needs.role.name == 'Kök-u "db"'


def test_broken_toml_tells_the_line(write: Write) -> None:
    """A syntax error names line and column."""
    assert "line 7, column" in refused(write("schema = 1", "schema = = 1"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"\xff\xfe", "not UTF-8", id="not-utf8"),
        pytest.param(b"", "key `schema`: is missing", id="empty"),
        pytest.param(b"a = " + b"[" * 5000, "is not TOML", id="bottomless"),
        pytest.param(b"schema = " + b"1" * 5000, "koku.toml", id="huge-number"),
    ],
)
def test_bytes_that_are_no_requirement_set(tmp_path: Path, content: bytes, told: str) -> None:
    """Whatever the bytes are, the answer is a sentence that names the file."""
    (tmp_path / "koku.toml").write_bytes(content)
    assert told in refused(str(tmp_path / "koku.toml"))


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """A file that an editor saved with a byte order mark is read."""
    path = tmp_path / "koku.toml"
    path.write_text(SHIPPED, encoding="utf-8-sig")
    assert reader.load(str(path)).name == "koku-hive"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("koku-hiv", "did you mean koku-hive?", id="nearly"),
        pytest.param("else", "one of koku-hive, koku-onprem.", id="unknown"),
        pytest.param("no/such.toml", "no file that exists", id="missing-file"),
        pytest.param(".", "are a folder", id="folder"),
    ],
)
def test_a_name_that_is_none(name: str, told: str) -> None:
    """An unknown name lists what ships, a path says what is wrong with it."""
    assert told in refused(name)


def test_reading_needs_no_database_driver() -> None:
    """The reader imports neither psycopg nor Django."""
    code = (
        "import sys; from pytest_costmgmt.requirements import reader; reader.load();"
        "print([m for m in ('psycopg', 'django', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@needs_root
def test_a_file_behind_a_folder_that_may_not_be_entered(tmp_path: Path) -> None:
    """What we may not even look at is said to be unreadable, not a traceback."""
    (tmp_path / "closed").mkdir(mode=0o700)
    with nameless(), pytest.raises(UsageProblem, match="cannot be read: Permission denied"):
        reader.load(str(tmp_path / "closed/mine.toml"))
