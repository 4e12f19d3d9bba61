"""The second line against secrets: what pytest writes is redacted by value.

The first is their type, which never prints. This one stands around the reports, warnings, logs
and tracebacks that pytest makes of everybody's exceptions. Loaded where the suite runs, or when
the first of our fixtures is used; other runs never see these hooks.
"""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Any

import pytest

from pytest_costmgmt.secret import redact

NAME, INNER = "costmgmt-redaction", "costmgmt-redaction-inner"
_DEEPEST = 60
# Whose representations are known well enough to be changed in place.
_KNOWN = ("_pytest.", "allure_commons.")


def enter(config: pytest.Config) -> None:
    """Have all that pytest writes from now on redacted."""
    if config.pluginmanager.has_plugin(NAME):
        return
    config.pluginmanager.register(Inner(), INNER)
    outer = Outer(config)
    config.pluginmanager.register(outer, NAME)
    outer.filter_logs()
    if config.pluginmanager.has_plugin("allure_listener"):
        _before_allure(config)
    if not isinstance(sys.excepthook, _Crash):
        sys.excepthook = _Crash(sys.excepthook)
    if warnings.formatwarning is not _Warned.format:
        _Warned.before, warnings.formatwarning = warnings.formatwarning, _Warned.format


def _before_allure(config: pytest.Config) -> None:
    """Redact what Allure writes of a test that is no check: parameters and steps too."""
    import allure_commons  # noqa: PLC0415 - if active

    class Cleaner:
        @allure_commons.hookimpl(tryfirst=True)
        def report_result(self, result: Any) -> None:
            clean(result)

        @allure_commons.hookimpl(tryfirst=True)
        def report_container(self, container: Any) -> None:
            clean(container)

    cleaner = Cleaner()
    allure_commons.plugin_manager.register(cleaner)
    config.add_cleanup(lambda: allure_commons.plugin_manager.unregister(cleaner))


class Inner:
    """Redacts at the source, before other plugins look: Allure reads exception and sections."""

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Redact the exception, then what pytest made of it."""
        if call.excinfo is not None:
            clean_exception(call.excinfo.value)
        report = yield
        clean_report(report)
        return report


class Outer:
    """Redacts what others added, and what is no report."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Redact what other plugins put into the report."""
        report = yield
        clean_report(report)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(
        self,
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Redact the traceback of a module that cannot be imported."""
        report = yield
        clean_report(report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Take secrets out of test ids before anybody knows the tests by them."""
        clean_ids(items)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Come to stand around the wrappers of all plugins that were registered meanwhile."""
        manager = self.config.pluginmanager
        manager.unregister(self)
        manager.register(self, NAME)
        self.filter_logs()
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Generator[None, None, None]:
        """Redact the log from here on: provisioning comes next."""
        self.filter_logs()
        return (yield)

    def filter_logs(self) -> None:
        """Put our filter on pytest's log handlers: captured, --log-file and live."""
        for handler in _handlers(self.config):
            if not any(isinstance(each, RedactingFilter) for each in handler.filters):
                handler.addFilter(RedactingFilter())

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: Any) -> None:
        """Redact a warning before the terminal, or a worker's controller, hears of it."""
        warning_message.message = _clean_warning(warning_message.message)

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self, excrepr: Any, excinfo: Any) -> None:
        """Redact the traceback of a crash, ours or another plugin's."""
        clean_exception(excinfo.value)
        clean(excrepr)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_keyboard_interrupt(self, excinfo: Any) -> Generator[None, None, None]:
        """Redact the full trace that an interrupt leaves."""
        clean_exception(excinfo.value)
        yield
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        clean(getattr(reporter, "_keyboardinterrupt_memo", None))


def _handlers(config: pytest.Config) -> Iterator[logging.Handler]:
    """Yield pytest's own log handlers: captured, --log-file and live."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    for value in vars(plugin).values() if plugin is not None else ():
        if isinstance(value, logging.Handler):
            yield value


class RedactingFilter(logging.Filter):
    """Lets every record pass, without secrets; one that holds none is left as it is."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact message, traceback and stack."""
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments: logging tells of it itself
            return True
        if (safe := redact(said)) != said:
            record.msg, record.args = safe, ()
        if record.exc_info and not record.exc_text:
            text = logging.Formatter().formatException(record.exc_info)
            if (safe := redact(text)) != text:
                record.exc_text = safe
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


class _Warned:
    """Python's own text of a warning that pytest does not catch, redacted."""

    before: Callable[..., str]

    @staticmethod
    def format(*arguments: Any, **named: Any) -> str:
        return redact(_Warned.before(*arguments, **named))


class _Crash:
    """Python's own last word on an exception that nobody caught, redacted."""

    def __init__(self, before: Any) -> None:
        self.before = before

    def __call__(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        if (safe := redact(text)) == text:
            self.before(kind, error, trace)
        else:
            sys.stderr.write(safe)


def known_before_collection(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take a target's passwords out of the ids of tests that use our fixtures."""
    names = {name for item in items for name in getattr(item, "fixturenames", ())}
    if not any(name.startswith("costmgmt_") for name in names):
        return
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - it uses this module

    user_fixtures.learn_secrets(config)
    clean_ids(items)


def clean_ids(items: list[pytest.Item]) -> None:
    """Redact the names by which tests are known."""
    for item in items:
        if (safe := redact(item.nodeid)) != item.nodeid:
            # There is no public way. pytest 9.2 keeps a parsed id, older ones keep the text.
            parsed = getattr(item, "_id", None)
            if parsed is None:
                item._nodeid = safe  # type: ignore[attr-defined]  # noqa: SLF001
            else:
                item._id = type(parsed).parse(safe)  # noqa: SLF001
            item.name = redact(item.name)


def clean_report(report: Any) -> None:
    """Redact everything that a report carries."""
    report.longrepr = clean(report.longrepr)
    report.sections = [(redact(title), redact(text)) for title, text in report.sections]
    if (properties := getattr(report, "user_properties", None)) is not None:
        properties[:] = [(redact(str(name)), clean(value)) for name, value in properties]
    if isinstance(keywords := getattr(report, "keywords", None), dict):
        for word in [word for word in keywords if redact(word) != word]:
            keywords[redact(word)] = keywords.pop(word)


def clean(thing: Any, *, depth: int = 0) -> Any:
    """Return ``thing`` redacted: text, containers, and pytest's representations in place.

    Lines are redacted together: a secret may have been broken at its own line breaks.
    """
    if isinstance(thing, str):
        return thing if (safe := redact(thing)) == thing else safe  # an Enum stays one
    if depth > _DEEPEST:
        return thing
    if isinstance(thing, list):
        _clean_list(thing, depth)
        return thing
    if isinstance(thing, dict):
        return {clean(k, depth=depth + 1): clean(v, depth=depth + 1) for k, v in thing.items()}
    if type(thing) is tuple:
        return tuple(clean(each, depth=depth + 1) for each in thing)
    if type(thing).__module__.startswith(_KNOWN) and hasattr(thing, "__dict__"):
        for name, value in vars(thing).items():
            if isinstance(value, (str, list, tuple, dict)) or hasattr(value, "__dict__"):
                object.__setattr__(thing, name, clean(value, depth=depth + 1))
    return thing


def _clean_list(things: list[Any], depth: int) -> None:
    if not all(isinstance(each, str) for each in things):
        things[:] = [clean(each, depth=depth + 1) for each in things]
        return
    # Python's own traceback has its line ends in it, pytest's lines have none.
    ended = len(things) > 1 and things[0].endswith("\n")
    text = "".join(things) if ended else "\n".join(things)
    if (safe := redact(text)) != text:
        things[:] = [safe] if ended else safe.split("\n")


def clean_exception(error: BaseException | None) -> None:
    """Redact the words of an exception and of those that led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        _clean_words(one)


def _clean_words(error: BaseException) -> None:
    try:
        safe = tuple(redact(a) if isinstance(a, str) else a for a in error.args)
        if safe != error.args:
            error.args = safe
        for name in ("msg", "message", "hint", "__notes__"):
            if isinstance(said := vars(error).get(name), (str, list)):
                setattr(error, name, clean(said))
    except Exception:  # noqa: BLE001 - an exception with odd attributes: the report is redacted
        return


def _clean_warning(said: Any) -> Any:
    text = str(said)
    if (safe := redact(text)) == text:
        return said
    if isinstance(said, Warning):
        clean_exception(said)
        return said if redact(str(said)) == str(said) else UserWarning(safe)
    return safe
