"""Requests to an API server: plain JSON in and out, each with a deadline, errors in words.

Objects travel as plain data, not as the client's models, whose fields depend on its version.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from pytest_costmgmt.kubernetes.access import Access
from pytest_costmgmt.kubernetes.trouble import (
    AccessDenied,
    ApiRefused,
    ClusterUnreachable,
    NotThere,
)
from pytest_costmgmt.secret import redact

Query = Sequence[tuple[str, str]]

CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 30.0
PATIENCE = 15.0
"How long reading goes on while an API server restarts, once it has answered."
_PAUSE = 0.3
_UNAUTHENTICATED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _UNAVAILABLE = 401, 403, 404, 429, 503


class Api:
    """One API server. Safe to use from several threads."""

    def __init__(self, access: Access, *, patience: float = PATIENCE) -> None:
        self.access = access
        self.patience = patience
        self._pool = _pool(access)
        self._answered = False

    @property
    def label(self) -> str:
        """Which cluster it is."""
        return self.access.label

    def get(self, path: str, query: Query = (), *, what: str = "") -> dict[str, Any]:
        """Return an object, or a list of them."""
        return self._json("GET", path, query, None, what)

    def create(self, path: str, body: Mapping[str, Any], *, what: str = "") -> dict[str, Any]:
        """Create an object; return it as the API server has it."""
        return self._json("POST", path, (), body, what)

    def replace(self, path: str, body: Mapping[str, Any], *, what: str = "") -> dict[str, Any]:
        """Replace an object, if it is still the version that ``body`` names; return it."""
        return self._json("PUT", path, (), body, what)

    def patch(self, path: str, body: Mapping[str, Any], *, what: str = "") -> dict[str, Any]:
        """Merge ``body`` into an object; return it. A resourceVersion in it must still be so."""
        return self._json("PATCH", path, (), body, what)

    def delete(self, path: str, body: Mapping[str, Any] | None = None, *, what: str = "") -> None:
        """Delete an object; one that is gone already is none to complain of."""
        try:
            self._json("DELETE", path, (), body, what)
        except NotThere:
            return

    def items(self, path: str, query: Query = (), *, what: str = "") -> list[dict[str, Any]]:
        """Return all items of a list, however many pages it has."""
        found: list[dict[str, Any]] = []
        more = ""
        while True:
            paged = [*query, ("limit", "500"), *([("continue", more)] if more else [])]
            page = self.get(path, paged, what=what)
            found += page.get("items") or []
            if not (more := (page.get("metadata") or {}).get("continue") or ""):
                return found

    def text(self, path: str, query: Query = (), *, what: str = "") -> bytes:
        """Return an answer that is no JSON, such as a log."""
        return self._answer("GET", path, query, None, what)

    def _json(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, what: str
    ) -> dict[str, Any]:
        answer = self._answer(method, path, query, body, what)
        try:
            found: Any = msgspec.json.decode(answer)
        except msgspec.DecodeError:
            found = None
        if not isinstance(found, dict):
            raise ClusterUnreachable(
                f"{self.label} answered {method} {path}, but not with an object: it is no"
                " Kubernetes API.",
                hint=f"Check the server's address in {self.access.origin}.",
            )
        return found

    def _answer(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, what: str
    ) -> bytes:
        __tracebackhide__ = True
        until = time.monotonic() + self.patience
        data = None if body is None else msgspec.json.encode(body)
        while True:
            try:
                status, answer = self._once(method, path, query, data)
            except ClusterUnreachable:
                # Reading is repeated; what creates or deletes may have been done already.
                if method != "GET" or not self._answered or time.monotonic() > until:
                    raise
            else:
                self._answered = True
                if status < 400:  # noqa: PLR2004 - HTTP's errors
                    return answer
                again = status in {_TOO_MANY, _UNAVAILABLE} and method == "GET"
                if not again or time.monotonic() > until:
                    raise refused(self.access, status, answer, what or f"{method} {path}")
            time.sleep(_PAUSE)

    def _once(self, method: str, path: str, query: Query, data: bytes | None) -> tuple[int, bytes]:
        __tracebackhide__ = True
        import urllib3  # noqa: PLC0415 - comes with the client

        headers = urllib3.HTTPHeaderDict(self.access.headers())
        headers["Accept"] = "application/json"
        if data is not None:
            merge = "merge-patch+" if method == "PATCH" else ""
            headers["Content-Type"] = f"application/{merge}json"
        url = self.access.server + path + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._pool.request(
                method,
                url,
                headers=headers,
                body=data,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=REQUEST_SECONDS),
            )
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(self.access, error) from None
        return int(answer.status), bytes(answer.data)


def _pool(access: Access) -> Any:
    import urllib3  # noqa: PLC0415 - comes with the client

    given: dict[str, Any] = {"maxsize": 8}
    if access.tls is not None:
        given["ssl_context"] = access.tls
        if access.server_name:
            given |= {"server_hostname": access.server_name}
            given |= {"assert_hostname": access.server_name}
        if access.tls.verify_mode == ssl.CERT_NONE:
            given |= {"cert_reqs": "CERT_NONE", "assert_hostname": False}
    if access.proxy is None:
        return urllib3.PoolManager(**given)
    proxy = access.proxy
    auth = urllib3.util.make_headers(proxy_basic_auth=":".join(proxy.auth)) if proxy.auth else None
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    return urllib3.ProxyManager(f"http://{host}:{proxy.port}", proxy_headers=auth, **given)


def refused(access: Access, status: int, answer: bytes, what: str) -> ApiRefused:
    """Return the error that an answer is; its own words stand in it."""
    try:
        said: Any = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        said = {"message": answer[:300].decode("utf-8", "replace")}
    said = said if isinstance(said, dict) else {}
    message = redact(" ".join(str(said.get("message") or f"HTTP {status}").split()))
    reason = str(said.get("reason") or "")
    text = f"{what}: {access.label} said: {message}"
    if status == _UNAUTHENTICATED:
        return AccessDenied(
            f"{what}: {access.label} does not know these credentials (from {access.origin}).",
            code=status,
            reason=reason,
            hint=f"{access.ended()}Log in again, and check that the context is this cluster's.",
        )
    if status == _FORBIDDEN:
        hint = "Ask for a role that allows it, or act as somebody who may."
        return AccessDenied(text, code=status, reason=reason, hint=hint)
    if status == _NOT_FOUND:
        return NotThere(text, code=status, reason=reason)
    return ApiRefused(text, code=status, reason=reason)


# OpenSSL's X509_V_ERR_*: what the certificate of another cluster is, or of a proxy in between.
_UNKNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
_EXPIRED, _KEY_IDENTIFIERS = 10, frozenset({85, 86})


def unreachable(access: Access, error: BaseException) -> ClusterUnreachable:
    """Return why no answer came, and what to do; ``error`` is the library's."""
    cause = _certificate_error(error)
    server, origin = access.label, access.origin
    if cause is None:
        return ClusterUnreachable(
            f"{server} cannot be reached: {_told(error, access)}.",
            hint=f"Check the network and the address in {origin}: is the context this cluster's?",
        )
    code, said = cause.verify_code, cause.verify_message
    if code in _UNKNOWN_ISSUER:
        return ClusterUnreachable(
            f"What answers at {server} is not the cluster that {origin} means: its certificate is"
            f" not signed by the kubeconfig's CA ({said}).",
            hint="Choose the right context, or renew the kubeconfig: a cluster that was built anew"
            " has another CA.",
        )
    if code in _OTHER_NAME:
        return ClusterUnreachable(
            f"The certificate of {server} bears another name: {said}.",
            hint="Use the address that the certificate bears, or set tls-server-name.",
        )
    if code == _EXPIRED:
        hint = "Renew it; no setting of ours accepts it."
        return ClusterUnreachable(f"The certificate of {server} has expired.", hint=hint)
    if code in _KEY_IDENTIFIERS:
        return ClusterUnreachable(
            f"The CA of {server} has no key identifiers ({said}), and this OpenSSL asks for them.",
            hint="Make a CA with subjectKeyIdentifier and authorityKeyIdentifier.",
        )
    return ClusterUnreachable(f"The certificate of {server} was refused: {said}.")


def _certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    seen: BaseException | None = error
    for _ in range(6):
        if seen is None or isinstance(seen, ssl.SSLCertVerificationError):
            return seen
        nested = next((each for each in seen.args if isinstance(each, BaseException)), None)
        nested = getattr(seen, "reason", None) if nested is None else nested
        seen = nested if isinstance(nested, BaseException) else seen.__cause__ or seen.__context__
    return None


def _told(error: BaseException, access: Access) -> str:
    """Return the operating system's words, which lie below the library's."""
    seen: BaseException | None = error
    for _ in range(6):
        if seen is None:
            break
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    if "imeout" in type(error).__name__:
        return "no answer came in time"
    host = urlsplit(access.server).hostname
    if "NameResolution" in type(error).__name__ or "Name or service" in str(error):
        return f"the name service does not know {host!r}"
    return redact(str(error)) or type(error).__name__
