"""A Secret never shows, and redaction finds it in every form that we write."""

from __future__ import annotations

import json
import pickle
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_costmgmt.secret import MASK, Secret, publish, redact

passwords = st.text(
    alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))
    | st.sampled_from("'\"/@:%\\$ é\n"),
    min_size=8,
    max_size=200,
)


@given(passwords)
def test_a_secret_masks_itself(value: str) -> None:
    """repr, str and format show the mask."""
    secret = Secret(value)
    assert {str(secret), f"{secret}", f"{secret!s}"} == {MASK}
    assert repr(secret) == f"Secret({MASK})"


def test_a_secret_is_not_serialisable() -> None:
    """Neither pickle nor JSON takes one."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret("correct horse"))
    with pytest.raises(TypeError):
        json.dumps(Secret("correct horse"))
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret("correct horse"))


@given(passwords)
def test_every_form_of_a_secret_is_redacted(value: str) -> None:
    """Raw, URL-quoted, SQL- and JSON-escaped values leave no trace, and the rest stays."""
    Secret(value)
    for form in (value, quote(value, safe=""), value.replace("'", "''"), json.dumps(value)[1:-1]):
        text = redact(f"server said <{form}> at 10:00")
        assert form not in text
        assert text.startswith("server said <")
        assert text.endswith("> at 10:00")


def test_public_names_stay_readable() -> None:
    """A password that equals a known name does not blank the report."""
    Secret("costmanagement")
    publish({"costmanagement"})
    assert redact("database costmanagement") == "database costmanagement"


def test_short_values_are_left_alone() -> None:
    """A short value would blank every word that holds it; a check finds such passwords."""
    Secret("hive")
    assert redact("role hive") == "role hive"


def test_a_scram_verifier_is_redacted() -> None:
    """A verifier that the server said is masked, whoever's it is."""
    Secret("something long")
    assert "abcd" not in redact("SCRAM-SHA-256$4096:abcd==$efgh=:ijkl=")


def test_generated_passwords_are_long_safe_in_a_uri_and_never_twice_the_same() -> None:
    """What we generate, koku can paste into a URI."""
    made = {Secret.generate().reveal() for _ in range(50)}
    assert len(made) == 50
    assert all(len(value) == 32 and value.isalnum() and value.isascii() for value in made)
