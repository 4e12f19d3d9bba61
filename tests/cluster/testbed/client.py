"""The API server of a bed, asked and told from this process.

A kubectl takes a quarter of a second of a core to start, and a test that waits asks three times a
second: two workers would be busy with nothing else.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

Object = dict[str, Any]


MANAGER = "costmgmt-tests"
"Who applies, as the API server notes it."
GONE_SECONDS = 60.0


class Unanswered(Exception):
    """A refusal, in kubectl's words, or no answer at all."""


class Client:
    """Acts as the kubeconfig's user, which has a token, and a certificate authority."""

    def __init__(self, kubeconfig: Path) -> None:
        import urllib3  # noqa: PLC0415 - a bed is built where nothing is installed yet

        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._pool = urllib3.connection_from_url(
            cluster["server"],
            ca_cert_data=base64.b64decode(cluster["certificate-authority-data"]).decode(),
            headers={"Authorization": f"Bearer {user['token']}"},
            # A connection that was idle while the server was started again is dead.
            retries=urllib3.Retry(total=1, backoff_factor=0),
            timeout=30,
            maxsize=4,
        )
        self._no_answer = urllib3.exceptions.HTTPError
        self._kinds: dict[str, tuple[str, bool]] = {}
        "Where each kind is, by its names, and by its version and kind."
        self._lock = threading.Lock()

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """Return an object; raises Unanswered."""
        found = self._read(f"{self._path(kind, namespace)}/{quote(name, safe='')}")
        found["metadata"].pop("managedFields", None)
        return found

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """Return the objects of a kind, as complete as each alone; raises Unanswered."""
        query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
        found = self._read(self._path(kind, namespace) + query)
        own = {"apiVersion": found["apiVersion"], "kind": found["kind"].removesuffix("List")}
        for each in found["items"]:
            each["metadata"].pop("managedFields", None)
        return [{**own, **each} for each in found["items"]]

    def apply(self, wanted: Object, namespace: str = "") -> None:
        """Make the cluster have this object, whoever else has a say in it; raises Unanswered."""
        wanted = _as_data(wanted)
        place = wanted["metadata"].get("namespace", namespace)
        path = self._path(f"{wanted['apiVersion']}/{wanted['kind'].lower()}", place)
        options = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict"}
        name = quote(wanted["metadata"]["name"], safe="")
        form = "application/apply-patch+yaml"  # of which JSON is a part
        self._ask("PATCH", f"{path}/{name}?{urlencode(options)}", wanted, form)

    def take_out(self, kind: str, name: str, pointer: str) -> None:
        """Take a part out of an object that is in no namespace; raises Unanswered."""
        path = f"{self._path(kind, '')}/{quote(name, safe='')}"
        body = [{"op": "remove", "path": pointer}]
        self._ask("PATCH", path, body, "application/json-patch+json")

    def token(self, account: str, namespace: str, *, hours: int) -> str:
        """Return a new token of a ServiceAccount; raises Unanswered."""
        path = f"{self._path('serviceaccounts', namespace)}/{quote(account, safe='')}/token"
        body = {"spec": {"expirationSeconds": hours * 3600}}
        return str(self._ask("POST", path, body)["status"]["token"])

    def delete_all(self, kind: str, namespace: str, *, now: bool = False) -> None:
        """Delete all objects of a kind in a namespace; raises Unanswered."""
        options: Object = {"propagationPolicy": "Background"}
        if now:
            options["gracePeriodSeconds"] = 0
        self._ask("DELETE", self._path(kind, namespace), options)

    def delete(self, kind: str, name: str) -> None:
        """Have an object deleted that is in no namespace; raises Unanswered."""
        self._ask("DELETE", f"{self._path(kind, '')}/{quote(name, safe='')}")

    def until_gone(self, kind: str, namespace: str) -> None:
        """Wait until no object of a kind is left in a namespace; raises Unanswered."""
        deadline = time.monotonic() + GONE_SECONDS
        while left := self.list(kind, namespace):
            if time.monotonic() > deadline:
                names = ", ".join(each["metadata"]["name"] for each in left)
                raise Unanswered(f"still there after {GONE_SECONDS:.0f} s: {kind} {names}")
            time.sleep(0.1)

    def _path(self, kind: str, namespace: str) -> str:
        with self._lock:
            if kind not in self._kinds:
                self._discover()
            if kind not in self._kinds:
                raise Unanswered(f'the server does not have a resource type "{kind}"')
            path, namespaced = self._kinds[kind]
        return path.replace("{}", f"namespaces/{namespace or 'default'}/" if namespaced else "")

    def _discover(self) -> None:
        """Learn every kind by its names, as kubectl does: the core's come first."""
        groups = self._read("/apis")["groups"]
        preferred = [each["preferredVersion"]["groupVersion"] for each in groups]
        # What is applied may be of another version than the one by which a kind is read.
        served = [each["groupVersion"] for group in groups for each in group["versions"]]
        for version in dict.fromkeys(("v1", *preferred, *served)):
            base = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for each in self._read(base)["resources"]:
                if "/" in each["name"]:
                    continue
                where = f"{base}/{{}}{each['name']}", bool(each["namespaced"])
                kind = each["kind"].lower()
                names = (each["name"], each["singularName"], kind, f"{version}/{kind}")
                for name in (*names, *each.get("shortNames", ())):
                    self._kinds.setdefault(name, where)

    def _read(self, path: str) -> Object:
        return self._ask("GET", path)

    def _ask(
        self, method: str, path: str, body: object = None, form: str = "application/json"
    ) -> Object:
        headers = {**self._pool.headers, "Content-Type": form}
        told = None if body is None else json.dumps(body)
        try:
            answer = self._pool.request(method, path, body=told, headers=headers)
        except self._no_answer as error:
            raise Unanswered(f"the API server did not answer: {error}") from None
        try:
            found: Object = json.loads(answer.data)
        except ValueError:
            raise Unanswered(f"the API server answered {answer.status}") from None
        if answer.status >= 300:
            reason, message = found.get("reason", answer.status), found.get("message", "")
            raise Unanswered(f"Error from server ({reason}): {message}")
        return found


def _as_data(wanted: Object) -> Object:
    """Return a Secret with its texts as data: who applies texts leaves older ones beside them."""
    if not (texts := wanted.get("stringData")):
        return wanted
    coded = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    rest = {key: value for key, value in wanted.items() if key != "stringData"}
    return {**rest, "data": {**wanted.get("data", {}), **coded}}
