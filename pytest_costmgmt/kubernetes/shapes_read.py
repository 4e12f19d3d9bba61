"""Make typed values of what the API server sends. Every text is redacted on its way in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pytest_costmgmt.kubernetes import shapes
from pytest_costmgmt.secret import redact

Object = Mapping[str, Any]
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def _text(found: object) -> str:
    return "" if found is None else redact(str(found))


def _texts(found: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(_text(each) for each in found or ())


def _pairs(found: Object | None) -> dict[str, str]:
    return {
        str(name): _text(value) for name, value in (found or {}).items() if name != _LAST_APPLIED
    }


def _part(found: Object, name: str) -> Object:
    part = found.get(name)
    return part if isinstance(part, Mapping) else {}


def meta(found: Object) -> shapes.Meta:
    """Return an object's metadata."""
    said = _part(found, "metadata")
    return shapes.Meta(
        name=_text(said.get("name")),
        namespace=_text(said.get("namespace")),
        uid=_text(said.get("uid")),
        created=_text(said.get("creationTimestamp")),
        deleting=_text(said.get("deletionTimestamp")),
        labels=_pairs(said.get("labels")),
        annotations=_pairs(said.get("annotations")),
        owners=tuple(str(each.get("uid")) for each in said.get("ownerReferences") or ()),
    )


def _conditions(status: Object) -> tuple[shapes.Condition, ...]:
    return tuple(
        shapes.Condition(
            type=_text(each.get("type")),
            status=_text(each.get("status")),
            reason=_text(each.get("reason")),
            message=_text(each.get("message")),
        )
        for each in status.get("conditions") or ()
    )


def _security(found: Object) -> shapes.Security:
    capabilities = _part(found, "capabilities")
    return shapes.Security(
        run_as_user=found.get("runAsUser"),
        run_as_group=found.get("runAsGroup"),
        fs_group=found.get("fsGroup"),
        run_as_non_root=found.get("runAsNonRoot"),
        privileged=found.get("privileged"),
        allow_privilege_escalation=found.get("allowPrivilegeEscalation"),
        read_only_root=found.get("readOnlyRootFilesystem"),
        dropped=_texts(capabilities.get("drop")),
        added=_texts(capabilities.get("add")),
        seccomp=_text(_part(found, "seccompProfile").get("type")),
        app_armor=_text(_part(found, "appArmorProfile").get("type")),
        proc_mount=_text(found.get("procMount")),
        se_linux=_pairs(_part(found, "seLinuxOptions")),
    )


_SOURCES = {"secretKeyRef": "secret", "configMapKeyRef": "configmap", "fieldRef": "field",
            "resourceFieldRef": "resource"}  # fmt: skip


def _variable(found: Object) -> shapes.EnvVariable:
    for kind, said in _part(found, "valueFrom").items():
        source = _SOURCES.get(kind, kind)
        return shapes.EnvVariable(
            name=_text(found.get("name")),
            source=source,
            secret=_text(said.get("name")) if source == "secret" else "",
            key=_text(said.get("key") or said.get("fieldPath")),
        )
    literal = _text(found.get("value"))
    return shapes.EnvVariable(name=_text(found.get("name")), literal=literal, source="literal")


def _container(found: Object) -> shapes.Container:
    resources = _part(found, "resources")
    probes = ("startup", "readiness", "liveness")
    return shapes.Container(
        name=_text(found.get("name")),
        image=_text(found.get("image")),
        command=_texts(found.get("command")),
        args=_texts(found.get("args")),
        ports=tuple(int(each["containerPort"]) for each in found.get("ports") or ()),
        port_names={
            _text(each["name"]): int(each["containerPort"])
            for each in found.get("ports") or ()
            if each.get("name") and each.get("protocol", "TCP") == "TCP"
        },
        host_ports=tuple(
            int(each["hostPort"]) for each in found.get("ports") or () if each.get("hostPort")
        ),
        env=tuple(_variable(each) for each in found.get("env") or ()),
        env_from=tuple(
            f"{kind.removesuffix('Ref').lower()}/{_text(said.get('name'))}"
            for each in found.get("envFrom") or ()
            for kind, said in each.items()
            if isinstance(said, Mapping)
        ),
        mounts=tuple(
            shapes.Mount(
                name=_text(each.get("name")),
                path=_text(each.get("mountPath")),
                sub_path=_text(each.get("subPath")),
                read_only=bool(each.get("readOnly")),
            )
            for each in found.get("volumeMounts") or ()
        ),
        requests=_pairs(resources.get("requests")),
        limits=_pairs(resources.get("limits")),
        probes=tuple(each for each in probes if found.get(f"{each}Probe")),
        security=_security(_part(found, "securityContext")),
        pull_policy=_text(found.get("imagePullPolicy")),
    )


_VOLUMES = {"persistentVolumeClaim": "claimName", "secret": "secretName", "configMap": "name",
            "hostPath": "path"}  # fmt: skip


def _volume(found: Object) -> shapes.Volume:
    source = next((kind for kind in found if kind != "name"), "")
    said = _part(found, source) if source else {}
    projected = said.get("sources") or ()
    kept = [("secretName", said)] if source == "secret" else []
    kept += [("name", _part(each, "secret")) for each in projected]
    return shapes.Volume(
        name=_text(found.get("name")),
        source=source,
        of=_text(said.get(_VOLUMES.get(source, ""))),
        token=any("serviceAccountToken" in each for each in projected),
        secrets=tuple(_text(part[key]) for key, part in kept if part.get(key) and _whole(part)),
    )


def _whole(kept: Object) -> bool:
    items = kept.get("items") or ()
    return not items or any(each.get("key") == "token" for each in items)


def _ended(pod: Object) -> set[Any]:
    states = _part(pod, "status").get("ephemeralContainerStatuses") or ()
    return {each.get("name") for each in states if _part(each, "state").get("terminated")}


_OF_THE_HOST = ("hostNetwork", "hostPID", "hostIPC")


def template(found: Object) -> shapes.PodTemplate:
    """Return a pod's template, or a pod's own metadata and spec."""
    said, spec = meta(found), _part(found, "spec")
    return shapes.PodTemplate(
        labels=said.labels,
        annotations=said.annotations,
        containers=tuple(_container(each) for each in spec.get("containers") or ()),
        init_containers=tuple(_container(each) for each in spec.get("initContainers") or ()),
        ephemeral_containers=tuple(
            _container(each)
            for each in spec.get("ephemeralContainers") or ()
            if each.get("name") not in _ended(found)
        ),
        volumes=tuple(_volume(each) for each in spec.get("volumes") or ()),
        security=_security(_part(spec, "securityContext")),
        pull_secrets=tuple(_text(each.get("name")) for each in spec.get("imagePullSecrets") or ()),
        service_account=_text(spec.get("serviceAccountName")),
        mounts_token=spec.get("automountServiceAccountToken"),
        requests=_pairs(_part(spec, "resources").get("requests")),
        limits=_pairs(_part(spec, "resources").get("limits")),
        service_links=spec.get("enableServiceLinks") is not False,
        node_selector=_pairs(spec.get("nodeSelector")),
        of_the_host=tuple(each for each in _OF_THE_HOST if spec.get(each)),
        sysctls=tuple(
            _text(each.get("name")) for each in _part(spec, "securityContext").get("sysctls") or ()
        ),
    )


def _state(found: Object, *, init: bool) -> shapes.ContainerState:
    states = _part(found, "state")
    state = next(iter(states), "waiting")
    said, last = _part(states, state), _part(_part(found, "lastState"), "terminated")
    return shapes.ContainerState(
        name=_text(found.get("name")),
        state=state,
        ready=bool(found.get("ready")),
        restarts=int(found.get("restartCount") or 0),
        reason=_text(said.get("reason")),
        message=_text(said.get("message")),
        exit_code=said.get("exitCode"),
        image_id=_text(found.get("imageID")),
        started=_text(said.get("startedAt")),
        last_reason=_text(last.get("reason")),
        last_exit_code=last.get("exitCode"),
        last_message=_text(last.get("message")),
        init=init,
    )


def pod(found: Object) -> shapes.Pod:
    """Return a pod."""
    status = _part(found, "status")
    states = [_state(each, init=True) for each in status.get("initContainerStatuses") or ()]
    states += [_state(each, init=False) for each in status.get("containerStatuses") or ()]
    return shapes.Pod(
        meta=meta(found),
        template=template(found),
        phase=_text(status.get("phase")),
        reason=_text(status.get("reason")),
        message=_text(status.get("message")),
        ip=_text(status.get("podIP")),
        node=_text(_part(found, "spec").get("nodeName")),
        started=_text(status.get("startTime")),
        conditions=_conditions(status),
        states=tuple(states),
    )


def stateful_set(found: Object) -> shapes.StatefulSet:
    """Return a StatefulSet."""
    spec, status = _part(found, "spec"), _part(found, "status")
    return shapes.StatefulSet(
        meta=meta(found),
        template=template(_part(spec, "template")),
        replicas=int(spec.get("replicas", 1)),
        ready=int(status.get("readyReplicas") or 0),
        service=_text(spec.get("serviceName")),
        selector=_pairs(_part(spec, "selector").get("matchLabels")),
        claims=tuple(_claim_template(each) for each in spec.get("volumeClaimTemplates") or ()),
        revision=_text(status.get("currentRevision")),
        update_revision=_text(status.get("updateRevision")),
        generation=int(_part(found, "metadata").get("generation") or 0),
        observed=int(status.get("observedGeneration") or 0),
        strategy=_text(_part(spec, "updateStrategy").get("type")),
    )


def _asked(spec: Object) -> str:
    return _text(_part(_part(spec, "resources"), "requests").get("storage"))


def _claim_template(found: Object) -> shapes.ClaimTemplate:
    spec = _part(found, "spec")
    return shapes.ClaimTemplate(
        name=meta(found).name,
        storage_class=spec.get("storageClassName"),
        size=_asked(spec),
        modes=_texts(spec.get("accessModes")),
    )


def service(found: Object) -> shapes.Service:
    """Return a Service."""
    spec = _part(found, "spec")
    ports = tuple(
        shapes.Port(
            port=int(each["port"]),
            target=_text(each.get("targetPort", each["port"])),
            name=_text(each.get("name")),
            protocol=_text(each.get("protocol")) or "TCP",
        )
        for each in spec.get("ports") or ()
    )
    return shapes.Service(
        meta=meta(found),
        type=_text(spec.get("type")) or "ClusterIP",
        cluster_ip=_text(spec.get("clusterIP")),
        selector=_pairs(spec.get("selector")),
        ports=ports,
        external_name=_text(spec.get("externalName")),
        external_ips=_texts(spec.get("externalIPs")),
    )


def endpoints(found: Object) -> tuple[shapes.Endpoint, ...]:
    """Return the addresses of one EndpointSlice; unsaid readiness is ready, as its API has it."""
    ports = tuple(int(each["port"]) for each in found.get("ports") or () if each.get("port"))
    return tuple(
        shapes.Endpoint(
            address=_text(address),
            ready=_part(each, "conditions").get("ready") is not False,
            pod=_text(_part(each, "targetRef").get("name")),
            pod_uid=_text(_part(each, "targetRef").get("uid")),
            ports=ports,
        )
        for each in found.get("endpoints") or ()
        for address in each.get("addresses") or ()
    )


def claim(found: Object) -> shapes.Claim:
    """Return a PersistentVolumeClaim."""
    spec, status = _part(found, "spec"), _part(found, "status")
    return shapes.Claim(
        meta=meta(found),
        phase=_text(status.get("phase")),
        volume=_text(spec.get("volumeName")),
        storage_class=_text(spec.get("storageClassName")),
        asked=_asked(spec),
        capacity=_text(_part(status, "capacity").get("storage")),
        modes=_texts(spec.get("accessModes")),
        conditions=_conditions(status),
    )


_NO_SOURCE = frozenset(
    {"capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName",
     "volumeMode", "nodeAffinity", "mountOptions", "volumeAttributesClassName"}
)  # fmt: skip


def persistent_volume(found: Object) -> shapes.PersistentVolume:
    """Return a PersistentVolume."""
    spec = _part(found, "spec")
    return shapes.PersistentVolume(
        meta=meta(found),
        phase=_text(_part(found, "status").get("phase")),
        capacity=_text(_part(spec, "capacity").get("storage")),
        reclaim=_text(spec.get("persistentVolumeReclaimPolicy")),
        storage_class=_text(spec.get("storageClassName")),
        source=next((kind for kind in spec if kind not in _NO_SOURCE), ""),
    )


def event(found: Object) -> shapes.Event:
    """Return an event, of either API."""
    about = _part(found, "involvedObject") or _part(found, "regarding")
    series = _part(found, "series")
    last = (
        series.get("lastObservedTime")
        or found.get("lastTimestamp")
        or found.get("eventTime")
        or _part(found, "metadata").get("creationTimestamp")
    )
    return shapes.Event(
        kind=_text(about.get("kind")),
        name=_text(about.get("name")),
        uid=_text(about.get("uid")),
        type=_text(found.get("type")),
        reason=_text(found.get("reason")),
        message=_text(found.get("message") or found.get("note")),
        count=int(series.get("count") or found.get("count") or 1),
        last=_text(last),
    )
