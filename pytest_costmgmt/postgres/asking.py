"""What PostgreSQL refuses while facts are read is one clean error, without its statement."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.secret import redact


@contextlib.contextmanager
def asking(what: str) -> Iterator[None]:
    """Raise FactUnavailable, which names ``what`` was being asked, for any error of psycopg's."""
    __tracebackhide__ = True
    import psycopg  # noqa: PLC0415 - heavy

    try:
        yield
    except psycopg.Error as error:
        text = redact(error.diag.message_primary or str(error) or type(error).__name__)
        state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
        raise FactUnavailable(f"{what}: the server answered: {text}{state}") from None
