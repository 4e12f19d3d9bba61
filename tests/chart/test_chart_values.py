"""Every value has an effect, is documented with its default, and is refused with a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from pytest_costmgmt.servers.release_upgrade import UNKNOWN
from tests.chart.rendering import CHART, Helm, RefusedError, Rendered, environment

DIGEST = "sha256:" + "0123456789abcdef" * 4
MIGRATION = "quay.io/insights-onprem/koku"
OUTSIDE = {
    "postgresql": {"enabled": False, "database": {"existingSecret": "my-postgresql-credentials"}},
    "migration": {"database": {"host": "db.example.com"}},
}
"An external database: the values that only count there are changed over these."

# Each leaf of values.yaml, another value for it, and what of another rendering must differ (None:
# it does not differ, but is accepted; the reason is told).
CHANGES: dict[str, Any] = {
    "nameOverride": "older",
    "commonLabels": {"team": "koku"},
    "imagePullSecrets": [{"name": "pull"}],
    "podSecurity.openshift": True,
    "postgresql.enabled": False,
    "postgresql.major": 15,
    "postgresql.image.repository": "registry.redhat.io/rhel8/postgresql-13",
    "postgresql.image.tag": "1-109",
    "postgresql.image.digest": DIGEST,
    "postgresql.image.pullPolicy": "Always",
    "postgresql.database.name": "Kök-u db",
    "postgresql.database.user": "cost",
    "postgresql.database.existingSecret": "mine",
    "postgresql.persistence.size": "100Gi",
    "postgresql.persistence.storageClassName": "my-storage-class",
    "postgresql.persistence.accessModes": ["ReadWriteOncePod"],
    "postgresql.resources.requests.cpu": "1000m",
    "postgresql.resources.requests.memory": "2Gi",
    "postgresql.resources.limits.cpu": 4,
    "postgresql.resources.limits.memory": "8Gi",
    "postgresql.sharedPreloadLibraries": ["pg_stat_statements", "auto_explain"],
    "postgresql.maxConnections": 300,
    "postgresql.tls.secretName": "postgres-tls",
    "postgresql.networkPolicy.enabled": True,
    "postgresql.podDisruptionBudget.enabled": True,
    "postgresql.podLabels": {"team": "db"},
    "postgresql.podAnnotations": {"team": "db"},
    "postgresql.nodeSelector": {"disk": "ssd"},
    "postgresql.tolerations": [{"key": "db", "operator": "Exists"}],
    "postgresql.affinity": {"podAntiAffinity": {}},
    "postgresql.priorityClassName": "high",
    "postgresql.startupSeconds": 3600,
    "postgresql.terminationSeconds": 60,
    "migration.enabled": False,
    "migration.image.repository": "quay.io/example/koku",
    "migration.image.tag": "v1",
    "migration.image.digest": DIGEST,
    "migration.image.pullPolicy": "Always",
    "migration.command": ["python", "manage.py", "migrate", "--noinput"],
    "migration.tls.caSecretName": "authority",
    "migration.hive.existingSecret": "hive-credentials",
    "migration.onprem": True,
    "migration.env": [{"name": "MORE", "value": "1"}],
    "migration.waitSeconds": 10,
    "migration.deadlineSeconds": 600,
    "migration.resources.requests.cpu": "1",
    "migration.resources.requests.memory": "1Gi",
    "migration.resources.limits.cpu": "2",
    "migration.resources.limits.memory": "4Gi",
    "migration.runAsUser": 1001,
    "migration.podLabels": {"team": "db"},
    "migration.podAnnotations": {"sidecar.istio.io/inject": "false"},
    "migration.nodeSelector": {"disk": "ssd"},
    "migration.tolerations": [{"key": "db", "operator": "Exists"}],
    "migration.affinity": {"nodeAffinity": {}},
    "migration.priorityClassName": "high",
    "migration.sidecars": [{"name": "proxy", "image": "example.com/proxy:1"}],
}
# Values that say something only together with others.
TOGETHER: dict[str, tuple[dict[str, Any], Any]] = {
    "postgresql.networkPolicy.from": (
        {"postgresql": {"networkPolicy": {"enabled": True}}},
        [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
    ),
    "migration.database.host": (OUTSIDE, "other.example.com"),
    "migration.database.port": (OUTSIDE, 6432),
    "migration.tls.caKey": (
        {"migration": {"tls": {"caSecretName": "authority"}}},
        "service-ca.crt",
    ),
}
ONLY_AGAINST_A_CLUSTER = {"postgresql.database.takeOwnership"}


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each value's dotted path and default."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return the values that set one path."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, as Helm coalesces them."""
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        deep = isinstance(value, Mapping) and isinstance(below, Mapping)
        both[key] = merged(below, value) if deep else value  # type: ignore[arg-type]
    return both


def defaults() -> dict[str, Any]:
    """Return values.yaml's leaves."""
    return dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))


def test_every_value_is_tried() -> None:
    """The tables here name each value that the chart has, with another value than its default."""
    assert {*CHANGES, *TOGETHER, *ONLY_AGAINST_A_CLUSTER} == set(defaults())
    assert not [path for path, value in CHANGES.items() if defaults()[path] == value]


@pytest.fixture(scope="module")
def default(helm: Helm) -> Rendered:
    """The chart without any value set."""
    return helm.render()


@pytest.mark.parametrize("path", CHANGES)
def test_each_value_changes_what_is_rendered(helm: Helm, default: Rendered, path: str) -> None:
    """A value changed is a rendering changed."""
    assert helm.render(nested(path, CHANGES[path])) != default


@pytest.mark.parametrize("path", TOGETHER)
def test_values_that_need_others(helm: Helm, path: str) -> None:
    """A value that counts only beside others changes their rendering."""
    base, value = TOGETHER[path]
    assert helm.render(merged(base, nested(path, value))) != helm.render(base)


def test_readme_tells_every_value() -> None:
    """The README's table has each value with its default, and no other."""
    text = (CHART / "README.md").read_text()
    rows = re.findall(r"^\| `([A-Za-z.]+)` \| (?:.*) \| (?:`(.*)`|empty) \|$", text, re.MULTILINE)
    assert len(rows) == len({path for path, _ in rows})
    told = {path: yaml.safe_load(value) if value else None for path, value in rows}
    empty: tuple[Any, ...] = ("", [], {})
    assert told == {
        path: None if value in empty and value is not False else value
        for path, value in defaults().items()
    }


IMAGES = [
    pytest.param({}, "quay.io/sclorg/postgresql-13-c9s:latest", id="default"),
    pytest.param({"major": 15}, "quay.io/sclorg/postgresql-15-c9s:latest", id="major-15"),
    pytest.param({"major": "16"}, "quay.io/sclorg/postgresql-16-c9s:latest", id="major-16-text"),
    pytest.param(
        {"image": {"tag": "1-2", "digest": DIGEST}},
        f"quay.io/sclorg/postgresql-13-c9s@{DIGEST}",
        id="digest-wins",
    ),
    pytest.param(
        {"image": {"repository": "registry:5000/rhel9/postgresql-15", "tag": "1-2"}},
        "registry:5000/rhel9/postgresql-15:1-2",
        id="own-repository",
    ),
    pytest.param(
        {"major": 13, "image": {"repository": "registry.redhat.io/rhel8/postgresql-13"}},
        "registry.redhat.io/rhel8/postgresql-13:latest",
        id="own-repository-and-major",
    ),
]


@pytest.mark.parametrize(("postgresql", "image"), IMAGES)
def test_image(helm: Helm, postgresql: dict[str, Any], image: str) -> None:
    """The major version picks a repository, one's own wins, and a digest wins over a tag."""
    rendered = helm.render({"postgresql": postgresql})
    images = {
        container["image"]
        for _, pod in rendered.pods()
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
    }
    assert images == {image, f"{MIGRATION}:latest"}


def test_existing_secret(helm: Helm) -> None:
    """With existingSecret no Secret is rendered, and everything refers to that one."""
    rendered = helm.render({"postgresql": {"database": {"existingSecret": "mine"}}})
    assert not [item for item in rendered.objects if item["kind"] == "Secret"]
    referred = {
        value[0]
        for _, pod in rendered.pods()
        for container in pod["spec"]["containers"]
        for value in environment(container).values()
        if isinstance(value, tuple)
    }
    assert referred == {"mine"}


@pytest.mark.parametrize(
    "extra", [{}, {"networkPolicy": {"enabled": True}}], ids=["plain", "policy"]
)
def test_no_database(helm: Helm, extra: dict[str, Any]) -> None:
    """postgresql.enabled=false renders no database object and nothing that waits for one."""
    assert helm.render({"postgresql": {"enabled": False, **extra}}).objects == []


def test_external_database(helm: Helm) -> None:
    """With a host of one's own, what remains talks to it, with the Secret that was named."""
    rendered = helm.render(OUTSIDE)
    assert rendered.names() == {("CronJob", "cost-mgmt-migration"), ("Pod", "postgres-test")}
    variables = environment(rendered.migration())
    assert variables["DATABASE_SERVICE_HOST"] == "db.example.com"
    assert variables["DATABASE_PASSWORD"] == ("my-postgresql-credentials", "password")
    (test,) = rendered.one("Pod", "postgres-test")["spec"]["containers"]
    assert environment(test)["PGHOST"] == "db.example.com"


# What is set, and a part of what is told about it.
REFUSED = [
    ("postgresql.major", 14, "13, 15, 16"),
    ("postgresql.major", "seventeen", "13, 15, 16"),
    ("postgresql.persistence.size", "lots", "20Gi, or another whole number followed by"),
    ("postgresql.persistence.size", 20, "20Gi, or another whole number followed by"),
    ("postgresql.persistence.storageClassName", "My Class", "an object's name"),
    ("postgresql.persistence.accessModes", ["ReadOnlyMany"], "ReadWriteOnce"),
    ("postgresql.image.tag", "1-109@sha256:abc", "goes into digest"),
    ("postgresql.image.tag", 15, "a tag: letters"),
    ("postgresql.image.digest", "sha256:abc", "64 hexadecimal digits"),
    ("postgresql.image.repository", "quay.io/a/b:latest", "a repository without tag"),
    ("postgresql.image.pullPolicy", "Sometimes", "IfNotPresent"),
    ("postgresql.database.name", "", "a name of 1 to 63 characters"),
    ("postgresql.database.name", "k" * 64, "a name of 1 to 63 characters"),
    ("postgresql.database.user", "ko'ku", "without quotes and backslashes"),
    ("postgresql.database.user", "postgres", "the superuser stays local"),
    ("postgresql.database.existingSecret", "Mine!", "an object's name"),
    ("postgresql.database.password", "hunter2", "password"),
    ("postgresql.maxConnections", 5, "50"),
    ("postgresql.maxConnections", "many", "integer"),
    ("postgresql.sharedPreloadLibraries", ["pg_stat_statements", "a';b"], "a library's name"),
    ("postgresql.sharedPreloadLibraries", [], "lacks pg_stat_statements"),
    ("postgresql.enabled", "maybe", "boolean"),
    ("postgresql.persistance.size", "1Gi", "persistance"),
    ("postgresql.podLabels", {"app.kubernetes.io/instance": "x"}, "a selector cannot change"),
    ("postgresql.terminationSeconds", 5, "30"),
    ("postgresql.networkPolicy.from", [{"podSelecter": {}}], "podSelecter"),
    ("commonLabels", {"app.kubernetes.io/name": "x"}, "a selector cannot change"),
    ("commonLabels", {"a": 1}, "string"),
    ("imagePullSecrets", ["mine"], "object"),
    ("podSecurity.openshift", "perhaps", "auto"),
    ("migration.image.repository", "", "the image that the application runs"),
    ("migration.command", [], "minItems"),
    ("migration.database.host", "postgres://db", "without a scheme"),
    ("migration.database.host", "db.example.com", "this release brings a database of its own"),
    ("migration.database.port", 0, "1"),
    ("migration.runAsUser", 0, "1"),
    ("migration.sidecars", [{"name": "x"}], "image"),
    ("migration.env", [{"name": "DATABASE_PASSWORD", "value": "x"}], "sets DATABASE_PASSWORD"),
    ("unknown", 1, "unknown"),
]


@pytest.mark.parametrize(
    ("path", "value", "told"), REFUSED, ids=[f"{path}-{n}" for n, (path, *_) in enumerate(REFUSED)]
)
def test_refusals(helm: Helm, path: str, value: Any, told: str) -> None:
    """What is wrong is refused, with the place and what would be right."""
    with pytest.raises(RefusedError) as refused:
        helm.render(nested(path, value))
    # JSON pointers escape the slash of a label's name.
    text = str(refused.value).replace("\\'", "'")
    assert told in text
    assert any(part in text for part in path.split("."))


def test_a_value_that_a_schema_refuses_is_known_by_helm_s_words(helm: Helm) -> None:
    """By these an upgrade tells a value that its chart does not know from all other trouble."""
    with pytest.raises(RefusedError, match=UNKNOWN):
        helm.render({"postgresql": {"unknown": {}}})


CONTRADICTIONS = [
    pytest.param(
        {"postgresql": {"major": 15, "image": {"repository": "rhel8/postgresql-13"}}},
        "names PostgreSQL 13 and postgresql.major says 15",
        id="major-and-repository",
    ),
    pytest.param(
        {"postgresql": {"enabled": False}, "migration": {"database": {"host": "db"}}},
        "nothing says how to log in there",
        id="host-without-secret",
    ),
]


@pytest.mark.parametrize(("values", "told"), CONTRADICTIONS)
def test_contradictions(helm: Helm, values: dict[str, Any], told: str) -> None:
    """Values that contradict each other are refused, both named."""
    with pytest.raises(RefusedError, match=re.escape(told)):
        helm.render(values)
