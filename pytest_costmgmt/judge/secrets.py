"""A release's Secret: what it holds, who takes it, and whether it opens the database."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release import KEYS, Objects, variable
from pytest_costmgmt.facts.release_seen import Network, ReleaseFacts
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.release import container_of, objects_of, of_a_namespace, of_a_release
from pytest_costmgmt.judge.secrets_fixes import trim, write_anew
from pytest_costmgmt.kubernetes.policies import Policy
from pytest_costmgmt.kubernetes.secret_objects import KeyFacts, SecretFacts
from pytest_costmgmt.kubernetes.shapes import Container
from pytest_costmgmt.postgres.attempt import Attempt

_ADMIN = "POSTGRESQL_ADMIN_PASSWORD"
_ASKED = "28P01"
"What the server says to a wrong password: it would take the right one."
NOT_REACHED = "does not reach it"
"What a relay says whose address does not answer it."
_APPLICATION = {"DATABASE_NAME": "database", "DATABASE_USER": "username",
                "DATABASE_PASSWORD": "password"}  # fmt: skip


def _secret(objects: Objects) -> SecretFacts | None:
    name = objects.secret_name
    if (why := objects.refused.get(f"Secret {name}")) is not None:
        raise FactUnavailable(f"Secret {name} could not be read: {why}")
    return objects.secret


def _present(objects: Objects) -> SecretFacts:
    found = _secret(objects)
    if found is None:
        raise FactUnavailable(f"Secret {objects.secret_name} does not exist")
    return found


@of_a_namespace
def keys(facts: ReleaseFacts) -> Judgement:
    """Judge that the Secret has exactly the keys that applications ask for."""
    objects = objects_of(facts)
    name, found = objects.secret_name, _secret(objects)
    if found is None:
        missing = Finding(
            summary=f"Secret {name} does not exist",
            expected="keys database, username and password",
            found="no such Secret: pods that ask for it do not start",
            fix=write_anew(name, found),
        )
        return judgement([f"Secret {name}"], [missing])
    has = {key.name for key in found.keys}
    lacking = [part for part in KEYS if part not in has]
    findings = [
        Finding(
            summary=f"Secret {name} has no key {', '.join(lacking)}",
            expected="keys database, username and password, spelled so",
            found=", ".join(sorted(has)) or "no keys",
            fix=write_anew(name, found),
        )
    ]
    return judgement(
        [f"keys of Secret {name}"],
        findings if lacking else (),
        summary=f"Secret {name}: {', '.join(sorted(has))}",
    )


@of_a_namespace
def nothing_more(facts: ReleaseFacts) -> Judgement:
    """Judge that the Secret holds nothing else: whoever needs the password reads all of it."""
    objects = objects_of(facts)
    found = _present(objects)
    more = sorted({key.name for key in found.keys} - set(KEYS))
    told = Finding(
        summary=f"Secret {found.name} holds more than the database's credentials",
        expected="database, username and password, and nothing else",
        found=f"also {', '.join(more)}",
        fix=Fix(
            kind="shell",
            text="\n".join(
                f"kubectl patch secret {found.name} --type=json"
                f' -p \'[{{"op": "remove", "path": "/data/{key}"}}]\''
                for key in more
            ),
            needs="who may write Secrets in the namespace, and knows who reads these keys",
        ),
    )
    return judgement(
        [f"keys of Secret {found.name}"], [told] if more else (), summary="nothing else in it"
    )


@of_a_namespace
def whole(facts: ReleaseFacts) -> Judgement:
    """Judge that each value is there, and is text without line ends or blanks around it."""
    found = _present(objects_of(facts))
    used = [key for key in found.keys if key.name in KEYS]
    findings = [
        Finding(
            summary=f"key {key.name} of Secret {found.name} {problem}",
            expected="text that is not empty, without a line end or blanks around it",
            found=f"{key.length} bytes, which {problem.removeprefix('holds ')}"
            if key.length
            else "0 bytes",
            fix=trim(found.name, used)
            if key.length and key.text
            else write_anew(found.name, found),
        )
        for key in used
        if (problem := _unwhole(key))
    ]
    return judgement(
        [f"key {key.name} of Secret {found.name}" for key in used],
        findings,
        summary="each value is whole",
    )


def _unwhole(key: KeyFacts) -> str:
    if not key.length:
        return "is empty"
    if not key.text:
        return "is no text"
    if key.trailing_newline:
        return "ends with a line end"
    return "has blanks around it" if key.blank_around else ""


@of_a_namespace
def plain(facts: ReleaseFacts) -> Judgement:
    """Judge that the password means the same inside a URI."""
    objects = objects_of(facts)
    found = _present(objects)
    key = found.key(objects.key("password"))
    if key is None:
        raise FactUnavailable(f"Secret {found.name} has no password")
    told = Finding(
        summary=f"the password in Secret {found.name} needs quoting in a URI",
        expected="letters, digits and - . _ ~ only",
        found="other characters: koku's migration 0039 and many tools paste it unquoted",
        fix=write_anew(found.name, found),
    )
    return judgement(
        [f"key {key.name} of Secret {found.name}"],
        () if key.uri_safe else [told],
        summary="the password needs no quoting",
    )


@of_a_namespace
def taken(facts: ReleaseFacts) -> Judgement:
    """Judge that the database and its migrations take their credentials from this one Secret."""
    objects = objects_of(facts)
    findings: list[Finding] = []
    examined: list[str] = []
    if not objects.external:
        container = container_of(objects)
        wanted = {name: part for part, name in KEYS.items()}
        findings += _untaken(container, wanted, objects.secret_name)
        examined += [f"{name} of container {container.name}" for name in wanted]
    elif objects.migration_container is None:
        return not_supported("no pod of the namespace takes it: there is no CronJob of migrations")
    if (migrates := objects.migration_container) is not None:
        findings += _untaken(migrates, _APPLICATION, objects.secret_name)
        examined += [f"{name} of container {migrates.name}" for name in _APPLICATION]
    return judgement(examined, findings, summary=f"all is taken from Secret {objects.secret_name}")


def _untaken(container: Container, wanted: dict[str, str], secret: str) -> Iterator[Finding]:
    for name, part in wanted.items():
        found = variable(container, name)
        if found is not None and (found.secret, found.key) == (secret, part):
            continue
        if found is None:
            told = "not set there"
            if container.env_from:
                told += f" (perhaps by {', '.join(container.env_from)}, which is not read)"
        elif found.source == "secret":
            told = f"key {found.key} of Secret {found.secret}"
        else:
            told = f"a {found.source}"
        yield Finding(
            summary=f"container {container.name} does not take {name} from key {part} of"
            f" Secret {secret}",
            expected=f"secretKeyRef to key {part} of Secret {secret}",
            found=told,
            fix=Fix(
                kind="values",
                text=f"postgresql:\n  database: {{existingSecret: {secret}}}",
                needs="who installs the chart",
            ),
        )


@of_a_release
def unchanged(facts: ReleaseFacts) -> Judgement:
    """Judge that the pod started with what the Secret says now."""
    objects = objects_of(facts)
    found = _present(objects)
    pod, container = objects.pod, container_of(objects)
    if pod is None:
        raise FactUnavailable("pod postgres-0 does not exist")
    started = next(
        (state.started for state in pod.states if state.name == container.name and state.started),
        "",
    )
    if not started or not found.changed:
        raise FactUnavailable("neither the container's start nor the Secret's change is known")
    told = Finding(
        summary=f"Secret {found.name} was changed after the database started",
        expected=f"a container that started after {found.changed}",
        found=f"it started at {started}: applications take the new password at once, the database"
        " when its pod restarts",
        fix=Fix(
            kind="shell",
            text="kubectl delete pod postgres-0   # its data is on its volume (CM-PER-001)",
            needs="who may delete the pod",
        ),
    )
    # ISO 8601 in UTC, as the API server writes all times, sorts as text. It is the time of the
    # object too where whoever wrote the data wrote a label since: what still opens is the same.
    later = found.changed > started
    login = None if facts.network is None else facts.network.opened
    opens = login is not None and login.accepted and login.by_password
    examined = [
        f"Secret {found.name} changed at {found.changed}",
        f"container started at {started}",
    ]
    return judgement(
        [*examined, "its login"] if later and opens else examined,
        [told] if later and not opens else (),
        summary="the Secret was written since the database started, and what it says opens it"
        if later
        else "the database started with what the Secret says",
    )


def _network(facts: ReleaseFacts) -> Network:
    if facts.network is None:
        why = facts.errors.get("network") or "no login was tried"
        raise FactUnavailable(f"the release's network was not looked at: {why}")
    return facts.network


def _beyond_this_pod(network: Network, what: str) -> list[Unverified]:
    """Return what only another pod can show, where none of ours was asked."""
    if not network.unprobed:
        return []
    return [
        Unverified(
            what=f"{what} from another pod ({network.unprobed}; from the database pod itself it"
            " is as it must be)",
            who="who may create Jobs in the namespace",
            how="--costmgmt-allow=probe, with a Role that lets it",
        )
    ]


@of_a_namespace
def opens(facts: ReleaseFacts) -> Judgement:
    """Judge that what the Secret holds opens the database over the Service."""
    objects, network = objects_of(facts), _network(facts)
    _present(objects)
    seen = network.opened
    if seen.outcome == "failed":
        raise FactUnavailable(f"{network.way}: {seen.message}", hint=seen.hint)
    told = Finding(
        summary=f"Secret {objects.secret_name} does not open the database",
        expected=f"role {seen.role} opens database {seen.database} at {network.way}",
        found=seen.message,
        fix=Fix(
            kind="shell",
            text="# If the Secret is right and the database older, it takes the password when it\n"
            "# starts: kubectl delete pod postgres-0\n"
            "# Else write the password that the database has into the Secret, without a newline.",
            needs="who may delete the pod, or write the Secret",
        ),
    )
    examined = [f"login of role {seen.role} at {network.way}"]
    if not seen.accepted:
        return judgement(examined, [told])
    return judgement(
        examined,
        unverified=_beyond_this_pod(network, "whether the Secret opens the database"),
        summary=f"role {seen.role} opened database {seen.database} at {network.way}",
    )


@of_a_release
def superuser_stays_out(facts: ReleaseFacts) -> Judgement:
    """Judge that ``postgres`` enters from the pod itself alone, between two logins that do."""
    network = _network(facts)
    _between(network)
    tried = network.superuser
    for seen in tried:
        if seen.outcome == "failed":
            raise FactUnavailable(f"role {seen.role} at {network.way}: {seen.message}")
    findings = [_entered(seen, network) for seen in tried if seen.accepted]
    container = container_of(objects_of(facts))
    given = variable(container, _ADMIN)
    if given is not None and (given.source != "literal" or given.literal):
        findings += [_enterable(seen, network) for seen in tried if seen.sqlstate == _ASKED][-1:]
    return judgement(
        [
            *(
                f"login of role {seen.role} to database {seen.database} at {network.way},"
                f" offering {seen.offered}"
                for seen in tried
            ),
            f"{_ADMIN} of container {container.name}",
        ],
        findings,
        unverified=_beyond_this_pod(network, "whether postgres is kept out"),
        summary=f"role postgres is refused at {network.way}"
        f" ({', '.join(sorted({seen.sqlstate or seen.kind for seen in tried}))})",
    )


def _between(network: Network) -> None:
    """Raise unless the refusals stand between two accepted logins on the same path."""
    for seen in (network.opened, network.again):
        if not seen.accepted:
            raise FactUnavailable(
                f"{network.way}: a refusal proves nothing between logins that fail too:"
                f" {seen.message}"
            )


def _entered(seen: Attempt, network: Network) -> Finding:
    return Finding(
        summary=f"anybody in the network is the superuser: {seen.role} needs no password",
        expected=f"role {seen.role} is refused at {network.way}",
        found=f"let in to database {seen.database}, offering {seen.offered} (method {seen.method})",
        fix=Fix(
            kind="shell",
            text="# The image trusts its own localhost alone; what lets others in was added:\n"
            "kubectl exec postgres-0 -- psql -U postgres -c 'TABLE pg_hba_file_rules'\n"
            "# A network that hands connections on from localhost (a sidecar, a proxy in the\n"
            "# pod) does the same. POSTGRESQL_ADMIN_PASSWORD must not be set.",
            needs="who installs the chart",
        ),
    )


def _enterable(seen: Attempt, network: Network) -> Finding:
    return Finding(
        summary=f"role {seen.role} has a password, and the network may try it",
        expected=f"role {seen.role} is let in by the pod's own localhost alone",
        found=f"the image gives it one at each start ({_ADMIN}), and a wrong one is refused at"
        f" {network.way} as a wrong one ({seen.sqlstate}): the right one is let in",
        fix=Fix(
            kind="shell",
            text="# The password stays in the database when the variable is gone:\n"
            f"kubectl set env statefulset postgres {_ADMIN}-\n"
            "kubectl rollout status statefulset postgres\n"
            "kubectl exec postgres-0 -- psql -U postgres -c 'ALTER ROLE postgres PASSWORD NULL'",
            needs="who installs the chart",
        ),
    )


@of_a_release
def enforced(facts: ReleaseFacts) -> Judgement:
    """Judge that a NetworkPolicy keeps out whom it does not let in, and lets in whom it does."""
    network = _network(facts)
    policies = network.policies
    if policies is None:
        which = "may list networkpolicies.networking.k8s.io"
        return _unseen("whether a NetworkPolicy isolates the database", which)
    if not policies:
        return not_supported("no NetworkPolicy selects pod postgres-0: nothing is to be enforced")
    names = ", ".join(policy.name for policy in policies)
    if any(policy.lets_in_all for policy in policies):
        return not_supported(f"NetworkPolicy {names} lets every pod of the namespace in")
    if network.excluded is None:
        why = network.unprobed or "no excluded pod was asked"
        return _unseen(f"whether NetworkPolicy {names} is enforced ({why})", "may create Jobs")
    _between(network)
    seen = network.excluded
    answered = seen.accepted or seen.outcome == "refused"
    if not answered and network.trouble and NOT_REACHED not in network.trouble:
        raise FactUnavailable(f"whether an excluded pod connects: {network.trouble}")
    if answered and (why := _let_in(policies, network.excluded_from)):
        return not_supported(f"NetworkPolicy {names} lets pods of the namespace in ({why})")
    if answered and (perhaps := [each for policy in policies for each in policy.perhaps]):
        return _unseen(
            f"whether NetworkPolicy {names} is enforced (a pod without its clients' label got an"
            f" answer, and {perhaps[0]} may let it in)",
            "may get the namespace",
            how="kubectl get namespace NS --show-labels, and the policy's namespaceSelector",
        )
    told = Finding(
        summary=f"NetworkPolicy {names} is not enforced",
        expected="a pod that it does not let in cannot connect",
        found=f"a pod without the label of its peers got an answer ({seen.outcome},"
        f" {seen.sqlstate or 'let in'})",
        fix=Fix(
            kind="shell",
            text="# The cluster's network plugin ignores NetworkPolicies (flannel and bare CNI\n"
            "# plugins do): use one that enforces them, or do without the policy.",
            needs="who runs the cluster",
        ),
    )
    return judgement(
        [f"NetworkPolicy {names}", "a pod that it lets in", "a pod that it does not let in"],
        [told] if answered else (),
        summary=f"NetworkPolicy {names} is enforced: the one pod connects, the other does not",
    )


def _let_in(policies: tuple[Policy, ...], address: str) -> str:
    """Return the addresses that the policies let in, if ``address`` is one of them, or ""."""
    blocks = [block.cidr for each in policies for block in each.blocks if block.holds(address)]
    return ", ".join(blocks)


def _unseen(
    what: str, who: str, how: str = "--costmgmt-allow=probe, with a Role that lets it"
) -> Judgement:
    return judgement((), unverified=[Unverified(what=what, who=f"who {who}", how=how)])
