"""Keys of SCRAM: what proves a password without deriving it."""

from __future__ import annotations

import pytest

from pytest_costmgmt.postgres.connect import _conninfo
from pytest_costmgmt.postgres.login import Login, pack
from pytest_costmgmt.postgres.scram import Keys, keys
from pytest_costmgmt.secret import Secret, redact

# RFC 7677's example: user "user", password "pencil".
VERIFIER = Secret(
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
PENCIL = "pencil"


def derived() -> Keys:
    """Return the example's keys."""
    found = keys(VERIFIER, Secret(PENCIL))
    assert found is not None
    return found


def test_the_standards_example() -> None:
    """The keys of RFC 7677's password are those that its proof and signature are made of."""
    assert derived() == Keys(
        client=Secret("pg/JI9Z+hkSpLRa5btpe9GVrDHJcSEN0viVTVXaZbos="),
        server=Secret("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
    )


@pytest.mark.parametrize(
    ("verifier", "password"),
    [
        pytest.param(VERIFIER, "crayon", id="another-password"),
        pytest.param(Secret("md5aca706469c2a1a3acd5a0cc7ef8f12fa"), PENCIL, id="md5"),
        pytest.param(Secret(""), PENCIL, id="none"),
    ],
)
def test_what_is_not_proved_has_no_keys(verifier: Secret, password: str) -> None:
    """Another password, or one that is stored in another way."""
    assert keys(verifier, Secret(password)) is None


def test_keys_show_nowhere_and_stay_here() -> None:
    """They are secrets by type and by value, and are not handed to another process."""
    mine = Login(role="koku", database="koku", where={"host": "/run"}, keys=derived())
    raw = mine.keys.parameters()["scram_client_key"] if mine.keys else ""
    assert raw not in repr(mine)
    assert raw not in redact(f"connection to dsn scram_client_key={raw}")
    assert raw not in repr(pack(mine))


@pytest.mark.parametrize(("version", "given"), [(18_00_00, True), (17_00_04, False)])
def test_an_older_libpq_is_not_given_them(
    monkeypatch: pytest.MonkeyPatch, version: int, given: bool
) -> None:
    """It would refuse a parameter that it does not know."""
    monkeypatch.setattr("psycopg.pq.version", lambda: version)
    # The parameters are checked by the libpq that is there.
    monkeypatch.setattr("psycopg.conninfo.make_conninfo", lambda _, **words: " ".join(words))
    mine = Login(role="koku", database="koku", where={"host": "/run"}, keys=derived())
    assert (b"scram_client_key" in _conninfo(mine, {})) is given
