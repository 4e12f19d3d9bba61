"""What goes wrong between us and a cluster; each keeps its facts."""

from __future__ import annotations

from pytest_costmgmt.errors import CostMgmtError


class ClusterUnreachable(CostMgmtError, ConnectionError):
    """No answer came from the API server, or not from the one that the kubeconfig means."""


class ApiRefused(CostMgmtError, RuntimeError):
    """The API server answered with an error; ``code`` is HTTP's, ``reason`` Kubernetes's."""

    def __init__(self, message: str, *, code: int, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code, self.reason = code, reason


class AccessDenied(ApiRefused, PermissionError):
    """Not authenticated (401) or not authorized (403); ``missing`` are the verbs, if known."""

    def __init__(
        self,
        message: str,
        *,
        code: int,
        reason: str = "",
        missing: tuple[str, ...] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, code=code, reason=reason, hint=hint)
        self.missing = missing


class NotThere(ApiRefused, LookupError):
    """The object does not exist (404), nor does perhaps its namespace."""


class StreamBroken(CostMgmtError, ConnectionError):
    """A stream into a pod could not be opened, or ended otherwise than it should."""


class ProbeFailed(CostMgmtError, RuntimeError):
    """A probe pod could not be made to run; ``evidence`` are the lines that say why."""

    def __init__(self, message: str, *, evidence: tuple[str, ...] = (), hint: str = "") -> None:
        told = "".join(f"\n  {line}" for line in evidence)
        super().__init__(f"{message}{told}", hint=hint)
        self.evidence = evidence


class HelmFailed(CostMgmtError, RuntimeError):
    """Helm did not do what it was asked; ``status`` is its exit status, None at the deadline."""

    def __init__(self, message: str, *, status: int | None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RecordUnread(CostMgmtError, ValueError):
    """What Helm keeps of a release is not understood, so nothing is known of what it renders."""


class LeaseHeld(CostMgmtError, RuntimeError):
    """Another run is at work in the namespace."""

    def __init__(self, namespace: str, name: str, holder: str) -> None:
        super().__init__(
            f"Another run is at work in namespace {namespace}: Lease {name} is held by {holder}.",
            hint="Wait for its end. A run that was killed lets go when its Lease expires.",
        )
        self.holder = holder


class RunsThere(CostMgmtError, RuntimeError):
    """Another run judges the release, which what we are about to do would spoil."""


class LeaseLost(CostMgmtError, RuntimeError):
    """The Lease that we held is no longer ours."""
