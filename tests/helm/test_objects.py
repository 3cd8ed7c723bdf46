"""What the chart renders is valid, and runs a frontend as it should be run."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
from pydantic import ByteSize, TypeAdapter

from holdfast.service.backends import PROBE_DEADLINE
from holdfast.service.pairing import WITNESS
from holdfast.service.settings import Settings
from tests.helm.cases import ACCEPTED, NODES_ALONE, WITH_FRONTENDS
from tests.helm.chart import CHART, Helm, component_of
from tests.helm.schemas import VERSIONS, check

pytestmark = pytest.mark.helm

SETS = pytest.mark.parametrize("name", ACCEPTED)
FRONTENDS = pytest.mark.parametrize("name", WITH_FRONTENDS)
PLACES = {
    "listen", "http", "s3_bucket", "redis_url", "data_dir", "disk_cache_dir", "log_format",
    "quotas", "identities",
}  # fmt: skip
"""What the chart sets in its own way."""


@SETS
def test_it_lints(helm: Helm, name: str) -> None:
    """The chart passes helm's strict lint."""
    done = helm.run("lint", "--strict", str(CHART), values=ACCEPTED[name])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_fit_the_schemas_of_kubernetes(helm: Helm, version: str) -> None:
    """Every rendered object has only fields that this version of Kubernetes knows."""
    for values in ACCEPTED.values():
        check(helm.render(**values), version)


def test_the_versions_are_those_that_the_chart_is_for() -> None:
    """Every version from 1.30 to the newest that the library knows is checked."""
    newest = int(kubernetes_validate.latest_version().split(".")[1])
    assert [f"1.{minor}" for minor in range(30, newest + 1)] == VERSIONS


@FRONTENDS
def test_what_belongs_together_finds_itself(helm: Helm, name: str) -> None:
    """Services, the policy and the budget select the pods, by labels that never change."""
    rendered = helm.render(**ACCEPTED[name])
    deployment = rendered.one("Deployment")["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    assert "app.kubernetes.io/version" not in selector
    selectors = [item["spec"]["selector"] for item in rendered.all_of("Service")]
    budgets = rendered.all_of("PodDisruptionBudget")
    selectors += [item["spec"]["selector"]["matchLabels"] for item in budgets]
    assert selectors == [selector] * len(selectors)
    named = {port["name"] for c in rendered.pod["containers"] for port in c["ports"]}
    targets = {
        port["targetPort"] for item in rendered.all_of("Service") for port in item["spec"]["ports"]
    }
    assert targets <= named


def test_nodes_alone_need_nothing_of_frontends(helm: Helm) -> None:
    """A release that only sets nodes up has their objects alone, and needs no other value."""
    rendered = helm.render_only(ACCEPTED[NODES_ALONE])
    assert {component_of(item) for item in rendered.objects} == {"nodes"}


def test_a_frontend_has_no_rights_that_it_does_not_need(helm: Helm) -> None:
    """The pod runs as nobody, on a read-only file system, without capabilities or a token."""
    rendered = helm.render()
    pod, container = rendered.pod, rendered.frontend["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    for account in rendered.all_of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["readOnlyRootFilesystem"] is True
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert {"hostNetwork", "hostPID", "hostIPC"} & pod.keys() == set()


def test_a_roll_out_never_takes_a_frontend_away_first(helm: Helm) -> None:
    """A roll-out adds a pod before it ends one, and pods are spread over zones and nodes."""
    spec = helm.render().one("Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    keys = [item["topologyKey"] for item in spec["template"]["spec"]["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


def test_constraints_of_ones_own_are_about_the_frontends(helm: Helm) -> None:
    """A constraint that doesn't say which pods it counts, and so counted none, counts these."""
    mine = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    other = {**mine, "labelSelector": {"matchLabels": {"a": "b"}}}
    rendered = helm.render(topologySpreadConstraints=[mine, other])
    first, second = rendered.pod["topologySpreadConstraints"]
    selector = rendered.one("Deployment")["spec"]["selector"]
    assert first == {
        **mine,
        "labelSelector": selector,
        "matchLabelKeys": ["pod-template-hash"],
    }
    assert second == other


@pytest.mark.parametrize(
    ("drain", "suspend", "pre_stop", "slack"),
    [(20, 10, 5, 15), (0, 0.5, 0, 5), (600, 30, 10, 15), (7.5, 2.2, 1, 5)],
)
def test_a_frontend_is_killed_only_after_its_graces(
    helm: Helm, drain: float, suspend: float, pre_stop: int, slack: int
) -> None:
    """The kubelet waits longer than preStop, the drain and both graces of a stream to be saved."""
    pod = helm.render(
        settings={"drainGrace": drain, "suspendGrace": suspend},
        shutdown={"preStopSeconds": pre_stop, "slackSeconds": slack},
    ).pod
    least = pre_stop + drain + 2 * suspend + slack
    assert least <= pod["terminationGracePeriodSeconds"] < least + 1


def test_the_default_graces_are_those_of_the_code(helm: Helm) -> None:
    """The chart's defaults are the frontend's own, so that nobody sees a difference."""
    found = helm.render().environment({"holdfast-redis/url": "redis://redis:6379/0"})
    fields = Settings.model_fields
    given: dict[str, Any] = {
        name: fields[name].annotation
        for name in fields
        if f"HOLDFAST_{name.upper()}" in found and name not in PLACES
    }
    assert len(given) >= 15
    for name, kind in given.items():
        value = TypeAdapter(kind).validate_python(found[f"HOLDFAST_{name.upper()}"])
        assert value == fields[name].get_default(call_default_factory=True), name


def test_a_change_of_settings_rolls_the_pods(helm: Helm) -> None:
    """Settings are part of the pods, which nothing but their template decides."""
    templates = [
        helm.render(settings={"threads": threads}).one("Deployment")["spec"]["template"]
        for threads in (32, 32, 33)
    ]
    assert templates[0] == templates[1] != templates[2]
    assert [one for one in helm.render().all_of("ConfigMap") if "HOLDFAST" in str(one)] == []


MEMORY: list[tuple[dict[str, object], int, int]] = [
    ({}, 640, 1024),
    ({"bufferBudget": "1GiB"}, 1408, 2252),
    ({"bufferBudget": "128MiB", "cacheBudget": "32MiB", "listBudget": "16MiB"}, 448, 716),
    ({"maxReads": 4096}, 832, 1331),
    ({"maxReads": 64}, 640, 1024),
]


@pytest.mark.parametrize(("settings", "asked", "limit"), MEMORY)
def test_memory_follows_from_the_settings(
    helm: Helm, settings: dict[str, object], asked: int, limit: int
) -> None:
    """The memory asked for holds all budgets, the reads let in and 250 MiB for the rest."""
    rendered = helm.render(settings=settings)
    size = TypeAdapter(ByteSize)
    given = rendered.settings
    budgets = sum(
        size.validate_python(given[f"HOLDFAST_{name}_BUDGET"])
        for name in ("BUFFER", "CACHE", "LIST")
    )
    more_reads = max(0, int(given["HOLDFAST_MAX_READS"]) - 512)
    need = 250 * 2**20 + budgets + more_reads * 2**16
    resources = rendered.frontend["resources"]
    assert resources["requests"]["memory"] == f"{asked}Mi"
    assert resources["limits"]["memory"] == f"{limit}Mi"
    assert need <= asked * 2**20 < need + 2**26


def test_memory_that_is_set_stays(helm: Helm) -> None:
    """What somebody asks for or limits by themselves is left alone, and the rest is added."""
    given = {"requests": {"memory": "2Gi"}, "limits": {"memory": "3Gi", "cpu": "2"}}
    resources = helm.render(resources=given).frontend["resources"]
    assert resources == {
        "requests": {"cpu": "500m", "memory": "2Gi"},
        "limits": {"cpu": "2", "memory": "3Gi"},
    }
    resources = helm.render(resources={"limits": {"memory": None}}).frontend["resources"]
    assert resources["limits"]["memory"] == "1024Mi"


def test_probes_ask_what_the_frontend_answers(helm: Helm) -> None:
    """Readiness asks /readyz and liveness /livez, on the port that HOLDFAST_HTTP names."""
    rendered = helm.render(http={"port": 9191})
    frontend = rendered.frontend
    assert frontend["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert frontend["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert frontend["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    ports = {port["name"]: port["containerPort"] for port in frontend["ports"]}
    assert rendered.settings["HOLDFAST_HTTP"] == f"0.0.0.0:{ports['http']}"


def test_a_frontend_is_not_killed_while_it_waits(helm: Helm) -> None:
    """The kubelet gives a start longer than a frontend may probe its bucket and watch its Redis."""
    probe = helm.render().frontend["startupProbe"]
    longest = Settings.model_fields["call_deadline"].default + PROBE_DEADLINE + 2 * WITNESS
    assert probe["failureThreshold"] * probe["periodSeconds"] > longest


def test_there_is_a_service_with_one_address_per_pod(helm: Helm) -> None:
    """Beside the ClusterIP stands a headless Service, for clients that balance by themselves."""
    addresses = {
        item["metadata"]["name"]: item["spec"].get("clusterIP")
        for item in helm.render().all_of("Service")
    }
    assert addresses == {"store-holdfast": None, "store-holdfast-headless": "None"}
