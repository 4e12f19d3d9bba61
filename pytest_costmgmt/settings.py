"""Frozen Settings, and where each value came from: command line > environment > ini > default."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.options import BY_NAME, EFFECTS, OPTIONS, Option
from pytest_costmgmt.secret import Secret

Source = Literal["command line", "addopts", "environment", "ini", "default"]
Effect = Literal["read-only", "probe", "scratch", "disruptive"]
Profile = Literal["preflight", "smoke", "full", "release-gate"]

# The largest effect of a check in each profile (DESIGN: "What a check is").
EFFECT_OF_PROFILE: Mapping[str, str] = {
    "preflight": "read-only",
    "smoke": "probe",
    "full": "scratch",
    "release-gate": "disruptive",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator asked for, resolved once, in the controller.

    ``dsn`` and ``admin_dsn`` may hold a password when they come from the environment, so they
    are Secrets until ``postgres.dsn`` has parsed them.
    """

    mode: str
    dsn: Secret | None
    service: str | None
    namespace: str | None
    release: str | None
    kubeconfig: Path | None
    context: str | None
    host: str | None
    secret: str | None
    deploy: bool
    chart: Path | None
    values: Path | None
    upgrade_tag: str | None
    as_user: str | None
    as_group: tuple[str, ...]
    probe_image: str | None
    probe_label: dict[str, str]
    probe_annotation: dict[str, str]
    probe_node_selector: dict[str, str]
    password_file: Path | None
    admin_dsn: Secret | None
    admin_password_file: Path | None
    hive_password_file: Path | None
    allow: str
    profile: str
    requirements: str
    manage: tuple[str, ...]
    migrations: Path | None
    migrate_timeout: float
    connect_timeout: float
    failed_logins: int | None
    postgres: str | None
    bindir: Path | None
    cache: Path | None
    keep: str
    report: Path | None
    skip: dict[str, str]
    sources: dict[str, Source]
    accept_disk_risk: bool = False

    def allows(self, effect: str) -> bool:
        """Say whether the operator allows what has this effect."""
        return EFFECTS.index(effect) <= EFFECTS.index(self.allow)

    def source(self, name: str) -> Source:
        """Return where the value of option ``name`` came from."""
        return self.sources.get(name, "default")


def resolve(
    command_line: Mapping[str, Any],
    environ: Mapping[str, str],
    ini: Callable[[str], Any],
    *,
    from_addopts: Collection[str] = (),
) -> Settings:
    """Return the Settings; each value from the first place that has one.

    ``command_line`` maps option names to values or None; ``ini`` returns an ini key's value or
    None; the names in ``from_addopts`` came to the command line by addopts or PYTEST_ADDOPTS.
    Raises UsageProblem: one sentence, and the valid choices.
    """
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    for option in OPTIONS:
        given, source = _first(option, command_line, environ, ini)
        if source == "command line" and option.name in from_addopts:
            source = "addopts"
        sources[option.name] = source
        values[option.name] = None if given is None else _typed(option, given, source)
    return _settled(values, sources, environ)


def _first(
    option: Option,
    command_line: Mapping[str, Any],
    environ: Mapping[str, str],
    ini: Callable[[str], Any],
) -> tuple[Any, Source]:
    if (value := command_line.get(option.name)) is not None:
        return value, "command line"
    if (value := environ.get(option.variable)) is not None:
        return value, "environment"
    if (value := ini(option.key)) is not None:
        return value, "ini"
    return None, "default"


def spelling(option: Option, source: Source) -> str:
    """Return how the operator wrote the option in that place."""
    return {"environment": option.variable, "ini": option.key}.get(source, option.flag)


def _typed(option: Option, given: Any, source: Source) -> Any:
    name = spelling(option, source)
    if option.kind == "list":
        return list(given) if isinstance(given, (list, tuple)) else str(given).splitlines()
    if isinstance(given, (list, tuple)):  # a native TOML list for a command
        given = shlex.join(str(part) for part in given)
    text = str(given).strip()
    if not text:
        raise UsageProblem(f"{name} is empty: give it a value or leave it out.")
    if option.choices and text not in option.choices:
        raise UsageProblem(
            f"{name} is {text!r}, which is unknown: choose {_words(option.choices)}."
        )
    if option.kind == "path":
        return Path(text).expanduser()
    if option.kind == "command":
        return _command(name, text)
    if option.kind in {"int", "seconds"}:
        return _number(option, name, text)
    return text


def _command(name: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageProblem(f"{name} cannot be read as a command line ({error}).") from None


def _number(option: Option, name: str, text: str) -> int | float:
    whole = option.kind == "int"
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = -1
    least_is_zero = whole
    if not (number >= 0 if least_is_zero else 0 < number < 10**7):
        wanted = "a whole number from 0 on" if whole else "a number of seconds above 0"
        raise UsageProblem(f"{name} is {text!r}: it takes {wanted}.")
    return number


def _words(choices: Sequence[str]) -> str:
    return ", ".join(choices[:-1]) + " or " + choices[-1]


_ALLOWED = {"embedded": "disruptive", "external": "read-only", "release": "probe"}
_PROFILE = {"embedded": "full", "external": "preflight", "release": "smoke"}


def _settled(
    values: dict[str, Any], sources: dict[str, Source], environ: Mapping[str, str]
) -> Settings:
    mode = _mode(values, environ)
    deploy = values["deploy"] == "yes"
    allow = values["allow"] or ("scratch" if deploy else _ALLOWED[mode])
    profile = values["profile"] or ("full" if deploy else _PROFILE[mode])
    if deploy and values["host"] is not None:
        raise UsageProblem(
            "--costmgmt-deploy makes a server, and --costmgmt-host names one: give one of them."
        )
    if values["release"] is not None and values["host"] is not None:
        raise UsageProblem(
            "--costmgmt-release names a release in the namespace, and --costmgmt-host a server"
            " outside, which is none: give one of them."
        )
    needed = EFFECT_OF_PROFILE[profile]
    if EFFECTS.index(needed) > EFFECTS.index(allow) and needed != "probe":
        raise UsageProblem(
            f"profile {profile} has checks with effect {needed}, but {allow} is all that is"
            f" allowed: give --costmgmt-allow={needed}, or --costmgmt-profile=smoke or preflight."
        )
    if values["host"] is not None and allow == "read-only":
        raise UsageProblem(
            "--costmgmt-host is judged from a pod in the namespace, and --costmgmt-allow=read-only"
            " makes none: leave that out, or name the server by --costmgmt-dsn."
        )
    dsn, admin_dsn = values["dsn"], values["admin-dsn"]
    plain = {
        BY_NAME[name].attribute: values[name]
        for name in (
            "service", "namespace", "release", "kubeconfig", "context", "host", "secret",
            "chart", "values", "upgrade-tag", "as", "probe-image",
            "password-file", "admin-password-file", "hive-password-file", "migrations",
            "postgres", "bindir", "cache", "report", "failed-logins",
        )
    }  # fmt: skip
    return Settings(
        mode=mode,
        allow=allow,
        profile=profile,
        dsn=_dsn(dsn),
        admin_dsn=_dsn(admin_dsn),
        requirements=values["requirements"] or "koku-hive",
        manage=values["manage"] or (),
        migrate_timeout=values["migrate-timeout"] or 1800.0,
        connect_timeout=values["connect-timeout"] or 10.0,
        keep=values["keep"] or "never",
        deploy=deploy,
        accept_disk_risk=values["accept-disk-risk"] == "yes",
        as_group=tuple(values["as-group"] or ()),
        probe_label=_pairs("probe-label", values["probe-label"]),
        probe_annotation=_pairs("probe-annotation", values["probe-annotation"]),
        probe_node_selector=_pairs("probe-node-selector", values["probe-node-selector"]),
        skip=_skips(values["skip"] or []),
        sources=sources,
        **plain,
    )


def _dsn(text: str | None) -> Secret | None:
    """Return a DSN; its password is known by value once it is parsed.

    Without one the report must be able to say what it says: "dbname=koku" is no secret.
    """
    if text is None:
        return None
    return Secret(text, by_value="@" in text or "pass" in text.lower())


def _mode(values: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    external = [n for n in ("dsn", "service") if values[n] is not None]
    if len(external) > 1:
        raise UsageProblem("--costmgmt-dsn and --costmgmt-service both name a server: give one.")
    if external and values["namespace"] is not None:
        raise UsageProblem(
            f"--costmgmt-{external[0]} and --costmgmt-namespace both name a target: give one."
        )
    implied = "external" if external else "release" if values["namespace"] else None
    mode = values["mode"] or implied or "embedded"
    if implied is not None and mode != implied:
        wrong = external[0] if external else "namespace"
        raise UsageProblem(
            f"--costmgmt-mode={mode} contradicts --costmgmt-{wrong}, which means {implied}:"
            " leave one of them out."
        )
    if mode == "external" and not external and not _libpq_names_a_server(environ):
        raise UsageProblem(
            "--costmgmt-mode=external names no server: give --costmgmt-dsn, --costmgmt-service,"
            " or PGHOST (or PGHOSTADDR, PGSERVICE) in the environment."
        )
    if mode == "release" and values["namespace"] is None:
        raise UsageProblem("--costmgmt-mode=release names no release: give --costmgmt-namespace.")
    if (values["host"] is None) != (values["secret"] is None):
        lacking = "secret" if values["secret"] is None else "host"
        raise UsageProblem(
            "--costmgmt-host and --costmgmt-secret go together: the server, and the Secret in the"
            f" namespace with its credentials; --costmgmt-{lacking} is missing."
        )
    if given := _misplaced(values, mode):
        raise UsageProblem(
            f"--costmgmt-{given} is for {_TARGETS[_ONLY_FOR[given]]}, but the target is"
            f" {_TARGETS[mode]}: leave one of them out, or name the other target"
            " (--costmgmt-dsn, --costmgmt-service, --costmgmt-namespace; none: embedded)."
        )
    return str(mode)


_TARGETS = {
    "embedded": "the embedded server",
    "external": "an external server",
    "release": "a release in a namespace",
}
_ONLY_FOR = {
    **dict.fromkeys(("password-file", "admin-dsn", "admin-password-file"), "external"),
    **dict.fromkeys(("bindir", "postgres"), "embedded"),
    **dict.fromkeys(
        ("release", "kubeconfig", "context", "host", "secret", "deploy", "chart", "values",
         "upgrade-tag", "as", "as-group", "probe-image", "probe-label", "probe-annotation",
         "probe-node-selector"),
        "release",
    ),
    "hive-password-file": "external",
}  # fmt: skip


def _misplaced(values: Mapping[str, Any], mode: str) -> str | None:
    """Return the first option that was given for another sort of target."""
    for name, only in _ONLY_FOR.items():
        shared = name == "hive-password-file" and mode == "release"
        if values[name] is not None and mode != only and not shared:
            return name
    return None


def _libpq_names_a_server(environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE"))


def _pairs(name: str, given: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not key.strip() or not equals:
            raise UsageProblem(f"--costmgmt-{name}={text} is no pair: write it as NAME=VALUE.")
        pairs[key.strip()] = value.strip()
    return pairs


def _skips(given: Sequence[str]) -> dict[str, str]:
    skips = {}
    for line in filter(None, (text.strip() for text in given)):
        check, _, reason = line.partition("=")
        if not check.strip() or not reason.strip():
            raise UsageProblem(
                f"--costmgmt-skip={line} has no reason: write it as CM-EXT-003=why it is left out."
            )
        skips[check.strip()] = reason.strip()
    return skips


def environment() -> Mapping[str, str]:
    """Return this process's environment."""
    return os.environ
