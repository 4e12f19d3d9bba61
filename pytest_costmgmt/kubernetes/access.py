"""The way to an API server: its address, our credentials, and as whom we act, once for all.

Requests and streams take the same headers and the same TLS context from here. The Python
client's own streams drop every header but the token, so that a call would run as another user.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import logging
import os
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from pytest_costmgmt import folders
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.certificates import not_after, token_ends
from pytest_costmgmt.kubernetes.kubeconfig import SERVICE_ACCOUNT, Chosen, Impersonation, choose
from pytest_costmgmt.secret import redact, register

HTTPS, HTTP = 443, 80


class Access:
    """How one cluster is reached, and as whom. It holds credentials, and shows none."""

    def __init__(
        self,
        *,
        loaded: Loaded,
        impersonation: Impersonation,
        chosen: Chosen | None,
        namespace: str,
        environ: Mapping[str, str],
    ) -> None:
        self._configuration = configuration = loaded.configuration
        self._certificate_ends = loaded.certificate_ends
        self.impersonation = impersonation
        self.chosen = chosen
        self.server = str(configuration.host).rstrip("/")
        self.namespace = namespace
        "The namespace that the context names; ``default`` if it names none."
        self._acting = impersonation.headers()
        self.secure = self.server.startswith("https:")
        self.server_name = str(getattr(configuration, "tls_server_name", None) or "")
        "The name that the server's certificate must bear, if it is not that of its address."
        self.tls = loaded.tls if self.secure else None
        self.proxy = _proxy(self.server, chosen, environ)

    def __repr__(self) -> str:
        return f"Access({self.label})"

    @property
    def label(self) -> str:
        """Which cluster it is, in words that its operator knows it by."""
        if self.chosen is None:
            return f"{self.server} (this pod's service account)"
        acting = f", as {self.impersonation.user}" if self.impersonation else ""
        return f"{self.server} (context {self.chosen.context!r}{acting})"

    @property
    def origin(self) -> str:
        """Where the credentials come from."""
        if self.chosen is None:
            return "this pod's service account"
        return ", ".join(str(path) for path in self.chosen.files)

    def headers(self) -> list[tuple[str, str]]:
        """Return what every request and every stream says; a token that ends is renewed."""
        __tracebackhide__ = True
        configuration = self._configuration
        if (renew := getattr(configuration, "refresh_api_key_hook", None)) is not None:
            with _explained(self.origin):
                renew(configuration)
        found = [("Authorization", token)] if (token := _token(configuration)) else []
        return [*found, *self._acting]

    def ended(self) -> str:
        """Return which credential has ended, in a sentence, or nothing."""
        now = datetime.now(timezone.utc)
        token = _token(self._configuration).rpartition(" ")[2]
        ends = token_ends(token) if token else None
        what = "The token"
        if ends is None:
            what, ends = "The client certificate", self._certificate_ends
        return "" if ends is None or ends > now else f"{what} ended at {ends:%Y-%m-%d %H:%M} UTC. "


class Loaded(NamedTuple):
    """What the client made of the credentials."""

    configuration: Any
    tls: ssl.SSLContext
    certificate_ends: datetime | None = None


def access(
    *,
    kubeconfig: Path | None = None,
    context: str | None = None,
    impersonate: Impersonation | None = None,
    environ: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Access:
    """Return the way to the cluster that kubectl would take; nothing is connected to.

    What ``impersonate`` gives replaces what the kubeconfig says. Raises UsageProblem.
    """
    chosen = choose(kubeconfig=kubeconfig, context=context, environ=environ, account=account)
    own = chosen.impersonation if chosen is not None else Impersonation()
    given = impersonate or Impersonation()
    acting = Impersonation(
        user=given.user or own.user,
        groups=given.groups or own.groups,
        uid=given.uid or own.uid,
        extra=given.extra or own.extra,
    )
    acting.headers()  # before any plugin for credentials is started
    if chosen is None:
        loaded = _in_cluster(environ, account)
        namespace = _text(account / "namespace") or "default"
    else:
        loaded = _loaded(chosen)
        namespace = chosen.namespace
    return Access(
        loaded=loaded,
        impersonation=acting,
        chosen=chosen,
        namespace=namespace,
        environ=environ,
    )


def _text(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip()
    return ""


def _in_cluster(environ: Mapping[str, str], account: Path) -> Loaded:
    from kubernetes.client import Configuration  # noqa: PLC0415 - heavy
    from kubernetes.config import incluster_config  # noqa: PLC0415

    configuration = Configuration()
    load: Any = incluster_config.InClusterConfigLoader
    token, authority = str(account / "token"), str(account / "ca.crt")
    with _explained("this pod's service account"):
        load(token, authority, environ=environ).load_and_set(configuration)
        return Loaded(configuration, _context(configuration))


def _loaded(chosen: Chosen) -> Loaded:
    """Return the client's configuration; plugins for credentials are asked by the client."""
    if (plain := _plain(chosen)) is not None:
        return plain
    from kubernetes.client import Configuration  # noqa: PLC0415 - heavy
    from kubernetes.config import kube_config  # noqa: PLC0415

    configuration = Configuration()
    load: Any = kube_config.KubeConfigLoader
    origin = ", ".join(str(path) for path in chosen.files)
    # The client writes keys into files, which TLS asks for; they are read and gone at once.
    with folders.scratch("keys") as scratch, _explained(origin):
        with _heard() as said:
            load(
                config_dict=chosen.config,
                config_base_path=str(chosen.folder),
                temp_file_path=str(scratch),
            ).load_and_set(configuration)
        plugin = chosen.config["users"][0]["user"].get("exec")
        if plugin and not (_token(configuration) or configuration.cert_file):
            raise UsageProblem(
                f"The kubeconfig {origin} gets its credentials from {plugin.get('command')!r},"
                " which gave none: " + (redact(said[-1]) if said else "it said nothing."),
                hint="Log in again, or run it by hand.",
            )
        ends = None
        if configuration.cert_file:
            ends = not_after(Path(configuration.cert_file).read_bytes())
        return Loaded(configuration, _context(configuration), ends)


_PLAIN_USER = frozenset(
    {"token", "client-certificate-data", "client-key-data", "client-certificate", "client-key",
     "as", "as-groups", "as-uid", "as-user-extra"}
)  # fmt: skip
_PLAIN_CLUSTER = frozenset(
    {"server", "certificate-authority-data", "certificate-authority", "tls-server-name",
     "proxy-url"}
)  # fmt: skip


class _Plain:
    """What the client would make of a context whose credentials stand in it."""

    def __init__(self, cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> None:
        self.host = str(cluster["server"]).rstrip("/")
        self.verify_ssl = True
        self.tls_server_name = cluster.get("tls-server-name")
        self.api_key = {"BearerToken": f"Bearer {user['token']}"} if user.get("token") else {}
        self.ssl_ca_cert = _file(cluster, "certificate-authority", folder)
        self.cert_file = _file(user, "client-certificate", folder)
        self.key_file = _file(user, "client-key", folder)


def _file(found: Mapping[str, Any], name: str, folder: Path) -> str | None:
    """Return a file that holds what is given as data, or by its path; the data counts."""
    if data := found.get(f"{name}-data"):
        made = folder / name
        made.write_bytes(base64.b64decode(str(data), validate=True))
        return str(made)
    return str(found[name]) if found.get(name) else None


def _plain(chosen: Chosen) -> Loaded | None:
    """Return what the client would make of plain credentials, without its import.

    That takes longer than everything else before the first request. Whatever is not plain, or
    cannot be read, is left to the client and its words.
    """
    cluster = chosen.config["clusters"][0]["cluster"]
    user = chosen.config["users"][0]["user"]
    known = {key for key, value in user.items() if value} <= _PLAIN_USER
    if not known or not {key for key, value in cluster.items() if value} <= _PLAIN_CLUSTER:
        return None
    with folders.scratch("keys") as scratch:
        try:
            plain = _Plain(cluster, user, scratch)
            tls = _context(plain)
            ends = not_after(Path(plain.cert_file).read_bytes()) if plain.cert_file else None
        except (OSError, ValueError, TypeError):
            return None
    return Loaded(plain, tls, ends)


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """Yield what is logged meanwhile: the client only logs why a plugin gave no credentials."""
    said: list[str] = []

    class Hear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    hear = Hear()
    logging.getLogger().addHandler(hear)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(hear)


@contextlib.contextmanager
def _explained(origin: str) -> Iterator[None]:
    """Raise what the client says of a kubeconfig as a UsageProblem, without its traceback."""
    from kubernetes.config import ConfigException  # noqa: PLC0415 - heavy

    try:
        yield
    except UsageProblem:
        raise
    except (ConfigException, OSError, ValueError) as error:
        raise UsageProblem(f"The credentials of {origin} cannot be used: {redact(str(error))}",
                           hint="Log in again, or correct the kubeconfig.") from None  # fmt: skip


def _token(configuration: Any) -> str:
    """Return the Authorization header's value; the name of its key differs by the client's age."""
    keys = configuration.api_key
    token = " ".join(str(keys.get("BearerToken") or keys.get("authorization") or "").split())
    kind, _, value = token.partition(" ")
    register(value)
    return f"Bearer {value}" if kind.lower() == "bearer" else token


def _context(configuration: Any) -> ssl.SSLContext:
    # Not create_default_context: from Python 3.13 on that asks for key identifiers (RFC 5280),
    # which many a cluster's own CA lacks, and which kubectl does not ask for.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif configuration.ssl_ca_cert:
        context.load_verify_locations(cafile=configuration.ssl_ca_cert)
    else:
        context.load_default_certs()
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


class Proxy:
    """An HTTP proxy. Its password, if it has one, is never shown."""

    __slots__ = ("auth", "host", "port", "secure")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise UsageProblem(
                f"The cluster is to be reached by a proxy of kind {parts.scheme!r}, and streams"
                " into pods pass only through one that is reached by http.",
                hint="Use an http:// proxy, or one that needs none (NO_PROXY).",
            )
        self.host, self.port = parts.hostname, parts.port or HTTP
        self.auth: tuple[str, str] | None = None
        if parts.username:
            self.auth = (unquote(parts.username), unquote(parts.password or ""))
            register(self.auth[1])

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port})"


def _proxy(server: str, chosen: Chosen | None, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that kubectl takes: the kubeconfig's, else the environment's."""
    own = "" if chosen is None else chosen.config["clusters"][0]["cluster"].get("proxy-url") or ""
    if own:
        return Proxy(str(own))
    name = "https_proxy" if server.startswith("https:") else "http_proxy"
    url = environ.get(name.upper()) or environ.get(name) or ""
    excepted = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    return Proxy(url) if url and not direct(server, excepted) else None


def direct(server: str, excepted: str) -> bool:
    """Say whether ``server`` is reached without a proxy, as Go reads NO_PROXY.

    >>> direct("https://127.0.0.1:6443", ""), direct("https://api.ex.org:6443", "ex.org")
    (True, True)
    >>> direct("https://10.1.2.3", "10.0.0.0/8"), direct("https://api.ex.org", "*.other.org")
    (True, False)
    """
    host = urlsplit(server).hostname or ""
    address = None
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    for entry in (part.strip().lower() for part in excepted.split(",")):
        if address is not None:
            with contextlib.suppress(ValueError):
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            continue
        domain = entry.removeprefix("*").removeprefix(".").partition(":")[0]
        if entry == "*" or (domain and (host == domain or host.endswith("." + domain))):
            return True
    return False
