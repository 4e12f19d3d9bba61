"""Helm, as a program: argument lists only, the cluster that we mean, and no secret on its way out.

It never waits for pods and never undoes (--wait, --atomic, --rollback-on-failure): those remove
the evidence, or the release.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.access import Access
from pytest_costmgmt.kubernetes.secret_objects import stripped
from pytest_costmgmt.kubernetes.trouble import HelmFailed
from pytest_costmgmt.secret import redact
from pytest_costmgmt.tied import tied

OLDEST = (3, 17)
NEWEST_MAJOR = 4
_PATIENCE = 10.0
# What would lead Helm to another cluster, namespace or user than ours.
_STEERS = re.compile(r"HELM_(KUBE.*|NAMESPACE|DEBUG)|KUBECONFIG")
_NO_WAIT = frozenset({"--wait", "--wait-for-jobs", "--atomic", "--rollback-on-failure",
                      "--create-namespace"})  # fmt: skip

PENDING = frozenset({"pending-install", "pending-upgrade", "pending-rollback"})


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One revision of a release."""

    release: str
    revision: int
    status: str
    chart: str = ""
    app_version: str = ""
    updated: str = ""
    description: str = ""

    @property
    def pending(self) -> bool:
        """Whether Helm says that an operation is, or was when it was killed, in progress."""
        return self.status in PENDING


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A helm that we can use."""

    path: str
    version: str

    @property
    def major(self) -> int:
        """3 or 4."""
        return int(self.version.partition(".")[0])


def find(given: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Program:
    """Return the helm of PATH, or the one ``given``. Raises UsageProblem if none will do."""
    found = shutil.which(str(given)) if given else shutil.which("helm", path=environ.get("PATH"))
    if found is None:
        raise UsageProblem(
            f"There is no helm at {given}." if given else "There is no helm in PATH.",
            hint=f"Install Helm {OLDEST[0]}.{OLDEST[1]} or later, or {NEWEST_MAJOR}:"
            " https://helm.sh/docs/intro/install/",
        )
    try:
        done = subprocess.run(  # noqa: S603 - an argument list
            [found, "version", "--template", "{{.Version}}"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
            encoding="utf-8", errors="replace", env=_clean(environ),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageProblem(f"{found} cannot be run: {type(error).__name__}.") from None
    version = parse_version(done.stdout)
    if version is None:
        said = redact((done.stdout + done.stderr).strip()[-300:]) or "nothing"
        raise UsageProblem(
            f"{found} is no helm that we know; asked for its version it said: {said}"
        )
    if not usable(version):
        raise UsageProblem(
            f"{found} is Helm {version}, which this is neither made nor tried for.",
            hint=f"Use Helm {OLDEST[0]}.{OLDEST[1]} or later, or {NEWEST_MAJOR}.",
        )
    return Program(path=found, version=version)


def parse_version(said: str) -> str | None:
    """Return the version in Helm's words.

    >>> parse_version("v3.19.5"), parse_version("v4.0.1+gabc"), parse_version("Usage: ...")
    ('3.19.5', '4.0.1', None)
    """
    found = re.fullmatch(r"v?(\d+\.\d+\.\d+\S*?)(\+\S*)?", said.strip())
    return found[1] if found else None


def usable(version: str) -> bool:
    """Say whether it is a Helm that we are made for.

    >>> [usable(each) for each in ("3.16.4", "3.17.0", "3.19.5", "4.0.0", "5.0.0")]
    [False, True, True, True, False]
    """
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return numbers >= OLDEST and numbers[0] <= NEWEST_MAJOR


class Helm:
    """Helm in one namespace of one cluster."""

    def __init__(
        self,
        program: Program,
        access: Access,
        namespace: str,
        *,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.program, self.namespace = program, namespace
        self._arguments = _arguments(access, namespace)
        self._environ = _clean(environ)
        if access.chosen is not None:
            self._environ["KUBECONFIG"] = os.pathsep.join(map(str, access.chosen.files))

    def releases(self) -> tuple[Revision, ...]:
        """Return the last revision of each release here, whatever its state."""
        states = ["--deployed", "--failed", "--pending", "--uninstalling", "--superseded"]
        listed = self._json("list", *states, "--max", "0")
        return tuple(
            Revision(
                release=str(each.get("name")),
                revision=int(each.get("revision") or 0),
                status=str(each.get("status") or ""),
                chart=str(each.get("chart") or ""),
                app_version=str(each.get("app_version") or ""),
                updated=str(each.get("updated") or ""),
            )
            for each in listed or ()
        )

    def status(self, release: str) -> Revision | None:
        """Return the last revision of a release, or None if there is no such release."""
        return next((each for each in self.releases() if each.release == release), None)

    def chart_name(self, chart: Path) -> str:
        """Return what a chart is called."""
        import yaml  # noqa: PLC0415 - heavy

        said = yaml.safe_load(self._run("show", "chart", str(chart)))
        return str(said.get("name") or "") if isinstance(said, dict) else ""

    def history(self, release: str) -> tuple[Revision, ...]:
        """Return all its revisions that are kept, oldest first."""
        return tuple(
            Revision(
                release=release,
                revision=int(each.get("revision") or 0),
                status=str(each.get("status") or ""),
                chart=str(each.get("chart") or ""),
                app_version=str(each.get("app_version") or ""),
                updated=str(each.get("updated") or ""),
                description=redact(str(each.get("description") or "")),
            )
            for each in self._json("history", release) or ()
        )

    def values(self, release: str, *, everything: bool = False) -> dict[str, Any]:
        """Return the values that were given, or all that apply, without known passwords."""
        found = self._json("get", "values", release, *(["--all"] if everything else []))
        return _redacted(found) if isinstance(found, dict) else {}

    def manifest(
        self, release: str, *, key: bytes, revision: int | None = None
    ) -> list[dict[str, Any]]:
        """Return what was rendered for a release, without a Secret's data; ``key`` is the run's."""
        of = [] if revision is None else ["--revision", str(revision)]
        return documents(self._run("get", "manifest", release, *of), key=key)

    def template(
        self,
        release: str,
        chart: Path,
        *,
        key: bytes,
        values: Mapping[str, Any] | None = None,
        online: bool = False,
    ) -> list[dict[str, Any]]:
        """Return what would be rendered, without a Secret's data; ``online`` looks things up."""
        dry = ["--dry-run=server"] if online else []
        given = ["template", release, str(chart), *dry, "--values", "-"]
        return documents(self._run(*given, stdin=_json(values)), key=key)

    def upgrade(
        self,
        release: str,
        chart: Path,
        *,
        values: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
        dry_run: bool = False,
        deadline: float = 300.0,
    ) -> None:
        """Install the release, or upgrade it. ``values`` go by stdin; no password is among them."""
        if wrong := sorted(_NO_WAIT & {each.partition("=")[0] for each in arguments}):
            raise ValueError(f"{', '.join(wrong)} is not for us: it removes the evidence")
        dry = ["--dry-run=server"] if dry_run else []
        given = ["upgrade", "--install", release, str(chart), "--values", "-", *dry, *arguments]
        self._run(*given, stdin=_json(values), deadline=deadline)

    def rehearse(
        self,
        release: str,
        chart: Path,
        *,
        key: bytes,
        values: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
        deadline: float = 120.0,
    ) -> list[dict[str, Any]]:
        """Return what :meth:`upgrade` would apply, without its hooks and a Secret's data.

        The cluster is asked, so that whatever the chart refuses is refused.
        """
        given = ["upgrade", "--install", release, str(chart), "--values", "-"]
        given += ["--dry-run=server", *arguments]
        said = self._json(*given, stdin=_json(values), deadline=deadline)
        manifest = said.get("manifest") if isinstance(said, dict) else None
        if not isinstance(manifest, str):
            raise HelmFailed("helm upgrade --dry-run said nothing of what it renders.", status=0)
        return documents(manifest, key=key)

    def rollback(self, release: str, revision: int, *, deadline: float = 300.0) -> None:
        """Apply the stored manifest of an earlier revision; nothing is rendered."""
        self._run("rollback", release, str(revision), deadline=deadline)

    def uninstall(self, release: str, *, deadline: float = 300.0) -> None:
        """Remove a release; what it keeps (``resource-policy: keep``), stays."""
        self._run("uninstall", release, deadline=deadline)

    def test(self, release: str, *, deadline: float = 300.0) -> str:
        """Run the release's tests; return what they said."""
        return redact(self._run("test", release, "--logs", deadline=deadline))

    def _json(self, *arguments: str, stdin: bytes = b"", deadline: float = 120.0) -> Any:
        said = self._run(*arguments, "--output", "json", stdin=stdin, deadline=deadline)
        try:
            return msgspec.json.decode(said)
        except msgspec.DecodeError:
            raise HelmFailed(
                f"helm {arguments[0]} answered, but not in JSON: {redact(said[:200])}", status=0
            ) from None

    def _run(self, *arguments: str, stdin: bytes = b"", deadline: float = 120.0) -> str:
        __tracebackhide__ = True
        argv = [self.program.path, *arguments, *self._arguments]
        process = subprocess.Popen(  # noqa: S603 - an argument list
            tied(argv),  # if we are killed, nobody goes on in our name
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
            start_new_session=True,  # a terminal's Ctrl-C reaches us, and we end it in order
        )
        status: int | None = None
        try:
            out, err = process.communicate(stdin, timeout=deadline)
            status = process.returncode
        except subprocess.TimeoutExpired:
            out, err = _ended(process)
        except BaseException:
            _ended(process)
            raise
        if status == 0:
            return out.decode("utf-8", "replace")
        raise self._failed(arguments, status, err.decode("utf-8", "replace"), deadline)

    def _failed(
        self, arguments: Sequence[str], status: int | None, said: str, deadline: float
    ) -> HelmFailed:
        how = f"did not end within {deadline:.0f} s" if status is None else "failed"
        words = redact(said.strip()[-4000:]) or "nothing"
        hint = ""
        if "another operation" in words and "in progress" in words:
            hint = "A helm that was killed leaves this; `helm history` shows which revision."
        named = " ".join(arguments[:2])
        return HelmFailed(
            f"helm {named} in namespace {self.namespace} {how}; it said:\n{words}",
            status=status,
            hint=hint,
        )


def _ended(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """End it as Helm wants it, so that it notes the release's state; then for good."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            continue
    return b"", b""


def _arguments(access: Access, namespace: str) -> list[str]:
    found = ["--namespace", namespace]
    if access.chosen is not None:
        found += ["--kube-context", access.chosen.context]
    acting = access.impersonation
    own = access.chosen.impersonation if access.chosen is not None else None
    if (acting.uid or acting.extra) and acting != own:
        raise UsageProblem(
            "Helm has no option for the uid or extra to act as, and would act as another.",
            hint="Put them into the kubeconfig (as-uid, as-user-extra), which Helm reads.",
        )
    if acting:
        found += ["--kube-as-user", acting.user]
        found += [f"--kube-as-group={group}" for group in acting.groups]
    return found


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not _STEERS.fullmatch(name)}


def _json(values: Mapping[str, Any] | None) -> bytes:
    return msgspec.json.encode(values or {})


def documents(text: str, *, key: bytes) -> list[dict[str, Any]]:
    """Return the objects in a YAML text, without the data of Secrets.

    >>> found = documents("{kind: Secret, stringData: {password: abc}}", key=b"k")
    >>> len(found), found[0]["data"]["password"].partition(",")[0]
    (1, '3 bytes')
    """
    import yaml  # noqa: PLC0415 - comes with the client, heavy

    try:
        loaded = [each for each in yaml.safe_load_all(text) if isinstance(each, dict)]
    except yaml.YAMLError:
        raise HelmFailed("What Helm rendered is no YAML.", status=0) from None
    found: list[dict[str, Any]] = stripped(loaded, key=key)
    return found


def _redacted(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _redacted(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_redacted(each) for each in found]
    return redact(found) if isinstance(found, str) else found
