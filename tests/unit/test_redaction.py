"""What pytest made of an exception is redacted without losing its shape."""

from __future__ import annotations

import logging
import warnings

import pytest

from pytest_costmgmt import secret as room
from pytest_costmgmt.engine.redaction import RedactingFilter, clean, clean_exception
from pytest_costmgmt.secret import MASK, Secret, redact

HIDDEN = "it's hidden\nwell"


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_known", set())
    Secret(HIDDEN)


def raised() -> pytest.ExceptionInfo[BaseException]:
    """Return an exception whose words, locals and cause hold the secret."""
    local = ["x" * 200, f"password={HIDDEN}"]
    try:
        try:
            raise KeyError(HIDDEN)  # noqa: TRY301 - a cause is wanted
        except KeyError as error:
            raise ValueError(f"could not: {HIDDEN}", local) from error
    except ValueError:
        return pytest.ExceptionInfo.from_current()


@pytest.mark.parametrize("style", ["long", "short", "line", "no", "native", "value"])
def test_every_style_of_a_traceback_keeps_its_lines(style: str) -> None:
    """However pytest tells an exception, only the secret goes."""
    excinfo = raised()
    plain = str(excinfo.getrepr(style=style, showlocals=True, funcargs=True))  # type: ignore[arg-type]
    safe = str(clean(excinfo.getrepr(style=style, showlocals=True, funcargs=True)))  # type: ignore[arg-type]
    assert "hidden" in plain.replace("local =", "") or style == "no"
    assert "hidden" not in safe
    assert "could not: " + MASK in safe or "could not" not in plain
    assert abs(len(plain.splitlines()) - len(safe.splitlines())) <= 8
    assert safe.splitlines()[0] == redact(plain.splitlines()[0])


def test_an_exceptions_words_are_redacted_through_its_causes() -> None:
    """Who reads the exception itself reads no secret; its type and other words stay."""
    error = raised().value
    clean_exception(error)
    assert isinstance(error.__cause__, KeyError)
    assert HIDDEN not in str(error.args[0]) + str(error.__cause__.args)
    assert str(error.args[0]).startswith("could not: ")


def test_a_record_without_secrets_is_left_as_it_is() -> None:
    """Arguments of a log record are kept for whoever looks at them."""
    record = logging.LogRecord("a", logging.INFO, "f.py", 1, "%s of %s", ("one", 2), None)
    assert RedactingFilter().filter(record)
    assert (record.msg, record.args) == ("%s of %s", ("one", 2))


def test_a_record_is_redacted_with_its_traceback() -> None:
    """Message and traceback lose the secret, and nothing else."""
    error = raised().value
    trace = (type(error), error, error.__traceback__)
    record = logging.LogRecord("a", logging.INFO, "f.py", 1, "pw %s!", (HIDDEN,), trace)
    RedactingFilter().filter(record)
    said = logging.Formatter().format(record)
    assert "hidden" not in said
    assert f"pw {MASK}!" in said
    assert f"could not: {MASK}" in said


def test_a_warning_keeps_its_kind() -> None:
    """A redacted warning is still of its category."""
    from pytest_costmgmt.engine.redaction import _clean_warning  # noqa: PLC0415 - the one use

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(f"old way: {HIDDEN}", DeprecationWarning, stacklevel=1)
    safe = _clean_warning(caught[0].message)
    assert isinstance(safe, DeprecationWarning)
    assert str(safe) == f"old way: {MASK}"
