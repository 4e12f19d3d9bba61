"""A backup's manifest: the same whatever pieces and layout it is read in, or refused."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.compare import Observed, Schema, compare
from pytest_costmgmt.backup.model import (
    MANIFEST,
    Database,
    File,
    LargeObject,
    Manifest,
    Property,
    Relation,
    SequenceValue,
)
from pytest_costmgmt.errors import ArchiveFault

MANY = 20_000
ODD = 'ö\\ "{[]},:\n\t\u2028\U0001f600'
"What a name may hold, to trip whoever reads JSON by hand."


def relation(number: int, **changes: Any) -> Relation:
    """Return a relation of a tenant, as there are very many."""
    digest = hashlib.blake2b(b"%d" % number, digest_size=8).hexdigest()
    schema, name = f"acct{number // 264:07}", f"line_item_{number % 264:03}"
    made = Relation(schema=schema, name=name, kind="table", rows=number, content=digest, bytes=8192)
    return msgspec.structs.replace(made, **changes)


def whole(relations: tuple[Relation, ...] | None = None, **changes: Any) -> Manifest:
    """Return a manifest that has something of everything."""
    if relations is None:
        relations = (relation(0, schema=ODD), relation(1), relation(2, kind="materialized view"))
        relations = tuple(sorted(relations, key=lambda each: (each.schema, each.name)))
    made = Manifest(
        created="2026-01-01T00:00:00+00:00",
        run_id="1a2b",
        seconds=-12.5e-3,
        tool="1",
        server="15.18",
        server_number=15_00_18,
        client="15.18",
        compression="none",
        jobs=2,
        database=Database(
            name=ODD, owner="koku", encoding="UTF8", collate="C", ctype="C", settings=("a=b",)
        ),
        roles=(),
        memberships=(),
        extensions=(),
        relations=relations,
        sequences=tuple(
            SequenceValue(schema=each.schema, name=f"{each.name}_id", last_value=-7, is_called=True)
            for each in relations
        ),
        large_objects=(
            LargeObject(oid=9, bytes=1, content="0" * 16, owner="koku"),
            LargeObject(oid=10, bytes=0, content="0" * 16, owner="koku", comment=ODD),
        ),
        properties=tuple(
            Property(of=f"table {each.schema}.{each.name}", name="owner", value="koku")
            for each in relations
        ),
        hazards=(),
        files=tuple(
            File(
                path=f"archive/{number:07}.dat",
                bytes=number,
                sha256=hashlib.sha256(b"%d" % number).hexdigest(),
            )
            for number in range(len(relations))
        ),
    )
    return msgspec.structs.replace(made, **changes)


def put(folder: Path, text: bytes | str) -> Path:
    """Write a text as the manifest, with the digest that belongs to it."""
    content = text if isinstance(text, bytes) else text.encode()
    (folder / MANIFEST).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / manifests.DIGEST).write_text(f"{digest}  {MANIFEST}\n")
    return folder


def told(folder: Path, text: bytes | str) -> str:
    """Return why a text is refused."""
    with pytest.raises(ArchiveFault) as caught:
        manifests.read(put(folder, text))
    (fault,) = caught.value.faults
    return fault


def plain(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as JSON has it."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(manifest))
    return found


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """It is JSON that others read, too: a line for each of what there is much of."""
    manifests.write(tmp_path, whole())
    text = (tmp_path / MANIFEST).read_text(encoding="utf-8")
    assert json.loads(text) == plain(whole())
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert [line for line in text.split("\n") if '"content"' in line and '"schema"' in line] == [
        f"  {msgspec.json.encode(each, order='sorted').decode()}{',' if at < 2 else ''}"
        for at, each in enumerate(whole().relations)
    ]
    assert manifests.read(tmp_path) == whole()


def _as_before(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(_as_before, id="of-earlier-writers"),
        pytest.param(lambda made: json.dumps(plain(made)), id="one-line"),
        pytest.param(lambda made: json.dumps(plain(made), indent=4) + "\n \r\n\t", id="wide"),
        pytest.param(lambda made: json.dumps(plain(made), ensure_ascii=False), id="not-ascii"),
        pytest.param(
            lambda made: json.dumps(dict(reversed(plain(made).items()))), id="version-last"
        ),
        pytest.param(
            lambda made: json.dumps({**plain(made), "later": [1, {"a": "]}"}, None]}),
            id="a-key-of-a-later-writer",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 64, 64 * 1024])
def test_any_layout_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: Callable[[Manifest], bytes | str],
    size: int,
) -> None:
    """Order and white space mean nothing, nor do the pieces in which a text is read."""
    monkeypatch.setattr(manifests, "PIECE", size)
    assert manifests.read(put(tmp_path, layout(whole()))) == whole()


def test_lists_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    """Whoever compares may rely on the order, whatever the file has."""
    other = {
        name: tuple(reversed(getattr(whole(), name)))
        for name in ("relations", "sequences", "large_objects", "properties", "files")
    }
    assert manifests.read(put(tmp_path, _as_before(whole(**other)))) == whole()


def _twice(key: str) -> str:
    return json.dumps(plain(whole()))[:-1] + f', "{key}": {json.dumps(plain(whole())[key])}}}'


def _changed(key: str, at: int, **changes: Any) -> str:
    text = plain(whole())
    text[key][at].update(changes)
    return json.dumps(text)


def _without(key: str) -> str:
    return json.dumps({name: value for name, value in plain(whole()).items() if name != key})


def _repeated(key: str) -> str:
    text = plain(whole())
    text[key].append(text[key][0])
    return json.dumps(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "JSON is malformed", id="empty"),
        pytest.param("7", "Expected `object`", id="a-number"),
        pytest.param('["relations"]', "Expected `object`", id="a-list"),
        pytest.param(_twice("relations"), "key `relations` twice", id="relations-twice"),
        pytest.param(_twice("created"), "key `created` twice", id="a-short-key-twice"),
        pytest.param(_twice("files"), "key `files` twice", id="files-twice"),
        pytest.param(json.dumps(plain(whole())) + "{}", "trailing characters", id="another-object"),
        pytest.param(json.dumps(plain(whole())) + "]", "trailing characters", id="a-bracket-more"),
        pytest.param(_repeated("relations"), "there twice - at `$.relations`", id="a-relation"),
        pytest.param(_repeated("files"), "there twice - at `$.files`", id="a-file"),
        pytest.param(_repeated("sequences"), "there twice - at `$.sequences`", id="a-sequence"),
        pytest.param(_repeated("large_objects"), "9 is there twice", id="a-large-object"),
        pytest.param(
            _changed("relations", 1, rows="7"),
            "Expected `int`, got `str` - at `$.relations[...].rows`",
            id="wrong-type-in-a-list",
        ),
        pytest.param(
            _changed("relations", 1, kind="index"), "at `$.relations[...].kind`", id="wrong-word"
        ),
        pytest.param(_changed("relations", 2, rows=10**30), "JSON is malformed", id="too-large"),
        pytest.param(
            json.dumps({**plain(whole()), "relations": [7]}),
            "Expected `object`, got `int` - at `$.relations[...]`",
            id="no-object-in-a-list",
        ),
        pytest.param(
            json.dumps({**plain(whole()), "files": {}}), "`$.files`", id="no-list-but-an-object"
        ),
        pytest.param(
            _without("relations"), "missing required field `relations`", id="without-relations"
        ),
        pytest.param(_without("jobs"), "missing required field `jobs`", id="without-jobs"),
        pytest.param(
            json.dumps(plain(whole())).replace("}, {", "} {", 1), "JSON is malformed", id="no-comma"
        ),
        pytest.param(
            json.dumps(plain(whole())).replace("}]", "},]", 1), "JSON is malformed", id="a-comma"
        ),
        pytest.param(
            json.dumps(plain(whole())).replace("-0.0125", "NaN"),
            "JSON is malformed",
            id="no-number",
        ),
        pytest.param("[" * 100_000, "Expected `object`", id="deep"),
        pytest.param('{"a": ' + "[" * 100_000, "JSON is malformed", id="deep-in-a-key"),
        pytest.param(
            json.dumps(plain(whole())).encode().replace(b"koku", b"\xffoku"), "utf-8", id="no-text"
        ),
        pytest.param(
            json.dumps({**plain(whole()), "relations": [7], "apiVersion": "costmgmt.backup/v9"}),
            "costmgmt.backup/v9 Backup, not",
            id="another-version-of-another-shape",
        ),
        pytest.param(
            '{"relations": [7], "kind": "Backup", "apiVersion": "costmgmt.backup/v9"}',
            "costmgmt.backup/v9 Backup, not",
            id="another-version-told-last",
        ),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: bytes | str, said: str) -> None:
    """Whatever is wrong is told in one sentence, with where it is."""
    assert said in told(tmp_path, text)


TEXT = _as_before(whole())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(TEXT) - len(b"\n}\n")), st.sampled_from([1, 50, 4096]))
def test_no_part_is_taken_for_the_whole(tmp_path: Path, kept: int, size: int) -> None:
    """A text that ends early is refused wherever it ends, even with a digest of what is left."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(manifests, "PIECE", size)
        assert "cannot be read: JSON is malformed" in told(tmp_path, TEXT[:kept])


def test_a_text_of_which_one_byte_is_another_is_refused(tmp_path: Path) -> None:
    """The digest is looked at before anything is believed, and of each byte."""
    for at in range(0, len(TEXT), 97):
        put(tmp_path, TEXT)
        (tmp_path / MANIFEST).write_bytes(TEXT[:at] + bytes([TEXT[at] ^ 1]) + TEXT[at + 1 :])
        with pytest.raises(ArchiveFault, match="not as it was written"):
            manifests.read(tmp_path)


def test_a_text_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is believed is what was digested."""
    put(tmp_path, TEXT)
    texts = manifests._texts  # noqa: SLF001 - between the digest and the second look

    def changed(pieces: Any, seen: Any) -> Any:
        (tmp_path / MANIFEST).write_bytes(TEXT.replace(b'"rows": 2', b'"rows": 3'))
        return texts(pieces, seen)

    monkeypatch.setattr(manifests, "_texts", changed)
    with pytest.raises(ArchiveFault, match="not as it was written"):
        manifests.read(tmp_path)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the manifest of very many relations."""
    folder = tmp_path_factory.mktemp("large")
    manifests.write(folder, whole(tuple(map(relation, range(MANY)))))
    return folder


def _peak(does: Callable[[], Any]) -> tuple[Any, float]:
    """Return what something returns, and its peak in bytes for each relation."""
    tracemalloc.start()
    try:
        done = does()
        return done, tracemalloc.get_traced_memory()[1] / MANY
    finally:
        tracemalloc.stop()


def test_a_manifest_is_read_in_small_memory(large: Path) -> None:
    """Neither its text, of 440 bytes a relation, nor all of its values are there at once."""
    manifest, peak = _peak(lambda: manifests.read(large))
    assert len(manifest.relations) == MANY
    assert peak < 220


def test_a_manifest_is_written_in_small_memory(large: Path, tmp_path: Path) -> None:
    """Its text is never there as a whole."""
    manifest = manifests.read(large)
    _, peak = _peak(lambda: manifests.write(tmp_path, manifest))
    assert peak < 30
    assert (tmp_path / MANIFEST).read_bytes() == (large / MANIFEST).read_bytes()


def test_a_proof_compares_in_small_memory(large: Path) -> None:
    """Of both sides a few values are there at a time; what differs is found all the same."""
    manifest, seen = manifests.read(large), manifests.read(large)
    changed = list(seen.relations)
    changed[777] = relation(777, rows=1)
    del changed[19_000]
    names = (*Observed.__struct_fields__,)
    observed = Observed(**{name: getattr(seen, name) for name in names})
    assert compare(manifest, observed, Schema(1, [])) == ((), ())
    _, peak = _peak(lambda: compare(manifest, observed, Schema(1, [])))
    assert peak < 40
    observed = msgspec.structs.replace(observed, relations=changed)
    found, _ = compare(manifest, observed, Schema(1, []))
    assert [(each.of, each.name) for each in found] == [
        ("table acct0000002.line_item_249", "rows"),
        ("table acct0000071.line_item_256", "existence"),
    ]
