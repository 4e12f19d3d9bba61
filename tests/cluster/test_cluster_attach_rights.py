"""Each verb of the published Roles, taken away: it is named before anything is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.kubernetes.rights import Right, missing
from pytest_costmgmt.kubernetes.trouble import AccessDenied
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place as Namespace
from pytest_costmgmt.servers.release import Attachment, attach
from pytest_costmgmt.servers.release_hold import hold
from tests.cluster.attach_bed import checker, ended, judged
from tests.cluster.releases import Release, published, without
from tests.cluster.testbed.bed import Object
from tests.server import run_support
from tests.server.run_support import Place

EFFECTS = ("read-only", "probe", "disruptive")
# What only shows more: the run goes on without, and says so.
MORE = frozenset(
    {("get", "cronjobs"), ("list", "configmaps"), ("list", "events"), ("list", "networkpolicies"),
     ("get", "pods/log"), ("get", "leases")}
)  # fmt: skip
# What a probe takes, beyond what attaching takes: without it there is none.
OF_PROBES = frozenset(
    {("create", "jobs"), ("delete", "jobs"), ("list", "jobs"), ("list", "pods")}
)  # fmt: skip
GATE = ("--costmgmt-profile=release-gate", "--costmgmt-allow=disruptive")


class Verb(NamedTuple):
    """A verb of a published Role."""

    effect: str
    verb: str
    resource: str
    group: str
    name: str

    @property
    def right(self) -> Right:
        """As it is asked for."""
        return Right(self.verb, self.resource, self.group, self.name)


def verbs(effect: str) -> list[Verb]:
    """Return every verb of the effect's Role."""
    return [
        Verb(effect, verb, resource, group, next(iter(rule.get("resourceNames", ())), ""))
        for rule in published(f"check-{effect}")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def needed(each: Verb) -> bool:
    """Say whether nothing is done without it: a disruptive run takes some of the others too."""
    more = (each.verb, each.resource) in MORE
    taken = each.effect == "disruptive" and each.resource in {"cronjobs", "leases"}
    return taken or not more


class Account(NamedTuple):
    """Somebody with one Role, which a test makes less."""

    release: Release
    effect: str
    place: Namespace

    def role(self) -> Object:
        """Return the effect's Role as it is published."""
        return published(f"check-{self.effect}")

    def has(self, role: Object, until: Callable[[], bool]) -> None:
        """Give it these rights; the API server hears of them a moment later."""
        name = role["metadata"]["name"]
        space = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.release.namespace}"
        admin(self.release).replace(f"{space}/roles/{name}", role, what="Changing a Role")
        self.release.bed.until("the rights to count", until)

    def lacks(self, each: Verb) -> bool:
        """Say whether it may not do that now."""
        return bool(missing(self.place.api(), self.release.namespace, [each.right]))

    def attached(self) -> Attachment:
        """Attach as a run with the effect does."""
        found = hold if self.effect == "disruptive" else lambda _: None
        effect = "read-only" if self.effect == "read-only" else "probe"
        return attach(self.place, load("koku-hive"), effect=effect, found=found)


@pytest.fixture(scope="module")
def accounts(judged_release: Release) -> dict[str, Account]:
    """For each effect somebody with exactly its Role."""
    bed, namespace = judged_release.bed, judged_release.namespace
    made = {}
    for effect in EFFECTS:
        kubeconfig = bed.account(namespace, f"may-{effect}", published(f"check-{effect}"))
        place = Namespace(namespace=namespace, kubeconfig=str(kubeconfig))
        made[effect] = Account(judged_release, effect, place)
    return made


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def admin(release: Release) -> Api:
    """Return the API as the administrator has it: kubectl would take a second each time."""
    where = Namespace(namespace=release.namespace, kubeconfig=str(release.bed.kubeconfig))
    return where.api()


def objects(release: Release) -> list[str]:
    """Return what a run makes: Jobs and a Lease that is held."""
    api = admin(release)
    paths = [path_of(release.namespace, name, group=group) for name, group in
             (("jobs", "batch/v1"), ("leases", "coordination.k8s.io/v1"))]  # fmt: skip
    jobs, leases = (api.items(path, what="Looking") for path in paths)
    held = [each for each in leases if each["spec"].get("holderIdentity")]
    there = [each for each in jobs if "deletionTimestamp" not in each["metadata"]]
    return [each["metadata"]["name"] for each in (*held, *there)]


@pytest.mark.parametrize("effect", EFFECTS)
def test_with_the_whole_role_nothing_is_missing(accounts: dict[str, Account], effect: str) -> None:
    """Attached; with a probe where one may be made, and alone where that was asked."""
    with contextlib.closing(accounts[effect].attached()) as attached:
        assert attached.problem == ""
        assert (attached.probe is None) is (effect == "read-only")
        assert attached.objects.refused.keys() <= {"the volume"}


TAKEN = [each for effect in EFFECTS for each in verbs(effect) if needed(each)]


@pytest.mark.parametrize("each", TAKEN, ids=[f"{e}-{v}-{r}" for e, v, r, *_ in TAKEN])
def test_a_verb_that_is_missing_is_named(accounts: dict[str, Account], each: Verb) -> None:
    """Before the first action; what a probe lacks is told, and what others can see goes on."""
    account = accounts[each.effect]
    before = objects(account.release)
    account.has(without(account.role(), each.verb, each.resource), lambda: account.lacks(each))
    try:
        if each.effect == "probe" and (each.verb, each.resource) in OF_PROBES:
            with contextlib.closing(account.attached()) as attached:
                assert attached.probe is None
                assert each.right.text in attached.unprobed
                assert objects(account.release) == before
        else:
            with pytest.raises(AccessDenied) as told:
                account.attached()
            # That of the Secret that is read first is asked for by its name.
            assert any(named.startswith(each.right.text) for named in told.value.missing)
            assert f'verbs: ["{each.verb}"]' in str(told.value)
        assert objects(account.release) == before
    finally:
        account.has(account.role(), lambda: not account.lacks(each))


ONE = [
    pytest.param("read-only", ("get", "statefulsets"), ("--costmgmt-allow=read-only",),
                 id="read-only"),
    pytest.param("probe", ("create", "pods/portforward"), (), id="probe"),
    pytest.param("disruptive", ("update", "secrets"), GATE, id="disruptive"),
]  # fmt: skip


@pytest.mark.parametrize(("effect", "right", "given"), ONE)
def test_a_run_says_it_in_one_error(
    judged_release: Release,
    place: Place,
    effect: str,
    right: tuple[str, str],
    given: tuple[str, ...],
) -> None:
    """It names the right and the rule that gives it, and blocks all else."""
    verb, resource = right
    role = without(published(f"check-{effect}"), verb, resource)
    role["metadata"]["name"] = f"less-{effect}"
    who = judged_release.bed.account(judged_release.namespace, f"less-{effect}", role)
    ran = judged(place, judged_release, who, *given).sound(8, "inconclusive")
    assert ended(ran) == {"CM-REL-001": "error"}
    told = ran.summary("CM-REL-001")
    assert f"{verb} {resource.partition('/')[0]}" in told
    assert f'verbs: ["{verb}"]' in told


# What cannot be judged without one of those verbs.
OF_THE_APPLICATION = {"CM-MIG-002", "CM-MIG-003", "CM-MIG-004", "CM-MIG-008"}
OF_HIVE = {"CM-CON-004", "CM-CON-009", "CM-CRD-001"}
UNSEEN = {
    ("list", "networkpolicies"): {"CM-SEC-009"},
    ("list", "configmaps"): {"CM-REL-008"},
    # The application is asked by a Job of its CronJob's, whose log is the answer; hive's Secret is
    # named there.
    ("get", "cronjobs"): {*OF_THE_APPLICATION, *OF_HIVE, "CM-REL-008"},
    ("get", "pods/log"): OF_THE_APPLICATION,
}


# What is left out makes a verdict that shows what the cluster says.
EXHIBITS = "--costmgmt-skip=CM-SRV-001=to see the exhibits"


@pytest.fixture(scope="module")
def outcomes(judged_release: Release) -> dict[str, str]:
    """Return how each check ends with the whole Role: hive's Secret, which it names, is of it."""
    who = judged_release.bed.account(judged_release.namespace, "sees-all", checker())
    with run_support.place() as place:
        return judged(place, judged_release, who, EXHIBITS).sound(8, "inconclusive").outcomes


@pytest.mark.parametrize("right", sorted(MORE), ids=" ".join)
def test_what_only_shows_more_is_told_to_be_missing(
    judged_release: Release, place: Place, outcomes: dict[str, str], right: tuple[str, str]
) -> None:
    """A verb alone is named where it is missed; nothing is passed for want of sight."""
    verb, resource = right
    role = without(checker(), verb, resource)
    name = f"sees-no-{resource.replace('/', '-')}"
    role["metadata"]["name"] = name
    who = judged_release.bed.account(judged_release.namespace, name, role)
    ran = judged(place, judged_release, who, EXHIBITS).sound(8, "inconclusive")
    told = " ".join((ran.said + (ran.folder / "report.json").read_text()).split())
    cannot = f'cannot {verb} resource "{resource}"'
    words = (cannot, cannot.replace('"', '\\"'), f"may {verb} {resource}")
    assert any(word in told for word in words)
    changed = {key for key, outcome in ran.outcomes.items() if outcome != outcomes[key]}
    assert sorted(changed) == sorted(UNSEEN.get(right, ()))
    assert all(ran.outcomes[key] == "unverifiable" for key in changed)
