"""A process of a user without a name, as a container's arbitrary user id is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can be a user without a name for a while"
)


@contextmanager
def nameless() -> Iterator[None]:
    """Be user 60123, of whom /etc/passwd knows nothing. What is needed must be imported before."""
    os.seteuid(60123)
    try:
        yield
    finally:
        os.seteuid(0)
