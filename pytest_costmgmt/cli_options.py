"""Options of commands, apart from those of the plugin: decorators, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

RELEASING = (
    "create_namespace", "timeout", "migrate_volume", "backup_to",
)  # fmt: skip
"What :func:`releasing` gives."


def _given(function: Any, options: tuple[Any, ...]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function


def releasing(function: Any) -> Any:
    """Give a command the options of what deploys a release."""
    path = click.Path(path_type=Path)
    options = (
        click.option("--create-namespace", is_flag=True, help="create the namespace if it is not"),
        click.option(
            "--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
            help="how long the database's pod may take to get ready (default 600)",
        ),
        click.option(
            "--migrate-volume", is_flag=True,
            help="move data that an older chart keeps off its volume onto it, before the upgrade",
        ),
        click.option(
            "--backup-to", type=path, metavar="DIR",
            help="with --migrate-volume: where the backup goes; default: the working folder",
        ),
    )  # fmt: skip
    return _given(function, options)


def clustered(function: Any) -> Any:
    """Give a command the options of a release's namespace, as kubectl has them."""
    options = (
        click.option("--namespace", metavar="NS", help="in place of TARGET: a release there"),
        click.option(
            "--kubeconfig", type=click.Path(path_type=Path), metavar="FILE",
            help="with --namespace; default: as kubectl finds it",
        ),
        click.option("--context", metavar="NAME", help="default: the kubeconfig's current one"),
        click.option("--as", "as_user", metavar="USER", help="act as another user"),
        click.option(
            "--as-group", metavar="GROUP", multiple=True,
            help="and as a member of a group (repeatable)",
        ),
    )  # fmt: skip
    return _given(function, options)


def backing_up(function: Any) -> Any:
    """Give a command the options of what backs up."""
    options = (
        click.option(
            "--out",
            required=True,
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="the new folder for the backup",
        ),
        click.option(
            "--password-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="a file, mode 0600, with the role's password",
        ),
        click.option(
            "--bindir",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="where pg_dump and pg_restore are; default: those that fit the server best",
        ),
        click.option("--jobs", type=click.IntRange(1), metavar="N", help="default: the cores"),
        click.option(
            "--compress",
            type=click.Choice(["none", "gzip", "lz4", "zstd"]),
            help="default: the best fast one that the programs have",
        ),
        click.option(
            "--with-role-passwords",
            is_flag=True,
            help="keep the roles' password verifiers too (needs a superuser)",
        ),
        click.option(
            "--restore-into",
            metavar="VERSION",
            help="the PostgreSQL that it is for, if it is newer than the server",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            default=86400,
            show_default=True,
            help="deadline for all of it",
        ),
        click.option(
            "--lock-timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            default=60,
            show_default=True,
            help="how long a lock of others is waited for",
        ),
        click.option(
            "--connect-timeout",
            type=click.FloatRange(0, min_open=True),
            metavar="SECONDS",
            default=10,
            show_default=True,
            help="deadline for the first connection",
        ),
    )
    return _given(function, options)


def restoring(function: Any) -> Any:
    """Give a command the options of whatever restores."""
    seconds = click.FloatRange(0, min_open=True)
    options = (
        click.option(
            "--password-file", type=click.Path(path_type=Path), metavar="FILE",
            help="a file, mode 0600, with the role's password",
        ),
        click.option(
            "--bindir", type=click.Path(path_type=Path), metavar="DIR",
            help="where pg_restore is; default: one that fits archive and server best",
        ),
        click.option("--jobs", type=click.IntRange(1), metavar="N", help="default: the cores"),
        click.option(
            "--accept-disk-risk", is_flag=True,
            help="the server has the disk for another copy, which cannot be seen from here",
        ),
        click.option(
            "--timeout", type=seconds, metavar="SECONDS", default=7 * 86400, show_default=True,
            help="deadline for each step",
        ),
        click.option(
            "--connect-timeout", type=seconds, metavar="SECONDS", default=10, show_default=True,
            help="deadline for the first connection",
        ),
    )  # fmt: skip
    return _given(function, options)
