"""Every ``--costmgmt-*`` option with its ini key and its ``COSTMGMT_*`` variable, in one table.

Read at the start of every pytest run, also unrelated ones: the standard library only, and a plain
class, because making a NamedTuple compiles code at each start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["text", "int", "seconds", "path", "command", "list", "flag"]


class Option:
    """One setting: ``--costmgmt-NAME``, ini ``costmgmt_name``, variable ``COSTMGMT_NAME``."""

    __slots__ = ("choices", "flag", "help", "key", "kind", "metavar", "name", "target")

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - as argparse calls it
        *,
        kind: Kind = "text",
        choices: tuple[str, ...] = (),
        metavar: str = "",
        target: bool = False,
    ) -> None:
        self.name, self.help, self.kind = name, help, kind
        self.choices, self.metavar = choices, metavar
        self.target = target
        "Does it name a target, so that on the command line it starts the suite?"
        self.flag = f"--costmgmt-{name}"
        "The command line's spelling."
        self.key = "costmgmt_" + name.replace("-", "_")
        "The ini's spelling, and the attribute of Settings without its prefix."

    @property
    def attribute(self) -> str:
        """The field of Settings."""
        return "as_user" if self.name == "as" else self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment's spelling."""
        return "COSTMGMT_" + self.name.replace("-", "_").upper()


MODES = ("embedded", "external", "release")
EFFECTS = ("read-only", "probe", "scratch", "disruptive")
PROFILES = ("preflight", "smoke", "full", "release-gate")
KEEP = ("never", "on-failure", "always")

OPTIONS: tuple[Option, ...] = (
    Option(
        "mode",
        "where the server is: embedded (our own, from nothing), external (given by"
        " --costmgmt-dsn, --costmgmt-service or PGHOST...), release (--costmgmt-namespace)",
        choices=MODES,
    ),
    Option(
        "dsn",
        "the application's login to an external server, as a URI or conninfo without password",
        metavar="DSN",
        target=True,
    ),
    Option(
        "service",
        "the name of a libpq service (pg_service.conf) that is the application's login",
        metavar="NAME",
        target=True,
    ),
    Option("namespace", "the Kubernetes namespace of a release", metavar="NS", target=True),
    Option(
        "release",
        "the Helm release that the namespace's database must be of, where it does not say so itself"
        " or to insist on it; for what deploys: its name",
        metavar="NAME",
    ),
    Option("kubeconfig", "the kubeconfig, in place of KUBECONFIG", kind="path", metavar="FILE"),
    Option("context", "the kubeconfig's context; default: its current one", metavar="NAME"),
    Option(
        "host",
        "an external server (HOST or HOST:PORT), judged from inside the namespace of"
        " --costmgmt-namespace, with the credentials of --costmgmt-secret",
        metavar="HOST",
    ),
    Option(
        "secret",
        "the Secret (database, username, password) of the server that --costmgmt-host names",
        metavar="NAME",
    ),
    Option(
        "deploy",
        "deploy the chart into the namespace, which is empty or does not exist yet; judge it, and"
        " remove what was made",
        choices=("yes", "no"),
        kind="flag",
    ),
    Option(
        "chart",
        "the chart that is deployed, or that upgrades the release (profile release-gate); default:"
        " the one of this version",
        kind="path",
        metavar="DIR",
    ),
    Option("values", "values for the chart that is deployed", kind="path", metavar="FILE"),
    Option(
        "upgrade-tag",
        "a tag of the same major version that the database's image is upgraded to, and back"
        " (profile release-gate)",
        metavar="TAG",
    ),
    Option("as", "the user to act as in the cluster, as kubectl --as", metavar="USER"),
    Option("as-group", "a group to act as (repeatable)", kind="list", metavar="GROUP"),
    Option(
        "probe-image",
        "the probe pod's image, with bash; default: the database pod's own",
        metavar="IMAGE",
    ),
    Option("probe-label", "a label for probe pods (repeatable)", kind="list", metavar="NAME=VALUE"),
    Option(
        "probe-annotation",
        "an annotation for probe pods (repeatable)",
        kind="list",
        metavar="NAME=VALUE",
    ),
    Option(
        "probe-node-selector",
        "where probe pods may run (repeatable)",
        kind="list",
        metavar="NAME=VALUE",
    ),
    Option(
        "password-file",
        "a file that holds the application's password and nothing else",
        kind="path",
        metavar="FILE",
    ),
    Option(
        "admin-dsn",
        "an administrator's login to the same server, for what the application's may not see or do",
        metavar="DSN",
    ),
    Option("admin-password-file", "a file that holds that password", kind="path", metavar="FILE"),
    Option(
        "hive-password-file",
        "a file that holds the password of role hive, so that its login can be proved",
        kind="path",
        metavar="FILE",
    ),
    Option(
        "allow",
        "the most that may be done to the target: read-only (default for an external server),"
        " probe (default for a release: pods of ours in the namespace), scratch (objects that carry"
        " the run id), disruptive",
        choices=EFFECTS,
    ),
    Option(
        "profile",
        "what to check: preflight (before an install), smoke (after a deploy), full, release-gate",
        choices=PROFILES,
    ),
    Option(
        "requirements",
        "what Cost Management needs: koku-hive (default), koku-onprem, or a TOML file",
        metavar="NAME|FILE",
    ),
    Option(
        "manage",
        'the application\'s management command, e.g. "python manage.py"',
        kind="command",
        metavar="COMMAND",
    ),
    Option(
        "migrations",
        "the manifest of expected migrations that `costmgmt migrations export` wrote",
        kind="path",
        metavar="FILE",
    ),
    Option(
        "migrate-timeout",
        "deadline of the migrations, in seconds (default 1800)",
        kind="seconds",
        metavar="SECONDS",
    ),
    Option(
        "connect-timeout",
        "deadline of each connection, in seconds (default 10)",
        kind="seconds",
        metavar="SECONDS",
    ),
    Option(
        "failed-logins",
        "how many deliberately wrong logins may be tried on an external server (default 0)",
        kind="int",
        metavar="N",
    ),
    Option(
        "accept-disk-risk",
        "yes: restore a second copy of the database though the server cannot tell whether it has"
        " the disk for it (profile full; default no)",
        choices=("yes", "no"),
    ),
    Option("postgres", "the version of the embedded server, e.g. 15 or 18", metavar="VERSION"),
    Option("bindir", "the folder of the embedded server's programs", kind="path", metavar="DIR"),
    Option("cache", "the folder for cached server files", kind="path", metavar="DIR"),
    Option(
        "keep",
        "keep what the run made: the embedded server's data and log, or the deployed release",
        choices=KEEP,
    ),
    Option("report", "write report.json and fix.sql into DIR", kind="path", metavar="DIR"),
    Option(
        "skip",
        "leave a check out, with a reason: CM-EXT-003=reason (repeatable; a MUST that is left"
        " out makes the verdict inconclusive)",
        kind="list",
        metavar="ID=REASON",
    ),
)

BY_NAME = {option.name: option for option in OPTIONS}
