"""Later logins of a run are encrypted as strictly as its first."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_costmgmt.facts.access import _as_encrypted
from pytest_costmgmt.postgres.attempt import Attempt
from pytest_costmgmt.postgres.login import Login

WHERE = {"host": "127.0.0.1", "port": "5432"}


def later(encrypted: bool, **where: str) -> Login:
    """Return how a run logs in after its first login, which came to be encrypted or not."""
    login = Login(role="koku", database="koku", where={**WHERE, **where})
    own = Attempt(
        role="koku", database="koku", offered="own", outcome="accepted", encrypted=encrypted
    )
    return _as_encrypted(login, own)


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca", "require"])
def test_the_environment_is_not_taken_less_strictly(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """PGSSLMODE stays in force, as a DSN's own sslmode does."""
    monkeypatch.setenv("PGSSLMODE", mode)
    assert "sslmode" not in later(True).where
    monkeypatch.delenv("PGSSLMODE")
    assert later(True, sslmode=mode).where["sslmode"] == mode


def test_a_service_is_not_taken_less_strictly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nor what a service file asks for."""
    services = tmp_path / "services"
    services.write_text("[ours]\nhost=127.0.0.1\nsslmode=verify-full\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert "sslmode" not in later(True, service="ours").where


@pytest.mark.parametrize(("encrypted", "mode"), [(True, "require"), (False, "disable")])
def test_what_was_negotiated_stays(
    monkeypatch: pytest.MonkeyPatch, encrypted: bool, mode: str
) -> None:
    """Where nobody asks for anything, one refused login is not tried both ways."""
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert later(encrypted).where["sslmode"] == mode
