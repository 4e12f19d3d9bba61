"""What a person reads while it runs and at its end. Terminal only: pytest's own writer."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_costmgmt import __version__
from pytest_costmgmt.engine import shared
from pytest_costmgmt.engine.outcome import counts
from pytest_costmgmt.engine.report import assemble
from pytest_costmgmt.engine.report.logs import without_passwords
from pytest_costmgmt.secret import redact

if TYPE_CHECKING:
    from pytest_costmgmt.engine.controller import Controller

_COLOURS = {
    "passed": {"green": True},
    "failed": {"red": True, "bold": True},
    "error": {"red": True},
    "blocked": {"yellow": True},
    "skipped": {"yellow": True},
    "unverifiable": {"yellow": True},
    "not-supported": {"light": True},
}
_VERDICT = {
    "conformant": {"green": True, "bold": True},
    "non-conformant": {"red": True, "bold": True},
    "inconclusive": {"yellow": True, "bold": True},
}


def header(controller: Controller) -> list[str]:
    """Return the header's lines: target, versions, requirement set, application, sources."""
    settings, data = controller.settings, controller.config.stash.get(shared.KEY, None)
    if settings is None or data is None:
        return []
    lines = [f"costmgmt: pytest-costmgmt {__version__}, run {controller.run_id}"]
    if data.server is not None:
        lines.append(f"target: {data.server.label} ({data.server.mode}, {allowed(controller)})")
    catalog = data.facts.catalog
    if catalog is not None:
        lines.append(f"server: PostgreSQL {catalog.server.version}")
    if data.requirements is not None:
        kind = data.context.application if data.context is not None else ""
        lines.append(
            f"requirements: {data.requirements.name} ({data.requirements.title});"
            f" profile {settings.profile}; application: {assemble.APPLICATIONS[kind]}"
        )
    given = assemble.sources(settings)
    if given:
        lines.append("settings: " + ", ".join(f"{name} from {given[name]}" for name in given))
    if addopts := assemble.from_addopts(controller.config):
        lines.append(f"addopts: {redact(addopts)}")
    if plugins := assemble.all_plugins(controller.config):
        lines.append(f"active plugins: {', '.join(plugins)}")
    return [redact(line) for line in lines]


def allowed(controller: Controller) -> str:
    """Return what the run may do to the target, in words."""
    settings = controller.settings
    if settings is None:
        return ""
    if settings.mode == "embedded":
        return "made for this run"
    if settings.mode == "release" and settings.allow == "probe":
        return "allowed: probe, a pod of ours in the namespace and nothing in the database"
    return "read only" if settings.allow == "read-only" else f"allowed: {settings.allow}"


def table(controller: Controller, reporter: Any) -> None:
    """Write the table by group, and what is not a plain pass in words."""
    settled = controller.settled()
    if not controller.expected:
        return
    reporter.section("costmgmt: checks by group", sep="=")
    writer = reporter._tw  # noqa: SLF001 - reporter.write_line() would first end a line of its own
    for group in dict.fromkeys(check.group for check in controller.expected):
        checks = [check for check in controller.expected if check.group == group]
        totals = counts({check.id: settled[check.id] for check in checks})
        writer.write(f"{group:<16}")
        for outcome, total in totals.items():
            writer.write(f"{total} {outcome}  ", **_COLOURS[outcome])
        writer.line()
    for line in (*_remarks(controller), *_exhibited(controller)):
        reporter.write_line(redact(line))


def _remarks(controller: Controller) -> Iterator[str]:
    """Yield what is not a pass: unverifiable, not supported and skipped, a line for each reason."""
    settled = controller.settled()
    for wanted in ("skipped", "unverifiable", "not-supported"):
        reasons: dict[str, list[str]] = {}
        for check in controller.expected:
            if settled[check.id].outcome == wanted:
                reasons.setdefault(settled[check.id].summary, []).append(check.id)
        for reason, ids in reasons.items():
            yield f"{wanted}: {', '.join(ids)} {reason}"


_EVENTS = 8
"Lines of the cluster's events at the terminal; the reports have all of them."


def _exhibited(controller: Controller) -> Iterator[str]:
    """Yield the last events of a release that is not conformant, and what else is in the report."""
    for each in controller.exhibits:
        if each.title == "events":
            for line in each.text.splitlines()[-_EVENTS:]:
                yield f"event: {without_passwords(line)}"
    if titles := [each.title for each in controller.exhibits]:
        yield f"shown in the report (--costmgmt-report): {', '.join(titles)}"


def verdict_line(
    config: pytest.Config,
    verdict: str,
    reasons: Sequence[str],
    weakens: Sequence[str],
    seconds: float,
) -> None:
    """Print the verdict as the run's last line, also under -qq and -p no:terminal."""
    writer = _writer(config)
    for reason in reasons:
        writer.line(redact(f"costmgmt: {reason}"))
    weak = f" [{'; '.join(weakens)}]" if weakens else ""
    took = f" in {seconds:.1f} s" if seconds else ""
    writer.write("costmgmt verdict: ")
    writer.write(verdict, **_VERDICT[verdict])
    writer.line(redact(f"{weak}{took}"))
    writer.flush()


@contextlib.contextmanager
def perhaps_unread() -> Iterator[None]:
    """Write the last lines: a reader that is gone costs neither the report nor the status.

    pytest would make the status 1, as if a requirement were not met.
    """
    with contextlib.suppress(OSError):
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.stdout.flush()  # now: pytest may put the pipe back


def _writer(config: pytest.Config) -> Any:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        return reporter._tw  # noqa: SLF001 - where pytest itself writes after the session
    # -p no:terminal: pytest's own factory asks for an option that is gone with the plugin.
    from _pytest._io import TerminalWriter  # noqa: PLC0415 - no:terminal only

    return TerminalWriter(sys.stdout or io.StringIO())


def aftermath(controller: Controller) -> None:
    """Say where the reports are, and what was kept."""
    settings, preparation = controller.settings, controller.preparation
    writer = _writer(controller.config)
    if settings is not None and settings.report is not None:
        writer.line(f"costmgmt report: {settings.report}")
    if preparation is not None and preparation.kept:
        for line in preparation.kept.splitlines():
            writer.line(redact(line))
    writer.flush()
