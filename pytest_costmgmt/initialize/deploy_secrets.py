"""The Secrets with the credentials: made once, before the release and outside of Helm."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_costmgmt.errors import StepFailed
from pytest_costmgmt.initialize.deploy_site import HIVE_SECRET, SECRET, Site, at
from pytest_costmgmt.kubernetes.helm_records import RUN
from pytest_costmgmt.kubernetes.secret_objects import (
    KeyFacts,
    SecretFacts,
    secret_facts,
    secret_name,
    secret_values,
)
from pytest_costmgmt.kubernetes.secret_write import create_credentials
from pytest_costmgmt.secret import Secret, publish

KEYS = ("database", "username", "password")
KEPT = {"helm.sh/resource-policy": "keep"}
"Should a release ever come to own it, it outlives that release, as the volume does."
_RELEASE = "meta.helm.sh/release-name"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What a Secret says. ``helm``: a release made it, and owns it."""

    secret: str
    database: str
    role: str
    password: Secret | None = None
    helm: bool = False


def application(site: Site, values: Mapping[str, Any], *, running: bool) -> Credentials:
    """Find the application's Secret, or make it. ``values`` are those that will apply.

    ``running``: there is a database already, to which a new password would be unknown.
    """
    named = at(values, "postgresql", "database", "existingSecret") or ""
    name = str(named or SECRET)
    found = _facts(site, name)
    if found is not None:
        _sound(site, found)
        site.done(f"Secret {name}", "present", _whose(found))
        return _read(site, found)
    if named and named != SECRET:
        raise StepFailed(
            f"Secret {name}",
            f"postgresql.database.existingSecret names it, and namespace {site.namespace} has no"
            " such Secret",
            hint=_make(site, name) + f"\nor leave the value out, and {SECRET} is made.",
        )
    if running:
        raise StepFailed(
            f"Secret {name}",
            f"it is gone, and the database in namespace {site.namespace} runs with its password; a"
            " new one made in silence would lock the applications out",
            hint="Put it back as it was, or choose a new password and restart database and"
            f" applications:\n{_make(site, name)}\n    kubectl -n {site.namespace} delete pod"
            " postgres-0",
        )
    needs = site.wanted.requirements
    return _create(
        site,
        name,
        database=str(at(values, "postgresql", "database", "name") or needs.database.name),
        role=str(at(values, "postgresql", "database", "user") or needs.role.name),
    )


def hive(site: Site, values: Mapping[str, Any], *, exists: bool | None) -> Credentials | None:
    """Find hive's Secret, or make it; None where hive is forbidden, or has another's password.

    ``exists``: the server has the role already.
    """
    needs = site.wanted.requirements.hive
    if needs.policy == "forbidden":
        return None
    named = at(values, "migration", "hive", "existingSecret") or ""
    name = str(named or HIVE_SECRET)
    found = _facts(site, name)
    if found is not None:
        _sound(site, found)
        site.done(f"Secret {name}", "present")
        return _read(site, found)
    if named and named != HIVE_SECRET:
        raise StepFailed(
            f"Secret {name}",
            f"migration.hive.existingSecret names it, and namespace {site.namespace} has no such"
            " Secret",
            hint=_make(site, name, database=needs.database, role=needs.role),
        )
    if exists:
        site.done(
            f"Secret {name}",
            "present" if site.dry_run else "refused",
            f"role {needs.role} exists, with a password that nobody told; it is left as it is",
        )
        return None
    return _create(site, name, database=needs.database, role=needs.role)


def _facts(site: Site, name: str) -> SecretFacts | None:
    return secret_facts(site.api, site.namespace, name, key=site.key)


def _read(site: Site, found: SecretFacts) -> Credentials:
    database = secret_name(site.api, site.namespace, found.name, "database")
    role = secret_name(site.api, site.namespace, found.name, "username")
    publish((database, role))
    return Credentials(
        secret=found.name,
        database=database,
        role=role,
        password=secret_values(site.api, site.namespace, found.name)["password"],
        helm=bool(found.annotations.get(_RELEASE)),
    )


def _create(site: Site, name: str, *, database: str, role: str) -> Credentials:
    publish((database, role))
    password = Secret.generate()
    step = f"Secret {name}"
    if site.dry_run:
        site.done(step, "planned", f"with a generated password for role {role}")
        return Credentials(secret=name, database=database, role=role)
    create_credentials(
        site.api,
        site.namespace,
        name,
        database=database,
        username=role,
        password=password,
        annotations={**KEPT, RUN: site.run},
    )
    site.done(step, "created", f"with a generated password for role {role}")
    return Credentials(secret=name, database=database, role=role, password=password)


def _whose(found: SecretFacts) -> str:
    owner = found.annotations.get(_RELEASE)
    return f"release {owner} made it, and its records hold the password too" if owner else ""


def _sound(site: Site, found: SecretFacts) -> None:
    """Refuse what pods could not use, or would not use as it is written."""
    wrong = [problem for key in KEYS if (problem := _problem(key, found.key(key)))]
    if not wrong:
        return
    raise StepFailed(
        f"Secret {found.name}",
        f"in namespace {site.namespace}: " + "; ".join(wrong),
        hint="Correct it, without changing what the database knows:\n"
        f"    kubectl -n {site.namespace} patch secret {shlex.quote(found.name)} --type=merge"
        """ -p '{"stringData":{"KEY":"..."}}'""",
    )


def _problem(key: str, facts: KeyFacts | None) -> str:
    if facts is None:
        return f"it has no key {key}"
    if not facts.length:
        return f"its key {key} is empty"
    if not facts.text:
        return f"its key {key} is no text"
    if facts.trailing_newline:
        return f"its key {key} ends with a newline, which becomes part of the value"
    if facts.blank_around:
        return f"its key {key} begins or ends with a space, which becomes part of the value"
    return ""


def _make(site: Site, name: str, *, database: str = "koku", role: str = "koku") -> str:
    return (
        f"    kubectl -n {site.namespace} create secret generic {shlex.quote(name)}"
        f" --from-literal=database={database} --from-literal=username={role}"
        " --from-file=password=FILE-WITHOUT-A-NEWLINE"
    )
