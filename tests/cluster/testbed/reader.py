"""What the API server of a bed says, asked from this process.

A kubectl takes a quarter of a second of a core to start, and a test that waits asks three times a
second: two workers would be busy with nothing else.
"""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

Object = dict[str, Any]


class Unanswered(Exception):
    """A refusal, in kubectl's words, or no answer at all."""


class Reader:
    """Reads as the kubeconfig's user, which has a token, and a certificate authority."""

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
        versions = [f"/apis/{each['preferredVersion']['groupVersion']}" for each in groups]
        for base in ("/api/v1", *versions):
            for each in self._read(base)["resources"]:
                if "/" in each["name"]:
                    continue
                where = f"{base}/{{}}{each['name']}", bool(each["namespaced"])
                names = (each["name"], each["singularName"], each["kind"].lower())
                for name in (*names, *each.get("shortNames", ())):
                    self._kinds.setdefault(name, where)

    def _read(self, path: str) -> Object:
        try:
            answer = self._pool.request("GET", path)
        except self._no_answer as error:
            raise Unanswered(f"the API server did not answer: {error}") from None
        try:
            found: Object = json.loads(answer.data)
        except ValueError:
            raise Unanswered(f"the API server answered {answer.status}") from None
        if answer.status != 200:
            reason, message = found.get("reason", answer.status), found.get("message", "")
            raise Unanswered(f"Error from server ({reason}): {message}")
        return found
