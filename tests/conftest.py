"""What the tests share: programs of a PostgreSQL, and servers that end with the test."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.settings import resolve

# A gate must give the same verdict twice. To look for what nobody thought of:
# pytest --hypothesis-profile=explore
with contextlib.suppress(ModuleNotFoundError):  # where nothing is drawn, it need not be there
    from hypothesis import settings as hypothesis

    hypothesis.register_profile("gate", derandomize=True, database=None)
    hypothesis.register_profile("explore", derandomize=False, max_examples=300, print_blob=True)
    hypothesis.load_profile("gate")


# A shell's & and nohup leave these ignored, which every process that a test starts inherits: there
# an interrupt does nothing, as whoever ignores it wants. Tests want the same everywhere.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(scope="session")
def programs() -> Programs:
    """The programs that an embedded server of this machine is made of."""
    return embedded.embedded_programs(resolve({}, os.environ, lambda _: None))
