"""How to reach a server: embedded, external or a release's, behind one Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from pytest_costmgmt.postgres.login import Login, pack, unpack

Mode = Literal["embedded", "external", "release"]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A PostgreSQL that can be reached, and the logins that were given or made.

    ``ours`` says whether this run created it (only then a wrong password may be tried freely).
    ``weakens`` are the remarks that the verdict's line must carry (a stand-in, ...).
    """

    mode: Mode
    label: str
    ours: bool
    application: Login
    administrator: Login | None = None
    hive: Login | None = None
    programs: str = ""
    weakens: tuple[str, ...] = ()
    folder: str = ""
    "The folder that goes with a server of ours, however the run ends; scratch files belong there."

    def pack(self) -> dict[str, Any]:
        """Return plain data, with passwords, for the pipe to a worker only."""
        plain = {f: getattr(self, f) for f in ("mode", "label", "ours", "programs", "folder")}
        logins = {f: pack(getattr(self, f)) for f in ("application", "administrator", "hive")}
        return {**plain, **logins, "weakens": list(self.weakens)}

    @classmethod
    def unpack(cls, data: Mapping[str, Any]) -> Server:
        """Return the server that :meth:`pack` packed."""
        application = unpack(data["application"])
        assert application is not None  # noqa: S101 - pack always writes it
        return cls(
            mode=data["mode"],
            label=data["label"],
            ours=data["ours"],
            programs=data["programs"],
            folder=data["folder"],
            application=application,
            administrator=unpack(data["administrator"]),
            hive=unpack(data["hive"]),
            weakens=tuple(data["weakens"]),
        )
