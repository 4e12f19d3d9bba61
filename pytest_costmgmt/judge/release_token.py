"""What a release's pod holds of the cluster's own: a service account's token is for whoever is in.

The API server mounts one by itself, unless the pod says no or, where it is silent, its service
account does: ``kube-api-access-*``, or the account's Secret before Kubernetes 1.22. A pod that is
there shows it, whoever decided it. The kubelet makes no volume that no container mounts.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_costmgmt.facts.release import Objects
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement
from pytest_costmgmt.judge.release import objects_of, of_a_release, permitted, template_of
from pytest_costmgmt.kubernetes.shapes import Container, PodTemplate, Volume

_PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
"Where clients look for one; what a container has there itself is not mounted over."


@of_a_release
def tokenless(facts: ReleaseFacts) -> Judgement:
    """Judge that a database that is broken into gives away no account of the cluster."""
    objects = objects_of(facts)
    permitted(objects, "pod postgres-0")
    template = template_of(objects)
    pod = "pod postgres-0" if objects.pod is not None else "a pod of StatefulSet postgres"
    account = template.service_account or "default"
    held = [
        f"container {container.name} mounts {_called(volume, objects)}"
        for container, volume in _mounted(template)
        if _is_token(volume, objects) or _looks_like_one(container, volume, objects)
    ]
    if objects.pod is None and _mounts_by_itself(template, objects):
        held.append(f"the API server mounts the one of service account {account} by itself")
    found = Finding(
        summary=f"{pod} holds a token of a service account",
        expected="automountServiceAccountToken: false, and no volume with a token",
        found=f"{'; '.join(held)} (its account is {account}), and PostgreSQL asks nothing of the"
        " cluster",
        fix=Fix(
            kind="values",
            text="# the chart says so itself: helm upgrade, without a patch over it",
            needs="who installs the chart",
        ),
    )
    return judgement(
        [f"volumes of {pod}", *(f"mounts of container {each.name}" for each in template.every)],
        [found] if held else (),
        unverified=_unverified(template, objects, account),
        summary=f"{pod} holds no token of a service account{_unused(template, objects)}",
    )


def _mounted(template: PodTemplate) -> Iterator[tuple[Container, Volume]]:
    volumes = {each.name: each for each in template.volumes}
    for container in template.every:
        for name in dict.fromkeys(mount.name for mount in container.mounts):
            if name in volumes:
                yield container, volumes[name]


def _is_token(volume: Volume, objects: Objects) -> bool:
    return volume.token or bool(set(volume.secrets) & set(objects.tokens))


def _looks_like_one(container: Container, volume: Volume, objects: Objects) -> bool:
    """Say whether a Secret that we may not read is mounted where a token is looked for."""
    return bool(_unread(volume, objects)) and any(
        mount.name == volume.name and _at_its_place(mount.path) for mount in container.mounts
    )


def _at_its_place(path: str) -> bool:
    # /var/run is a link to /run in images of today.
    return path.rstrip("/") in {_PLACE, _PLACE.removeprefix("/var")}


def _unread(volume: Volume, objects: Objects) -> list[str]:
    return [each for each in volume.secrets if f"Secret {each}" in objects.refused]


def _called(volume: Volume, objects: Objects) -> str:
    of = [each for each in volume.secrets if not volume.token]
    told = f" of Secret {', '.join(of)}" if of else ""
    unread = f", which we may not read, at {_PLACE}" if _unread(volume, objects) else ""
    return f"volume {volume.name}{told}{unread}"


def _mounts_by_itself(template: PodTemplate, objects: Objects) -> bool | None:
    """Say whether a pod made from the template gets a token; None is that nobody told."""
    made = (*template.init_containers, *template.containers)
    if made and all(any(mount.path == _PLACE for mount in each.mounts) for each in made):
        return False
    return objects.account_mounts if template.mounts_token is None else template.mounts_token


def _unverified(template: PodTemplate, objects: Objects, account: str) -> Iterator[Unverified]:
    if objects.pod is None and _mounts_by_itself(template, objects) is None:
        why = objects.refused.get(f"ServiceAccount {account}", "there is none")
        yield Unverified(
            what="whether a pod of StatefulSet postgres gets a token: there is no pod to look at,"
            f" its template does not say, and ServiceAccount {account} was not read ({why})",
            who="who may get the ServiceAccount, or whoever looks when there is a pod",
            how=f"kubectl get serviceaccount {account} -o yaml: automountServiceAccountToken",
        )
    asked = [name for _, volume in _mounted(template) for name in _unread(volume, objects)]
    for name in dict.fromkeys(asked):
        yield Unverified(
            what=f"whether Secret {name}, which a container mounts, is a service account's token",
            who=f"who may get Secret {name}",
            how=f"kubectl get secret {name}: its type",
        )


def _unused(template: PodTemplate, objects: Objects) -> str:
    used = {volume.name for _, volume in _mounted(template)}
    idle = [v.name for v in template.volumes if _is_token(v, objects) and v.name not in used]
    return f" (no container mounts volume {', '.join(idle)}: none is made)" if idle else ""
