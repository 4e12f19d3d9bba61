"""How a release's pod is made: probes, resources, image, what it may do, and what it gives away."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release import RECORDS
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.release import (
    container_of,
    objects_of,
    of_a_release,
    of_no_known_release,
    permitted,
    template_of,
)
from pytest_costmgmt.kubernetes.leaks import Record
from pytest_costmgmt.kubernetes.shapes import Container, PodTemplate, Security

_PASSWORDED = re.compile(r"(?i)(passw|passwd|secret|token|credential)")
_NO_VALUE = re.compile(r"(?i)(_file|_path|_name|_key_ref)$")
# Another variable's value, or a file that is mounted: GOOGLE_APPLICATION_CREDENTIALS.
_REFERS = re.compile(r"\$\([A-Za-z_]\w*\)")
_PLACE = re.compile(r"(/[\w.-]+){2,}")
_IN_ARGUMENTS = re.compile(r"(?i)(--?\w*passw(or)?d[= ]\S|://[^/\s:@]*:[^/\s@]+@)")


# What the standard lets a volume be; a pod without a word has an emptyDir.
_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
     "projected", "secret", ""}
)  # fmt: skip


_SYSCTLS = frozenset(
    {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
     "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
     "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout",
     "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
     "net.ipv4.tcp_wmem"}
)  # fmt: skip
"What of its node's kernel it lets a pod set, in its newest version (1.32)."


_SE_LINUX = frozenset({"container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
"The types of SELinux that it lets a container have."


def _values(text: str) -> Fix:
    return Fix(kind="values", text=text, needs="who installs the chart")


@of_a_release
def probed(facts: ReleaseFacts) -> Judgement:
    """Judge that the cluster can tell a server that starts, serves or hangs."""
    container = container_of(objects_of(facts))
    lacking = [each for each in ("startup", "readiness", "liveness") if each not in
               container.probes]  # fmt: skip
    found = [
        Finding(
            summary=f"container {container.name} has no {' and no '.join(lacking)} probe",
            expected="startup, readiness and liveness probes",
            found=", ".join(container.probes) or "none",
            fix=_values("# the chart renders all three: helm upgrade, without a patch over it"),
        )
    ]
    return judgement(
        [f"probes of container {container.name}"],
        found if lacking else (),
        summary="startup, readiness and liveness are probed",
    )


@of_a_release
def resourced(facts: ReleaseFacts) -> Judgement:
    """Judge that the container asks for what it needs, and that its memory ends somewhere."""
    objects = objects_of(facts)
    container, pod = container_of(objects), template_of(objects)
    requests, limits = {**pod.requests, **container.requests}, {**pod.limits, **container.limits}
    wanted = {
        "requests.cpu": requests.get("cpu"),
        "requests.memory": requests.get("memory"),
        "limits.memory": limits.get("memory"),
    }
    lacking = [name for name, value in wanted.items() if not value]
    found = [
        Finding(
            summary=f"container {container.name} does not say its {', '.join(lacking)}",
            expected="requests for cpu and memory, and a limit of memory",
            found=", ".join(f"{name} {value}" for name, value in wanted.items() if value)
            or "none: it is the first that a full node evicts",
            fix=_values(
                "postgresql:\n  resources:\n    requests: {cpu: 500m, memory: 1Gi}\n"
                "    limits: {memory: 4Gi}"
            ),
        )
    ]
    told = ", ".join(f"{name} {value}" for name, value in wanted.items())
    return judgement(
        [f"resources of container {container.name}"], found if lacking else (), summary=told
    )


@of_a_release
def pinned(facts: ReleaseFacts) -> Judgement:
    """Judge that the image is one that stays the same."""
    container = container_of(objects_of(facts))
    image = container.image
    found = [
        Finding(
            summary=f"image {image} is whatever its tag means today",
            expected="a digest, or a tag that is not moved",
            found=f"tag {_tag(image) or 'none, which is latest'}: a pod that is made anew may run"
            " another server",
            fix=_values("postgresql:\n  image:\n    digest: sha256:...   # wins over the tag"),
        )
    ]
    moves = "@sha256:" not in image and _tag(image) in {"", "latest"}
    return judgement([f"image {image}"], found if moves else (), summary=image)


def _tag(image: str) -> str:
    """Return an image's tag.

    >>> _tag("registry:5000/sclorg/postgresql"), _tag("quay.io/sclorg/postgresql-15-c9s:1-7")
    ('', '1-7')
    """
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2]


@of_a_release
def restricted(facts: ReleaseFacts) -> Judgement:
    """Judge that the pod may do no more than the standard ``restricted`` lets it."""
    template = template_of(objects_of(facts))
    containers = template.every
    findings = [
        Finding(
            summary=f"container {container.name}: {', '.join(problems)}",
            expected="runAsNonRoot, seccomp RuntimeDefault, no escalation, no capability, not"
            " privileged (Pod Security Standard restricted)",
            found="; ".join(problems),
            fix=_values("podSecurity: {openshift: auto}   # the chart's own, without a patch"),
        )
        for container in containers
        if (problems := list(_beyond(container.security, template.security)))
    ]
    findings += _on_the_host(template)
    return judgement(
        [
            *(f"security context of container {container.name}" for container in containers),
            "what the pod shares with its node: namespaces, ports, volumes, sysctls",
        ],
        findings,
        summary=f"restricted: {', '.join(container.name for container in containers)}",
    )


def _on_the_host(template: PodTemplate) -> Iterator[Finding]:
    shared = [*template.of_the_host]
    shared += [f"sysctl {name}" for name in template.sysctls if name not in _SYSCTLS]
    for container in template.every:
        shared += [f"hostPort {port} of container {container.name}" for port in
                   container.host_ports]  # fmt: skip
    shared += [
        f"volume {volume.name}, a {volume.source}"
        for volume in template.volumes
        if volume.source not in _VOLUMES
    ]
    if shared:
        yield Finding(
            summary=f"pod postgres-0 has {', '.join(shared)}",
            expected="no hostNetwork, hostPID, hostIPC or hostPort, no volume such as hostPath, and"
            " of sysctls the safe ones alone (Pod Security Standard restricted)",
            found="; ".join(shared),
            fix=_values("# the chart asks for none of it: helm upgrade, without a patch over it"),
        )


def _beyond(own: Security, pod: Security) -> Iterator[str]:
    non_root = pod.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root
    user = pod.run_as_user if own.run_as_user is None else own.run_as_user
    seccomp = own.seccomp or pod.seccomp
    if not non_root or user == 0:
        yield "may run as root"
    if own.privileged:
        yield "privileged"
    if own.allow_privilege_escalation is not False:
        yield "may escalate its privileges"
    if "ALL" not in own.dropped:
        yield "keeps capabilities"
    if more := sorted(set(own.added) - {"NET_BIND_SERVICE"}):
        yield f"adds {', '.join(more)}"
    if seccomp not in {"RuntimeDefault", "Localhost"}:
        yield f"seccomp {seccomp or 'is unsaid'}"
    yield from _loosened(own, pod)


def _loosened(own: Security, pod: Security) -> Iterator[str]:
    """Yield what is narrow where nothing is said, and was widened."""
    if (own.app_armor or pod.app_armor) == "Unconfined":
        yield "AppArmor Unconfined"
    if own.proc_mount not in {"", "Default"}:
        yield f"procMount {own.proc_mount}"
    # A level of its own is what OpenShift gives to each namespace.
    for name, value in sorted({*own.se_linux.items(), *pod.se_linux.items()}):
        if value and (name in {"user", "role"} or (name == "type" and value not in _SE_LINUX)):
            yield f"SELinux {name} {value}"


@of_a_release
def discreet(facts: ReleaseFacts) -> Judgement:
    """Judge that no password stands where others than its Secret's readers can read it."""
    objects = objects_of(facts)
    permitted(objects, "pod postgres-0")
    if facts.leaks is None:
        raise FactUnavailable(f"passwords were not looked for: {facts.errors.get('leaks')}")
    template, leaks = template_of(objects), facts.leaks
    containers = [*template.every]
    if objects.migration is not None:
        containers += objects.migration.every
    findings = [*map(_leak, leaks.found)]
    for container in containers:
        findings += _shown(container)
    unverified = [
        Unverified(
            what=f"whether a password stands in {resource} of namespace {objects.namespace}",
            who=f"who may list {resource} there",
            how=f"a Role with the verb list for {resource}",
        )
        for resource in leaks.refused
    ]
    unverified += [
        _unread(secret, f"whether the password of Secret {secret} stands anywhere")
        for secret in leaks.unread
    ]
    return judgement(
        [*leaks.looked, *(f"arguments and variables of {each.name}" for each in containers)],
        findings,
        unverified=unverified,
        summary=f"{leaks.known} passwords looked for in {', '.join(leaks.looked)}: none is there",
    )


def _unread(secret: str, what: str) -> Unverified:
    return Unverified(
        what=what,
        who=f"who may get Secret {secret}",
        how=f"a Role with the verb get for the Secret {secret}",
    )


def _leak(where: str) -> Finding:
    return Finding(
        summary=f"a password of the release stands in {where.partition(':')[0]}",
        expected="passwords in their Secret alone",
        found=where,
        fix=Fix(
            kind="shell",
            text="# Take it out there; then choose another, for it was read: write it into the\n"
            "# Secret, restart the database's pod, restart the applications.",
            needs="who owns that object",
        ),
    )


def _shown(container: Container) -> Iterator[Finding]:
    for variable in container.env:
        name = variable.name
        if _PASSWORDED.search(name) and _may_be_one(name, variable.literal):
            yield Finding(
                summary=f"container {container.name} has {name} as a literal",
                expected="valueFrom.secretKeyRef",
                found="a value in the pod's own description, which whoever reads pods reads",
                fix=_values(f"# give {name} by a Secret: valueFrom: {{secretKeyRef: ...}}"),
            )
    for word in (*container.command, *container.args):
        if _IN_ARGUMENTS.search(word):
            yield Finding(
                summary=f"container {container.name} is given a password as an argument",
                expected="passwords in a Secret, by a variable or a file",
                found="an argument that holds one: every process of the node shows it",
                fix=_values("# give it by a Secret: valueFrom: {secretKeyRef: ...}"),
            )


def _may_be_one(name: str, literal: str) -> bool:
    """Say whether a literal may be a password, by what its variable is called.

    >>> _may_be_one("APPLICATION_CREDENTIALS", "/etc/gcp/key.json"), _may_be_one("TOKEN", "$(A)")
    (False, False)
    >>> _may_be_one("PASSWORD", "/etc/gcp/key.json"), _may_be_one("PASSWORD_FILE", "/etc/key")
    (True, False)
    """
    if not literal or _NO_VALUE.search(name) or _REFERS.fullmatch(literal):
        return False
    return "pass" in name.lower() or not _PLACE.fullmatch(literal)


@of_a_release
def recorded(facts: ReleaseFacts) -> Judgement:
    """Judge what Helm keeps of the release: that it is deployed, and holds no password."""
    objects = objects_of(facts)
    if (unknown := of_no_known_release(objects)) is not None:
        return unknown
    if not objects.release:
        refused = objects.refused.get(RECORDS)
        return not_supported(
            "StatefulSet postgres has no annotation meta.helm.sh/release-name: it was not"
            " installed by Helm, so there is no record of a rendering"
            + (f" (which may not be looked for either: {refused})" if refused else "")
        )
    if facts.record is None and "record" in facts.errors:
        return judgement(
            (),
            unverified=[
                Unverified(
                    what=f"what Helm keeps of release {objects.release} ({facts.errors['record']})",
                    who="who may list Secrets in the namespace",
                    how=f"helm status {objects.release}; helm get values {objects.release}",
                )
            ],
        )
    if facts.record is None:
        return not_supported(
            f"Helm keeps no record of release {objects.release}: it was rendered and applied by"
            " another program"
        )
    record = facts.record
    findings = []
    if record.status != "deployed":
        findings.append(_unsettled(record.release, record.revision, record.status))
    findings += [
        Finding(
            summary=f"Helm's record of {record.release} holds a password in {where}",
            expected="a Secret that is made before the release (postgresql.database"
            ".existingSecret), and no password among the values",
            found=f"revision {record.revision}, {where}: whoever may read the release reads it",
            fix=_values(
                "postgresql:\n  database: {existingSecret: postgres-credentials}\n"
                "# with another password than this one, which the revision keeps"
            ),
        )
        for where in record.leaks
    ]
    findings += _remembered(record)
    return judgement(
        [
            f"Helm's record of {record.release}, revision {record.revision}",
            "what Helm keeps of the revisions before it",
        ],
        findings,
        unverified=_unseen(record),
        summary=f"{record.chart} {record.version}, revision {record.revision}, {record.status}",
    )


def _unseen(record: Record) -> list[Unverified]:
    """Return what of the record was not seen, so that a password may stand there."""
    found = [
        Unverified(
            what=f"whether revision {number} of {record.release} holds a password: what Helm keeps"
            " of it is not understood",
            who="who may read Secrets in the namespace",
            how=f"helm get all {record.release} --revision {number}",
        )
        for number in record.undecoded
    ]
    held = f"whether Helm's record of {record.release} holds the password of Secret"
    return found + [_unread(secret, f"{held} {secret}") for secret in record.unread]


def _remembered(record: Record) -> Iterator[Finding]:
    """Yield what earlier revisions hold of the passwords that are in use now."""
    if not record.earlier:
        return
    revisions = sorted({each for found in record.earlier.values() for each in found})
    told = [
        f"{where} (revision {', '.join(map(str, found))})"
        for where, found in record.earlier.items()
    ]
    yield Finding(
        summary=f"earlier revisions of {record.release} hold a password that is still in use",
        expected="no revision that Helm keeps holds it: helm get values --revision N prints each",
        found="; ".join(told),
        fix=Fix(
            kind="shell",
            text="# Choose another, for it was read: write it into the Secret, restart the\n"
            "# database's pod, restart the applications. If nobody can have read it, have Helm\n"
            "# forget these revisions:\n"
            + "\n".join(
                f"kubectl delete secret sh.helm.release.v1.{record.release}.v{each}"
                for each in revisions
            ),
            needs="who may write Secrets in the namespace",
        ),
    )


def _unsettled(release: str, revision: int, status: str) -> Finding:
    return Finding(
        summary=f"Helm release {release} is {status}",
        expected="deployed",
        found=f"revision {revision} is {status}",
        fix=Fix(
            kind="shell",
            text=f"helm history {release}\n"
            f"# pending: a helm that was killed; go back to the revision before it:\n"
            f"helm rollback {release}",
            needs="who installs the chart",
        ),
    )
