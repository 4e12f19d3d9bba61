"""Programs of others that do not outlive us, whatever ends us, nor do their children."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

# preexec_fn is not safe beside threads, so a small interpreter asks the kernel to be told of our
# end and starts the command. It stays: a wrapper (uv run, sh -c) would leave its child behind.
# Its process group is the command's, whose every signal but KILL it leaves to the command.
_GUARD = """
import ctypes, os, signal, sys
def gone(*_): os.killpg(os.getpid(), 9)
signal.signal(signal.SIGUSR1, gone)
ctypes.CDLL(None).prctl(1, signal.SIGUSR1, 0, 0, 0)
if os.getppid() != int(sys.argv[1]): sys.exit(137)
left = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
for number in left: signal.signal(number, lambda *_: None)
pid = os.fork()
if not pid:
    for number in (signal.SIGUSR1, *left): signal.signal(number, signal.SIG_DFL)
    try: os.execvp(sys.argv[2], sys.argv[2:])
    except OSError as error:
        os.write(2, f"{sys.argv[2]} cannot be started: {error.strerror}\\n".encode())
    os._exit(126)
for handle in (0, 1, 2): os.close(handle)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
if status < 0:
    try: signal.signal(-status, signal.SIG_DFL)
    except OSError: pass
    os.kill(os.getpid(), -status)
os._exit(status)
"""


def tied(argv: Sequence[str]) -> list[str]:
    """Return the command that runs ``argv`` in its own session, and ends it when we end.

    It ends as ``argv`` does, by the same status or signal. Start it with ``start_new_session``.
    """
    if sys.platform != "linux" or not sys.executable:
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *argv]
