"""Upgrade the release on purpose, in the ways in which it is done, and look what it then holds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.errors import CostMgmtError, ServerNotReady
from pytest_costmgmt.facts import release as facts
from pytest_costmgmt.facts.held import held
from pytest_costmgmt.facts.upgrades import Held, Stage, Upgrades
from pytest_costmgmt.kubernetes import helm
from pytest_costmgmt.kubernetes.lease import confirm
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.shapes import Container
from pytest_costmgmt.kubernetes.trouble import HelmFailed
from pytest_costmgmt.postgres.kept_row import KeptRow
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.cluster import Place

DEADLINE = 900.0
"Seconds of one rollout, the old pod's shutdown included."
_PAUSE = 0.5
_KEEP = ("--reset-then-reuse-values",)
_LARGER = "1000Ti"
_CHOOSES, _INSTALLS = "who chooses the images", "who installs the chart"
_BY_HAND = "helm upgrade by the value that this chart has for it, and the checks again after it"
UNKNOWN = "don't meet the specifications of the schema"
"What Helm says of a value that a chart's schema does not let it have."
SAME, AGAIN, RESOURCES, IMAGE, ROLLBACK, GROWTH = (
    "the same values", "the same values again", "other resources", "another image tag", "rollback",
    "a larger volume",
)  # fmt: skip


class _NotTaken(HelmFailed):
    """The chart's schema has no such value: nothing was tried."""


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done to which release; it holds no credentials."""

    place: Place
    chart: str
    run_id: str
    key: str
    tag: str = ""
    release: str = ""
    "The one that was asked for by name."


class Upgrading:
    """The deeds, once for a run: asked again it returns what it saw."""

    def __init__(self, wanted: Upgrade, server: Server) -> None:
        self.wanted, self.server = wanted, server
        self._seen: Upgrades | None = None

    def __call__(self) -> Upgrades:
        """Do them, and return what came of them; whatever breaks is in it."""
        if self._seen is None:
            self._seen = self._acted()
        return self._seen

    def _acted(self) -> Upgrades:
        administrator = self.server.administrator
        assert administrator is not None  # noqa: S101 - a release's is there
        row = KeptRow(administrator, run_id=self.wanted.run_id, deadline=60.0)
        try:
            deeds = _Deeds(self.wanted, administrator, self.server.application, row)
            row.plant()
            try:
                return deeds.all()
            finally:
                row.remove()
        except CostMgmtError as error:
            return Upgrades(error=str(error))


def is_of(deployed: str, name: str) -> bool:
    """Say whether what Helm calls a release's chart, with its version, is the chart of this name.

    >>> is_of("postgres-1.2.0-rc.1", "postgres"), is_of("postgres-all-1.2.0", "postgres")
    (True, False)
    """
    return re.fullmatch(rf"{re.escape(name)}-v?\d.*", deployed) is not None


def _another(stage: Stage, ran: str) -> Stage:
    """Return the step, and that it was not the one asked for if the image is the one that ``ran``.

    >>> _another(Stage(what="x", image="pg:1"), "pg:1").left_out
    'the image after it is the one before it, pg:1: no other was tried'
    >>> _another(Stage(what="x", image="pg:2"), "pg:1").left_out
    ''
    """
    if not stage.image or stage.image != ran:
        return stage
    why = f"the image after it is the one before it, {ran}: no other was tried"
    how = "name another tag of the same major version: --costmgmt-upgrade-tag"
    return msgspec.structs.replace(stage, left_out=why, who=_CHOOSES, how=how)


def _heeded(stage: Stage, asked: str) -> Stage:
    """Return the step, and that nothing was tried by it if the container asks for what it did.

    Its pod was then not replaced, or not for that.

    >>> held = Held(row="", server="", claim="", secret="", opens=True, roles=(), extensions=())
    >>> _heeded(Stage(what="x", after=held, cpu="500m"), "500m").left_out
    'the chart does not heed postgresql.resources: its container asks for cpu 500m after it too'
    >>> _heeded(Stage(what="x", after=held, cpu="499m"), "500m").left_out
    ''
    """
    if stage.after is None or stage.cpu != asked:
        return stage
    why = (
        "the chart does not heed postgresql.resources: its container asks for"
        f" cpu {asked or 'that is unsaid'} after it too"
    )
    return msgspec.structs.replace(stage, left_out=why, who=_INSTALLS, how=_BY_HAND)


class _Deeds:
    def __init__(
        self, wanted: Upgrade, administrator: Login, application: Login, row: KeptRow
    ) -> None:
        place = wanted.place
        self.wanted, self.row = wanted, row
        self.administrator, self.application = administrator, application
        api = place.api()
        self.key = wanted.key.encode()
        self.reader = Reader(api, place.namespace)
        self.objects = facts.read(self.reader, key=self.key, named=wanted.release)
        self.release = self.objects.release
        self.helm = helm.Helm(helm.find(), api.access, place.namespace)
        self.stages: dict[str, Stage] = {}

    def all(self) -> Upgrades:
        before = self._held()
        first = self.helm.status(self.release)
        if first is None:
            return Upgrades(error=f"Helm keeps no release {self.release}")
        ours = self.helm.chart_name(Path(self.wanted.chart))
        if not is_of(first.chart, ours):
            return Upgrades(
                error=f"release {self.release} is of chart {first.chart}, and {ours} would remove"
                " what that one has beyond it: name the release's own by --costmgmt-chart"
            )
        self._grow()
        self._stage(SAME, self._upgrade)
        self._stage(AGAIN, self._upgrade)
        self._other_resources()
        self._other_image()
        self._stage(ROLLBACK, lambda: self.helm.rollback(self.release, first.revision))
        return Upgrades(before=before, stages=self.stages)

    def _stage(self, what: str, act: Callable[[], None]) -> None:
        """Do it and look; what Helm or the rollout says against it is a finding, not an error."""
        before = [stage for name, stage in self.stages.items() if name != GROWTH]
        if any(stage.error or stage.refused for stage in before) and what != ROLLBACK:
            self.stages[what] = Stage(what=what, error="an upgrade before it did not come about")
            return
        try:
            # The controller renews it; nothing is upgraded without.
            place = self.wanted.place
            confirm(self.reader.api, place.namespace, facts.LEASE, run=self.wanted.run_id)
            act()
            image, cpu = self._settled()
            self.stages[what] = Stage(what=what, after=self._held(), image=image, cpu=cpu)
        except _NotTaken as error:
            told = f"the chart does not take the value that sets {what}: {error.message}"
            self.stages[what] = Stage(what=what, left_out=told, who=_INSTALLS, how=_BY_HAND)
        except (HelmFailed, ServerNotReady) as error:
            self.stages[what] = Stage(what=what, refused=str(error))
        except CostMgmtError as error:
            self.stages[what] = Stage(what=what, error=str(error))

    def _upgrade(self, values: Mapping[str, Any] | None = None) -> None:
        chart = Path(self.wanted.chart)
        self.helm.upgrade(self.release, chart, values=values, arguments=_KEEP)

    def _other_resources(self) -> None:
        described = self.objects.stateful_set
        containers = () if described is None else described.template.containers
        container = facts.database_container(containers)
        values = {"postgresql": {"resources": {"requests": {"cpu": other_cpu(container)}}}}
        self._stage(RESOURCES, lambda: self._set(values))
        self.stages[RESOURCES] = _heeded(self.stages[RESOURCES], self.stages[AGAIN].cpu)

    def _other_image(self) -> None:
        if not self.wanted.tag:
            self.stages[IMAGE] = Stage(
                what=IMAGE,
                left_out="which tag the image may be upgraded to is not known",
                who=_CHOOSES,
                how="name one of the same major version: --costmgmt-upgrade-tag",
            )
            return
        image = {"tag": self.wanted.tag, "digest": ""}
        # The last that was seen: other resources may have been refused.
        ran = next((each.image for each in reversed(self.stages.values()) if each.image), "")
        self._stage(IMAGE, lambda: self._set({"postgresql": {"image": image}}))
        self.stages[IMAGE] = _another(self.stages[IMAGE], ran)

    def _set(self, values: Mapping[str, Any]) -> None:
        """Upgrade with these values; raise _NotTaken if the chart's own schema refuses them."""
        try:
            self._upgrade(values)
        except HelmFailed as error:
            if UNKNOWN in error.message:
                raise _NotTaken(error.message, status=error.status) from None
            raise

    def _grow(self) -> None:
        """Ask for what no upgrade can do: it must be refused with the way that can."""
        values = {"postgresql": {"persistence": {"size": _LARGER}}}
        chart = Path(self.wanted.chart)
        try:
            self.helm.upgrade(self.release, chart, values=values, arguments=_KEEP, dry_run=True)
        except HelmFailed as error:
            self.stages[GROWTH] = Stage(what=GROWTH, refused=error.message)
        else:
            self.stages[GROWTH] = Stage(what=GROWTH)

    def _settled(self) -> tuple[str, str]:
        """Wait until the pod is what the StatefulSet says; return its image, and its cpu."""
        began, seen = time.monotonic(), "nothing"
        while (waited := time.monotonic() - began) < DEADLINE:
            wanted, pod = self.reader.stateful_set(facts.STATEFUL_SET), self.reader.pod(facts.POD)
            if wanted is None or pod is None:
                seen = "no StatefulSet" if wanted is None else "no pod"
            elif wanted.observed < wanted.generation:
                seen = "the StatefulSet's controller has not seen it yet"
            elif pod.template.labels.get("controller-revision-hash") != wanted.update_revision:
                seen = f"pod of an older revision: {facts.state_of(pod)}"
            elif pod.ready:
                runs = facts.database_container(pod.template.containers)
                # The pod's own may be another's word: a webhook's, a LimitRange's.
                asks = facts.database_container(wanted.template.containers)
                return (
                    "" if runs is None else runs.image,
                    "" if asks is None else asks.requests.get("cpu", ""),
                )
            else:
                seen = facts.state_of(pod)
            time.sleep(_PAUSE)
        raise ServerNotReady("the pod after the upgrade", waited, seen)

    def _held(self) -> Held:
        return held(
            self.reader,
            self.row,
            self.administrator,
            self.application,
            claim=facts.claim_name(self.objects),
            secret=(self.objects.secret_name, self.objects.key("password")),
            key=self.key,
            deadline=60.0,
        )


def other_cpu(container: Container | None) -> str:
    """Return another request than the container's: less, as a limit, quota or node may be full.

    >>> other_cpu(None), other_cpu(Container(name="a", image="b", limits={"cpu": "2"}))
    ('499m', '1999m')
    >>> other_cpu(Container(name="a", image="b", requests={"cpu": "1m"}, limits={"cpu": "2"}))
    '2m'
    """
    said = [] if container is None else [container.requests.get("cpu"), container.limits.get("cpu")]
    asked = millicores(next((each for each in said if each), "500m"))
    return f"{asked - 1 if asked > 1 else asked + 1}m"


def millicores(asked: str) -> int:
    """Return an amount of processors in thousandths.

    >>> [millicores(each) for each in ("500m", "2", "1.5", "odd")]
    [500, 2000, 1500, 500]
    """
    found = re.fullmatch(r"([0-9.]+)(m?)", asked)
    if found is None:
        return 500
    return int(float(found[1])) if found[2] else int(float(found[1]) * 1000)


def upgrading(wanted: str, server: Server) -> Upgrading:
    """Return the deeds that were encoded; nothing is done yet."""
    if not wanted:
        wanted = msgspec.json.encode(
            Upgrade(place=Place(namespace=""), chart="", run_id="", key="")
        ).decode()
    return Upgrading(msgspec.json.decode(wanted, type=Upgrade), server)
