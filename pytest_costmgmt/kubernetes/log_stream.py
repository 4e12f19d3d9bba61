"""A container's log, piece by piece, line by line, without a line twice or left out.

It asks again instead of keeping a connection: an API server that restarts is no end of a log.
"""

from __future__ import annotations

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.streams import pod_path
from pytest_costmgmt.kubernetes.trouble import ApiRefused, NotThere
from pytest_costmgmt.secret import redact

_BAD_REQUEST = 400


class LogStream:
    """Where we are in one log."""

    def __init__(self, api: Api, namespace: str, pod: str, container: str) -> None:
        self._api, self._path = api, pod_path(namespace, pod, "log")
        self._container, self._what = container, f"Reading the log of {container} in {pod}"
        self._second = ""
        "The last line's time, to the second, which is as exactly as one can ask."
        self._seen: list[str] = []
        "The lines that were given of it."

    def more(self, *, last: bool = False) -> list[str]:
        """Return the whole lines that came since, redacted; the ``last`` may have no end."""
        query = [("container", self._container), ("timestamps", "true")]
        query += [("sinceTime", f"{self._second}Z")] if self._second else []
        try:
            raw = self._api.text(self._path, query, what=self._what)
        except NotThere:
            return []
        except ApiRefused as error:
            if error.code == _BAD_REQUEST:  # it has not started yet
                return []
            raise
        end = len(raw) if last else raw.rfind(b"\n") + 1
        whole = raw[:end].decode("utf-8", "backslashreplace")
        found = []
        known = list(self._seen)
        for stamped in whole.splitlines():
            stamp, _, line = stamped.partition(" ")
            if stamped in known:
                known.remove(stamped)
                continue
            if (second := stamp[:19]) != self._second:
                self._second, self._seen = second, []
            self._seen.append(stamped)
            found.append(redact(line))
        return found
