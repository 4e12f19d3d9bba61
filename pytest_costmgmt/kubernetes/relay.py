"""The ways to a database that only its cluster reaches; each connection is one stream.

*Loopback* is trusted by the database's image: whoever comes that way is a superuser. *Network* is
what an application sees: its address, its password, its TLS.
"""

from __future__ import annotations

import ipaddress
from typing import Protocol

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.streams import Wire, execute, forward

NOT_REACHED = 7
"The relay's exit status if the address does not answer."

# The one that ends first ends the other: a client that vanished leaves no session behind, and a
# connection that was reset ends with another status than one that was closed. What the server
# still said to a client that could not send on is read to its end.
# In the database's own container nothing may be left to the first process, which is PostgreSQL: it
# takes an orphan's death by a signal, or a status above 1, for a crash of its own and ends every
# session. So both are waited for, and a pipe that broke is a status of 1.
RELAY = (
    f"trap '' PIPE; exec 3<>/dev/tcp/$0/$1 || exit {NOT_REACHED}\n"
    "cat <&3 & from=$!; cat <&0 >&3 & to=$!; wait -n; code=$?\n"
    "[ $code = 0 ] || wait $from; kill $from $to 2>/dev/null; wait; exit $code"
)


class Route(Protocol):
    """A way to one server.

    ``open`` begins one connection, or raises a CostMgmtError. ``trusted``: the server asks
    nobody who comes this way for a password, so that no TCP port may lead there.
    """

    @property
    def label(self) -> str:
        """The way in words."""
        ...

    @property
    def trusted(self) -> bool:
        """Whether the server trusts whoever comes this way."""
        ...

    def open(self) -> Wire:
        """Begin one connection."""
        ...


class Loopback:
    """To the database pod's own localhost, by port-forward."""

    trusted = True

    def __init__(self, api: Api, namespace: str, pod: str, *, port: int = 5432) -> None:
        self._api, self._namespace, self._pod, self._port = api, namespace, pod, port
        self.label = f"localhost:{port} in pod {pod}"

    def open(self) -> Wire:
        """Begin one connection."""
        return forward(self._api, self._namespace, self._pod, self._port)


class Network:
    """From a pod to an address as an application sees it, by a relay of bash in that pod."""

    trusted = False

    def __init__(
        self, api: Api, namespace: str, pod: str, *, container: str, host: str, port: int = 5432
    ) -> None:
        _not_loopback(host)
        self._api, self._namespace, self._pod, self._container = api, namespace, pod, container
        self._host, self._port = host, port
        self.label = f"{host}:{port} from pod {pod}"

    def open(self) -> Wire:
        """Begin one connection."""
        argv = ["bash", "-c", RELAY, self._host, str(self._port)]
        return execute(
            self._api, self._namespace, self._pod, argv, container=self._container, stdin=True
        )


def _not_loopback(host: str) -> None:
    """Refuse what the image trusts: it would look like the network, and admit any password."""
    name = host.strip().rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name.strip("[]"))
        inside = address.is_loopback or address.is_unspecified
    except ValueError:
        inside = not name or name == "localhost" or name.endswith(".localhost") or "/" in name
    if inside:
        raise UsageProblem(
            f"{host!r} is the pod's own localhost, which its database may trust without a password:"
            " it shows nothing of what an application sees.",
            hint="Name the Service, the pod's address, or the external host.",
        )
