"""Settings: one value from the first place that has one, or one sentence for what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.options import OPTIONS
from pytest_costmgmt.settings import Settings, resolve


def given(
    command_line: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    ini: dict[str, Any] | None = None,
    *,
    from_addopts: frozenset[str] = frozenset(),
) -> Settings:
    """Resolve what was given."""
    return resolve(command_line or {}, environ or {}, (ini or {}).get, from_addopts=from_addopts)


def test_nothing_given_means_our_own_server_and_everything_allowed() -> None:
    """The default is an embedded server, the full profile, the hive era."""
    settings = given()
    assert (settings.mode, settings.profile, settings.allow) == ("embedded", "full", "disruptive")
    assert settings.requirements == "koku-hive"
    assert set(settings.sources.values()) == {"default"}


def test_an_external_server_is_read_only_unless_more_was_allowed() -> None:
    """Law 1: a server that we did not create is read only."""
    settings = given({"dsn": "host=db user=koku"})
    assert (settings.mode, settings.profile, settings.allow) == (
        "external", "preflight", "read-only",
    )  # fmt: skip


def test_the_command_line_wins_over_the_environment_over_ini() -> None:
    """Command line > environment > ini > default, and the source is kept."""
    ini = {"costmgmt_profile": "preflight", "costmgmt_keep": "always"}
    environ = {"COSTMGMT_PROFILE": "smoke"}
    settings = given({"profile": "full"}, environ, ini)
    assert (settings.profile, settings.source("profile")) == ("full", "command line")
    settings = given({}, environ, ini)
    assert (settings.profile, settings.source("profile")) == ("smoke", "environment")
    assert (settings.keep, settings.source("keep")) == ("always", "ini")


def test_zero_is_a_value() -> None:
    """A falsy value on the command line is not 'not given'."""
    assert given({"failed-logins": "0", "dsn": "host=a"}, {"COSTMGMT_FAILED_LOGINS": "3"}
                 ).failed_logins == 0  # fmt: skip


def test_what_addopts_brought_is_told_apart() -> None:
    """A value that came by addopts does not pose as typed."""
    settings = given({"keep": "always"}, from_addopts=frozenset({"keep"}))
    assert settings.source("keep") == "addopts"


@pytest.mark.parametrize(
    ("command_line", "environ", "words"),
    [
        ({"mode": "cluster"}, {}, ("embedded", "external or release")),
        ({"profile": "all"}, {}, ("preflight", "release-gate")),
        ({"dsn": "host=a", "service": "b"}, {}, ("--costmgmt-dsn", "--costmgmt-service")),
        ({"dsn": "host=a", "namespace": "b"}, {}, ("--costmgmt-namespace",)),
        ({"mode": "embedded", "dsn": "host=a"}, {}, ("contradicts",)),
        ({"mode": "external"}, {}, ("PGHOST", "--costmgmt-dsn")),
        ({"mode": "release"}, {}, ("--costmgmt-namespace",)),
        ({"namespace": "ns", "admin-dsn": "host=a"}, {}, ("--costmgmt-admin-dsn", "namespace")),
        ({"namespace": "ns", "bindir": "/usr/bin"}, {}, ("--costmgmt-bindir", "namespace")),
        ({"dsn": "host=a", "context": "prod"}, {}, ("--costmgmt-context", "external server")),
        ({"probe-label": ["a=b"]}, {}, ("--costmgmt-probe-label", "embedded")),
        ({"namespace": "ns", "probe-label": ["a"]}, {}, ("--costmgmt-probe-label", "NAME=VALUE")),
        ({"deploy": "yes"}, {}, ("--costmgmt-deploy", "embedded")),
        ({"release": "mine"}, {}, ("--costmgmt-release", "embedded")),
        (
            {"namespace": "ns", "host": "db", "secret": "s", "release": "mine"},
            {},
            ("--costmgmt-release", "--costmgmt-host"),
        ),
        (
            {"namespace": "ns", "host": "db", "secret": "s", "deploy": "yes"},
            {},
            ("--costmgmt-host",),
        ),
        ({"namespace": "ns", "host": "db"}, {}, ("--costmgmt-secret",)),
        ({"namespace": "ns", "secret": "s"}, {}, ("--costmgmt-host",)),
        ({"dsn": "host=a", "host": "db", "secret": "s"}, {}, ("--costmgmt-host",)),
        (
            {"namespace": "ns", "host": "db", "secret": "s", "allow": "read-only"},
            {},
            ("--costmgmt-dsn",),
        ),
        ({"namespace": "ns", "profile": "full"}, {}, ("--costmgmt-allow=scratch",)),
        ({"dsn": "host=a", "profile": "full"}, {}, ("--costmgmt-allow=scratch",)),
        ({"dsn": "host=a", "bindir": "/usr/bin"}, {}, ("--costmgmt-bindir",)),
        ({"admin-dsn": "host=a"}, {}, ("--costmgmt-admin-dsn", "embedded")),
        ({"failed-logins": "-1"}, {}, ("whole number",)),
        ({"connect-timeout": "soon", "dsn": "host=a"}, {}, ("number of seconds",)),
        ({"connect-timeout": "0", "dsn": "host=a"}, {}, ("number of seconds",)),
        ({"connect-timeout": "nan", "dsn": "host=a"}, {}, ("number of seconds",)),
        ({"skip": ["CM-EXT-003"]}, {}, ("no reason",)),
        ({"manage": "python 'manage.py"}, {}, ("command line",)),
        ({"requirements": "  "}, {}, ("empty",)),
        ({}, {"COSTMGMT_KEEP": "sometimes"}, ("COSTMGMT_KEEP", "on-failure")),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    command_line: dict[str, Any], environ: dict[str, str], words: tuple[str, ...]
) -> None:
    """Contradictory and unknown values name themselves and the valid choices."""
    with pytest.raises(UsageProblem) as caught:
        given(command_line, environ)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_option_has_a_field() -> None:
    """The table and the Settings agree."""
    assert {option.attribute for option in OPTIONS} <= set(Settings.__struct_fields__)


def test_a_dsn_is_never_printed_with_what_it_may_hold() -> None:
    """A DSN from the environment may hold a password, so Settings never shows one."""
    settings = given({}, {"COSTMGMT_DSN": "host=db user=koku password=tr0ub4dor&3"})
    assert "tr0ub4dor" not in repr(settings)
