"""One tree of exceptions: each is ours and a builtin, and keeps its facts.

A message tells a person what was being done, to what, what was seen last and what to do.
"""

from __future__ import annotations


class CostMgmtError(Exception):
    """The root of every error that this project raises on purpose.

    ``hint`` is the sentence that says what to do; it is part of ``str(error)``.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message.strip()
        self.hint = hint.strip()
        super().__init__(f"{self.message}\n{self.hint}" if self.hint else self.message)


class UsageProblem(CostMgmtError, ValueError):
    """The operator wrote something that cannot be meant: pytest's exit status 4."""


class ProvisionFailed(CostMgmtError, RuntimeError):
    """A server could not be made to exist, or could not be initialized."""


class ServerNotReady(CostMgmtError, TimeoutError):
    """The server did not accept connections before its deadline."""

    def __init__(self, server: str, waited: float, last: str, *, hint: str = "") -> None:
        super().__init__(
            f"{server} was not ready after {waited:.0f} s; last answer: {last}", hint=hint
        )
        self.server, self.waited, self.last = server, waited, last


class ProgramsNotFound(CostMgmtError, FileNotFoundError):
    """No PostgreSQL programs that can serve were found; the message lists what was probed."""


class ConnectFailed(CostMgmtError, ConnectionError):
    """A connection could not be opened.

    ``sqlstate`` is PostgreSQL's five characters, or None where no server answered.
    """

    def __init__(self, message: str, *, sqlstate: str | None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.sqlstate = sqlstate


class StepFailed(CostMgmtError, RuntimeError):
    """A step of the initialization was refused or broke; ``step`` is its name."""

    def __init__(self, step: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{step}: {message}", hint=hint)
        self.step = step


class FactUnavailable(CostMgmtError, RuntimeError):
    """A fact could not be read: absence of evidence, which is never a pass."""


class BackupFailed(CostMgmtError, RuntimeError):
    """A backup, a restore or a proof could not be done; nothing half-made is left."""


class ArchiveFault(CostMgmtError, ValueError):
    """A backup on disk is not what its manifest describes; ``faults`` has a line for each."""

    def __init__(self, folder: str, faults: tuple[str, ...], *, hint: str = "") -> None:
        told = faults[0] if len(faults) == 1 else "\n" + "\n".join(f"  {line}" for line in faults)
        super().__init__(f"{folder} is not an intact backup: {told}", hint=hint)
        self.faults = faults
