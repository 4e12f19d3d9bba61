"""Credentials: present, whole, safe where koku puts them, and seen by nobody else."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.credentials import Credential, CredentialFacts
from pytest_costmgmt.facts.roles import RoleFacts
from pytest_costmgmt.judge.authentication import bare_method
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.appraise import Appraisal
from pytest_costmgmt.requirements.model import Requirements

APPLICATION = ("application", "hive")
SHORTEST = 8
"Characters; a shorter password is not masked in reports, where it would be part of other words."

Wrong = Callable[[Appraisal, str], str]
"Says what is wrong with the password of 'application' or 'hive', or nothing."


def present(facts: CredentialFacts, access: AccessFacts, roles: RoleFacts) -> Judgement:
    """Judge that each role has a password, which is not empty, and that the server has one too.

    Who is let in by another proof (a certificate, a directory's word) needs none in the server.
    """
    examined, findings, unverified = [], [], []
    for credential in filter(None, map(facts.of, APPLICATION)):
        shape = credential.shape
        if shape is not None and not shape.length:
            problem = "it is empty"
        else:
            problem = "the server has none" if _unstored(credential, access, roles) else ""
        if shape is None and not problem:
            # The application's is not needed if it is let in without one; hive's is not ours.
            if credential.who == "hive":
                unverified.append(_unknown(credential))
            continue
        examined.append(f"password of role {credential.role}")
        if problem:
            findings.append(_finding(credential, problem, "a password"))
    if not examined and not unverified:
        return _nothing_known()
    return judgement(examined, findings, unverified=unverified, summary="passwords are given")


def _unstored(credential: Credential, access: AccessFacts, roles: RoleFacts) -> bool:
    """Say whether the server keeps no password of a role that nothing but trust lets in."""
    seen = access.application if credential.who == "application" else access.hive
    stored = {verifier.role: verifier.kind for verifier in roles.verifiers or ()}
    if seen is None or stored.get(credential.role) != "none":
        return False
    return not seen.accepted or bare_method(seen, access) == "trust"


def whole(facts: CredentialFacts) -> Judgement:
    """Judge that no line end, blank or control character slipped into a password."""
    return _judged(
        facts,
        _stray,
        summary="no stray characters",
        expected="a password without line ends, outer blanks and control characters",
        hint="# A file written by echo ends in a newline, a Secret made of it too: use printf.\n",
    )


def _stray(shape: Appraisal, _who: str) -> str:
    if shape.newline:
        return "it holds a line end"
    if shape.outer_space:
        return "it begins or ends with a blank"
    return "it holds a control character" if shape.control else ""


def survives_koku(facts: CredentialFacts, requirements: Requirements) -> Judgement:
    """Judge that koku's migration 0039, which pastes passwords unquoted, reads them back."""
    if requirements.hive.policy != "required":
        return not_supported(f"{requirements.name} makes no URI of the password")

    return _judged(
        facts,
        _unquotable,
        summary="passwords survive koku's unquoted URI and SQL",
        expected="a password without the characters @ / % ' \\ and blanks",
    )


def _unquotable(shape: Appraisal, who: str) -> str:
    if who == "hive":
        return "it ends the quotes in koku's CREATE ROLE" if shape.breaks_sql else ""
    return "libpq reads another one out of koku's URI" if shape.breaks_uri else ""


def plain(facts: CredentialFacts) -> Judgement:
    """Judge that passwords are made of characters that no URI needs to quote."""
    return _judged(
        facts,
        lambda shape, _: "" if shape.unreserved else "it holds characters that a URI must quote",
        summary="passwords need no quoting anywhere",
        expected="only letters, digits and - . _ ~",
    )


def not_trivial(facts: CredentialFacts) -> Judgement:
    """Judge that no password is among those that are tried first."""
    return _judged(
        facts,
        _trivial,
        summary="no password is a name or among the usual ones",
        expected="a password that nobody guesses",
    )


def _trivial(shape: Appraisal, _who: str) -> str:
    if shape.is_name:
        return "it is the name of a role or database"
    return "it is among those that are tried first" if shape.guessable else ""


def long_enough(facts: CredentialFacts) -> Judgement:
    """Judge that passwords can be masked by value, and are not quickly tried through."""
    return _judged(
        facts,
        lambda shape, _: "" if shape.length >= SHORTEST else "it is shorter",
        summary=f"{SHORTEST} characters or more",
        expected=f"{SHORTEST} characters or more",
    )


def hive_default(
    facts: CredentialFacts, access: AccessFacts, requirements: Requirements
) -> Judgement:
    """Judge that hive's password is none that the requirements forbid (koku's default, hive)."""
    if requirements.hive.policy != "required":
        return not_supported(f"{requirements.name} forbids {requirements.hive.role}")
    hive = facts.of("hive")
    refused = access.hive is not None and not access.hive.accepted
    if hive is not None and hive.shape is not None and not (refused and access.guessed):
        found = [_finding(hive, "it is koku's default", "another one")] * hive.shape.forbidden
        return judgement(["password of hive"], found, summary="it is not koku's default")
    if not access.guessed:
        unverified = Unverified(
            what="whether hive's password is koku's default",
            who="who has its password, or may cause failed logins",
            how="--costmgmt-hive-password-file, or --costmgmt-failed-logins=2 to try it",
        )
        return judgement((), unverified=[unverified])
    if failed := [seen for seen in access.guessed if seen.outcome == "failed"]:
        raise FactUnavailable(f"koku's default was tried for hive: {failed[0].message}")
    role = Credential(who="hive", role=requirements.hive.role)
    in_use = any(seen.accepted for seen in access.guessed)
    return judgement(
        [f"login of {seen.role} by a forbidden password" for seen in access.guessed],
        [_finding(role, "koku's default was let in", "another one")] * in_use,
        summary="koku's default was refused",
    )


def private_files(facts: CredentialFacts) -> Judgement:
    """Judge that no file with a password can be read by others."""
    if not facts.files:
        return not_supported("no file with a password is in use")
    findings = [
        Finding(
            summary=f"{file.what} can be read by others",
            expected="mode 0600 or less",
            found=f"{file.path} has mode {file.mode:04o}",
            fix=Fix(kind="shell", text=f"chmod 600 {shlex.quote(file.path)}", needs="its owner"),
        )
        for file in facts.files
        if file.open_to_others
    ]
    names = [f"{file.what}: {file.path}" for file in facts.files]
    return judgement(names, findings, summary="0600 or less")


def unseen_in_arguments(facts: CredentialFacts) -> Judgement:
    """Judge that no process of ours shows a password in its arguments."""
    known = [found for found in facts.credentials if found.shape is not None]
    if not known:
        return _nothing_known()
    if any(found.shown_by is None for found in known):
        unverified = Unverified(
            what="the arguments of processes",
            who="a system with /proc",
            how="run it on Linux, or look with ps",
        )
        return judgement((), unverified=[unverified])
    findings = [
        Finding(
            summary=f"the password of role {found.role} is in a process's arguments",
            expected="no password in arguments, which every local user can read",
            found=f"shown by {process}",
            fix=Fix(
                kind="values",
                text="# give it by PGPASSFILE, a service file or --costmgmt-password-file, then"
                " change it: it was readable",
                needs="whoever started the process",
            ),
        )
        for found in known
        for process in found.shown_by or ()
    ]
    return judgement(
        [f"arguments for the password of role {found.role}" for found in known],
        findings,
        summary="in no arguments of this run's processes",
    )


def _judged(
    facts: CredentialFacts,
    wrong: Wrong,
    *,
    summary: str,
    expected: str,
    hint: str = "",
) -> Judgement:
    """Judge each known password of the application's roles."""
    examined, findings = [], []
    for who in APPLICATION:
        credential = facts.of(who)
        if credential is None or credential.shape is None:
            continue
        examined.append(f"password of role {credential.role}")
        if problem := wrong(credential.shape, who):
            findings.append(_finding(credential, problem, expected, hint))
    if not examined:
        return _nothing_known()
    return judgement(examined, findings, summary=summary)


def _unknown(credential: Credential) -> Unverified:
    return Unverified(
        what=f"the password of role {credential.role}",
        who="who has it",
        how=f"give it by --costmgmt-{credential.who}-password-file",
    )


def _nothing_known() -> Judgement:
    return not_supported("the login works without a password: there is none to judge")


def _finding(credential: Credential, problem: str, expected: str, hint: str = "") -> Finding:
    role = ident(credential.role)
    return Finding(
        summary=f"the password of role {credential.role}: {problem}",
        expected=expected,
        found=problem,
        fix=Fix(
            # Not for fix.sql: without a terminal \password would take the role's password away.
            kind="shell",
            text=f"{hint}# A good one: openssl rand -hex 24\n"
            f"In psql, connected to database postgres:\n    \\password {role}\n"
            "# Then give it to the application too (its Secret), and restart it.",
            needs=f"role {credential.role} itself, or superuser",
        ),
    )
