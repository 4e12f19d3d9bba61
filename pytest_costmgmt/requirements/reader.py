"""Reads a requirement set: one that ships with the package, by name, or a file of the operator's.

Everything that can be wrong with a file is one UsageProblem that names the file, the key and what
was expected there.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.requirements.model import Requirements

HERE = Path(__file__).parent
DEFAULT = "koku-hive"
SHIPPED = (DEFAULT, "koku-onprem")

# PostgreSQL cuts longer identifiers without an error (NAMEDATALEN).
LONGEST_NAME = 63


def load(name_or_path: str = DEFAULT) -> Requirements:
    """Return the requirement set of that name, or of that file.

    Raises UsageProblem.

    >>> load("koku-onprem").hive.policy
    'forbidden'
    """
    path = _file(name_or_path)
    data = _parse(path, _text(path))
    try:
        requirements = msgspec.convert(data, Requirements)
    except msgspec.ValidationError as error:
        raise UsageProblem(f"{path.name}: {_explained(str(error), data)}") from None
    for key, problem in _contradictions(requirements):
        raise UsageProblem(f"{path.name}: key `{key}`: {problem}")
    return requirements


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a requirement set; ``schema.json`` holds it."""
    body = msgspec.json.schema(Requirements)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}


def _file(name_or_path: str) -> Path:
    if name_or_path in SHIPPED:
        return HERE / f"{name_or_path}.toml"
    path = Path(name_or_path).expanduser()
    try:
        if path.is_dir():
            raise UsageProblem(f"The requirements {name_or_path!r} are a folder: name a TOML file.")
        if path.is_file():
            return path
    except PermissionError:  # before Python 3.14, for what is below a folder that is closed to us
        return path
    known = ", ".join(SHIPPED)
    meant = difflib.get_close_matches(name_or_path, SHIPPED, n=1)
    if path.suffix or len(path.parts) > 1:
        raise UsageProblem(f"The requirements {name_or_path!r} are no file that exists.")
    raise UsageProblem(
        f"The requirements {name_or_path!r} are unknown: give a TOML file, or one of {known}"
        + (f" (did you mean {meant[0]}?)." if meant else ".")
    )


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageProblem(
            f"{path.name}: byte {error.start + 1} is not UTF-8: save the file as UTF-8."
        ) from None
    except OSError as error:
        raise UsageProblem(f"{path.name}: cannot be read: {error.strerror}.") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    # Only a run of ours reads TOML; Python 3.10 has no parser of its own.
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        data: dict[str, Any] = toml.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError, too
        detail = str(error).rstrip(".").replace("\n", " ")
        raise UsageProblem(f"{path.name}: is not TOML: {detail}.") from None
    return data


_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?P<what>missing required|unknown) field `(?P<field>[^`]*)`")


def _explained(message: str, data: Mapping[str, Any]) -> str:
    """Return msgspec's sentence as one that a person can act on."""
    at = _AT.search(message)
    path = at["path"] if at else ""
    place = [p for p in re.split(r"\.|\[(\d+)\]", path) if p]
    needed = _needed(place)
    if (field := _FIELD.search(message)) is not None:
        key = ".".join(filter(None, (path, field["field"])))
        if field["what"] == "unknown":
            return f"key `{key}`: is unknown{_nearest(field['field'], needed)}"
        return f"key `{key}`: is missing; expected {_words(_needed([*place, field['field']]))}"
    found = data
    for part in place:
        found = found[int(part) if part.isdigit() else part]  # type: ignore[index]
    return f"key `{path}`: expected {_words(needed)}, found {_said(found)}"


def _needed(place: list[str]) -> inspect.Type:
    """Return the type that the model has at ``place``."""
    kind: inspect.Type = inspect.type_info(Requirements)
    for part in place:
        if isinstance(kind, inspect.StructType):
            kind = next(field.type for field in kind.fields if field.encode_name == part)
        elif isinstance(kind, inspect.VarTupleType):
            kind = kind.item_type
        kind = _bare(kind)
    return kind


def _bare(kind: inspect.Type) -> inspect.Type:
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return kind


def _nearest(field: str, kind: inspect.Type) -> str:
    known = [f.encode_name for f in kind.fields] if isinstance(kind, inspect.StructType) else []
    near = difflib.get_close_matches(field, known, n=2, cutoff=0.5)
    if near:
        return "; did you mean " + " or ".join(f"`{name}`" for name in near) + "?"
    return "; known here are " + ", ".join(f"`{name}`" for name in known)


def _words(kind: inspect.Type) -> str:
    """Return what a value of this type is called."""
    if isinstance(kind, inspect.IntType):
        return "an integer" + _span(kind.ge, kind.le)
    if isinstance(kind, inspect.StrType):
        bounded = kind.min_length is not None or kind.max_length is not None
        return "a string" + (_span(kind.min_length, kind.max_length, " characters") * bounded)
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(json.dumps(value) for value in kind.values)
    if isinstance(kind, inspect.VarTupleType):
        return "a list, each " + _words(_bare(kind.item_type))
    if isinstance(kind, inspect.StructType):
        return "a table with " + ", ".join(f"`{field.encode_name}`" for field in kind.fields)
    return "something else"


def _span(least: float | None, most: float | None, unit: str = "") -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}{unit}" if not unit else f" of {least} to {most}{unit}"
    return f" from {least} on" if least is not None else ""


_TYPES = {bool: "the boolean", int: "the integer", float: "the number", str: "the string"}


def _said(value: object) -> str:
    """Return a TOML value as its writer knows it, cut to a readable length."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = value if type(value) not in _TYPES else json.dumps(value, ensure_ascii=False)
    text = str(text)
    return f"{_TYPES.get(type(value), 'the date or time')} {text[:60]}{'…' * (len(text) > 60)}"  # noqa: PLR2004


def _contradictions(needs: Requirements) -> Iterator[tuple[str, str]]:
    """Yield what each key alone cannot show to be wrong."""
    names = {
        "role.name": needs.role.name,
        "database.name": needs.database.name,
        "hive.role": needs.hive.role,
        "hive.database": needs.hive.database,
        **{f"extensions[{n}].name": e.name for n, e in enumerate(needs.extensions)},
        **{f"extensions[{n}].schema": e.schema for n, e in enumerate(needs.extensions)},
    }
    for key, name in names.items():
        if "\0" in name:
            yield key, "a name cannot hold the character NUL"
        if (size := len(name.encode())) > LONGEST_NAME:
            yield key, f"is {size} bytes long; PostgreSQL keeps {LONGEST_NAME} of a name"
    for key in ("role.name", "hive.role"):
        if names[key].startswith("pg_") or names[key] in {"public", "none"}:
            yield key, f"{json.dumps(names[key])} is a name that PostgreSQL keeps for itself"
    if needs.hive.role == needs.role.name:
        yield "hive.role", "is the application's own role; hive's must be another one"
    if needs.hive.database == needs.database.name:
        yield "hive.database", "is the application's own database; hive's must be another one"
    seen: set[str] = set()
    for number, extension in enumerate(needs.extensions):
        if extension.name in seen:
            yield f"extensions[{number}].name", f"{json.dumps(extension.name)} stands there twice"
        seen.add(extension.name)
