"""What runs on the node: each component's command and the files that it reads."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import NamedTuple

STATE = Path("/run/bed")
CONTAINERD = STATE / "containerd.sock"
SERVICES = "10.96.0.0/24"
PODS = "10.244.0.0/24"
NODE = "bed"
VOLUMES = 48
CLASS = "bed"
RARELY = {"GOGC": "400"}
"How often a program in Go collects its garbage: here is more memory than there are cores."

# Who each component is; the administrator's token is in the tests' kubeconfig.
IDENTITIES = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", "system:masters"),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "coredns": ("system:coredns", "system:masters"),
}


class Place(NamedTuple):
    """Where this node is: its folder outside, its addresses, its programs."""

    folder: str
    slot: int
    programs: str
    images: str
    pause: str
    path: str

    @property
    def host(self) -> str:
        """The machine's end of the cable."""
        return f"10.199.{self.slot}.1"

    @property
    def address(self) -> str:
        """The node's end of the cable."""
        return f"10.199.{self.slot}.2"

    @property
    def name(self) -> str:
        """What this bed's interface and control groups are called on the machine."""
        return f"costmgmt-bed{self.slot}"

    def program(self, name: str) -> str:
        """Return a built program's path."""
        return str(Path(self.programs) / name)


class Component(NamedTuple):
    """One process of the node."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = {}  # noqa: RUF012 - never written to


def write(place: Place) -> None:
    """Write certificates, tokens, kubeconfigs and configurations."""
    _certificates(place)
    tokens = {name: secrets.token_urlsafe(24) for name in IDENTITIES}
    lines = (
        f'{tokens[name]},{user},{user},"{group}"' for name, (user, group) in IDENTITIES.items()
    )
    _private(STATE / "tokens.csv", "\n".join(lines) + "\n")
    for name, token in tokens.items():
        _private(STATE / f"{name}.kubeconfig", kubeconfig(place, token, name))
    _private(Path(place.folder) / "kubeconfig", kubeconfig(place, tokens["admin"], "admin"))
    for number in range(VOLUMES):
        (STATE / "volumes" / f"{number:02}").mkdir(parents=True)
    (STATE / "cni").mkdir()
    (STATE / "cni" / "10-bed.conflist").write_text(json.dumps(_cni()))
    (STATE / "containerd.toml").write_text(_containerd(place))
    (STATE / "kubelet.json").write_text(json.dumps(_kubelet(place)))
    (STATE / "resolv.conf").write_text(f"nameserver {place.address}\n")
    (STATE / "Corefile").write_text(_corefile(place))


def first(place: Place) -> list[Component]:
    """Return what starts at once."""
    return [
        Component(
            "etcd",
            (
                place.program("etcd"),
                f"--data-dir={STATE}/etcd",
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--unsafe-no-fsync",
                "--log-level=warn",
            ),
        ),
        Component("containerd", ("containerd", "--config", f"{STATE}/containerd.toml")),
        Component(
            "kube-apiserver",
            (
                place.program("kube-apiserver"),
                "--etcd-servers=http://127.0.0.1:2379",
                f"--advertise-address={place.address}",
                f"--cert-dir={STATE}",
                f"--tls-cert-file={STATE}/apiserver.crt",
                f"--tls-private-key-file={STATE}/apiserver.key",
                f"--client-ca-file={STATE}/ca.crt",
                f"--token-auth-file={STATE}/tokens.csv",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                # What gives uids and groups as OpenShift does is tried with it.
                "--feature-gates=MutatingAdmissionPolicy=true",
                "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
                f"--service-account-key-file={STATE}/accounts.pub",
                f"--service-account-signing-key-file={STATE}/accounts.key",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-cluster-ip-range={SERVICES}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-client-certificate={STATE}/kubelet-client.crt",
                f"--kubelet-client-key={STATE}/kubelet-client.key",
            ),
        ),
    ]


def second(place: Place) -> list[Component]:
    """Return what needs an API server that answers."""
    return [
        Component(
            "kube-controller-manager",
            (
                place.program("kube-controller-manager"),
                f"--kubeconfig={STATE}/kube-controller-manager.kubeconfig",
                f"--service-account-private-key-file={STATE}/accounts.key",
                f"--root-ca-file={STATE}/ca.crt",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                f"--flex-volume-plugin-dir={STATE}/plugins",
            ),
        ),
        Component(
            "kube-scheduler",
            (
                place.program("kube-scheduler"),
                f"--kubeconfig={STATE}/kube-scheduler.kubeconfig",
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
            ),
        ),
        Component(
            "kubelet",
            (
                place.program("kubelet"),
                f"--config={STATE}/kubelet.json",
                f"--kubeconfig={STATE}/kubelet.kubeconfig",
                f"--root-dir={STATE}/kubelet",
                f"--cert-dir={STATE}/kubelet-pki",
                f"--hostname-override={NODE}",
                f"--node-ip={place.address}",
            ),
        ),
        Component(
            "kube-proxy",
            (
                place.program("kube-proxy"),
                f"--kubeconfig={STATE}/kube-proxy.kubeconfig",
                f"--hostname-override={NODE}",
                "--proxy-mode=iptables",
                f"--cluster-cidr={PODS}",
                # These would be the machine's.
                "--conntrack-max-per-core=0",
                "--conntrack-min=0",
                "--conntrack-tcp-timeout-established=0",
                "--conntrack-tcp-timeout-close-wait=0",
            ),
        ),
        Component("coredns", (place.program("coredns"), "-conf", f"{STATE}/Corefile")),
    ]


def kubeconfig(place: Place, token: str, user: str) -> str:
    """Return a kubeconfig for a bearer of this token."""
    cluster = {
        "server": f"https://{place.address}:6443",
        "certificate-authority-data": _base64((STATE / "ca.crt").read_bytes()),
    }
    context = {"cluster": "bed", "user": user, "namespace": "default"}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bed", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "bed", "context": context}],
            "current-context": "bed",
        },
        indent=1,
    )


def _base64(content: bytes) -> str:
    import base64  # noqa: PLC0415 - here only

    return base64.b64encode(content).decode()


def _private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _certificates(place: Place) -> None:
    """Make a certificate authority, as people's clusters have one, and what it signs."""
    names = "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost"
    addresses = f"IP:{place.address},IP:10.96.0.1,IP:127.0.0.1"
    (STATE / "apiserver.ext").write_text(
        f"subjectAltName={names},{addresses}\nextendedKeyUsage=serverAuth\n"
        "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    )
    (STATE / "kubelet-client.ext").write_text("extendedKeyUsage=clientAuth\n")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-addext", "basicConstraints=critical,CA:TRUE")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature")
    _openssl(
        *("req", "-x509", *key, "-days", "30", "-subj", "/CN=costmgmt-bed", *authority, *usage),
        *("-keyout", "ca.key", "-out", "ca.crt"),
    )
    for name, subject in (
        ("apiserver", "/CN=kube-apiserver"),
        ("kubelet-client", "/O=system:masters/CN=kube-apiserver"),
    ):
        request = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        _openssl("req", "-new", *key, "-subj", subject, *request)
        _openssl(
            *("x509", "-req", "-days", "30", "-in", f"{name}.csr", "-out", f"{name}.crt"),
            *("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext"),
        )
    _openssl("genpkey", "-algorithm", "EC", *key[2:4], "-out", "accounts.key")
    # Of an elliptic curve the API server reads no private key where it wants a public one.
    _openssl("pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")


def _openssl(*arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments], cwd=STATE, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"`openssl {' '.join(arguments)}` failed: {done.stderr[-500:]}")


def _cni() -> object:
    # Routed, not bridged: Services then work without the module br_netfilter.
    ptp = {
        "type": "ptp",
        "ipMasq": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(STATE / "cni-addresses"),
            "ranges": [[{"subnet": PODS}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "bed", "plugins": [ptp, portmap]}


def _containerd(place: Place) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""
version = 2
root = "{STATE}/containerd"
state = "{STATE}/containerd-state"
[grpc]
address = "{CONTAINERD}"
[plugins."io.containerd.internal.v1.opt"]
path = "{STATE}/opt"
[{cri}]
sandbox_image = "{place.pause}"
# Without it runc may not lower what this process itself was given.
restrict_oom_score_adj = true
disable_apparmor = true
[{cri}.containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false
[{cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{STATE}/cni"
"""


def _kubelet(place: Place) -> object:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{place.name}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "clusterDNS": [place.address],
        "clusterDomain": "cluster.local",
        "resolvConf": str(STATE / "resolv.conf"),
        "podLogsDir": str(STATE / "pod-logs"),
        "volumePluginDir": str(STATE / "plugins"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(STATE / "ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        # Nothing is thrown away to make room: the images can be had from nowhere else.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "0%",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
    }


def _corefile(place: Place) -> str:
    return f"""
.:53 {{
    bind {place.address}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {STATE}/coredns.kubeconfig bed
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""
