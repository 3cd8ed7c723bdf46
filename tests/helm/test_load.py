"""The loads that run inside the cluster."""

from __future__ import annotations

from typing import Any, Final

import pytest

from bench.fleet.spec import FleetSpec
from bench.inside import parser, spec_of
from bench.load import profiles
from bench.tenants import check_prefix
from tests.helm.chart import CHART, Helm, Rendered, Values, merged
from tests.helm.schemas import VERSIONS, check

pytestmark = pytest.mark.helm

BOTH: Final[dict[str, Any]] = {
    "load": {
        "image": {"repository": "example.invalid/load"},
        "fleet": {"enabled": True},
        "ghz": {"enabled": True},
    }
}
TLS: Final = {"tls": {"existingSecret": {"name": "frontends"}}}
SECRET: Final = {"tls": {"existingSecret": {"name": "loads"}}}
HERE: Final = {"frontends": ["127.0.0.1:9000", "127.0.0.2:9000"], "metrics": ["127.0.0.1:9090"]}


def both(**values: Any) -> dict[str, Any]:
    """Values with which both loads run, and others over them."""
    return merged(BOTH, values)


def job(rendered: Rendered, name: str) -> dict[str, Any]:
    """The Job of a load."""
    [found] = [one for one in rendered.all_of("Job") if f"-load-{name}-" in one["metadata"]["name"]]
    return found


def container_of(rendered: Rendered, name: str) -> dict[str, Any]:
    """Its container."""
    [found] = job(rendered, name)["spec"]["template"]["spec"]["containers"]
    container: dict[str, Any] = found
    return container


def test_no_load_by_default(helm: Helm) -> None:
    """A release that says nothing of loads has no Job, and nobody is admitted for one."""
    rendered = helm.render()
    assert rendered.all_of("Job") == []
    assert not [one for one in rendered.objects if "load" in one["metadata"]["name"]]


@pytest.mark.parametrize("values", [{}, {"load": SECRET, "listener": TLS}, {"load": HERE}])
def test_objects_fit_the_schemas(helm: Helm, values: Values) -> None:
    """What is rendered is what each version of Kubernetes knows."""
    for version in VERSIONS:
        check(helm.render(**both(**values)), version)
    done = helm.run("lint", "--strict", str(CHART), values=both(**values))
    assert "[WARNING]" not in done.stdout + done.stderr


def test_the_fleet_that_the_job_runs(helm: Helm) -> None:
    """The program takes the arguments, and understands them as the values say."""
    fleet = {
        "nodes": 7,
        "layers": ["2MiB", "64KiB"],
        "rate": 2.5,
        "processes": 3,
        "spread": 9,
        "deadline": 600,
    }
    container = container_of(helm.render(**both(load={"fleet": fleet, **HERE})), "fleet")
    assert container["command"] == ["python3", "-m", "bench.inside", "fleet"]
    assert spec_of(parser().parse_args(["fleet", *container["args"]])) == FleetSpec(
        frontends=("127.0.0.1:9000", "127.0.0.2:9000"),
        metrics=("127.0.0.1:9090",),
        prefix="holdfast-load-content-store-holdfast-fleet",
        nodes=7,
        layers=(2 * 2**20, 64 * 2**10),
        rate=2.5e6,
        processes=3,
        spread=9.0,
        patience=420.0,
    )


def test_the_profiles_that_the_job_runs(helm: Helm) -> None:
    """They are those that there are, through the headless Service unless addresses are given."""
    chosen = profiles()[:2]
    rendered = helm.render(**both(load={"ghz": {"profiles": chosen, "seconds": 5}}))
    container = container_of(rendered, "ghz")
    parsed = parser().parse_args(["ghz", *container["args"]])
    assert (parsed.profiles, parsed.seconds) == (chosen, 5)
    assert parsed.address == "store-holdfast-headless.content.svc:9000"
    assert parsed.tenant == "holdfast-load-content-store-holdfast-ghz"
    given = container_of(helm.render(**both(load=HERE)), "ghz")
    assert parser().parse_args(["ghz", *given["args"]]).address == "127.0.0.1:9000"


def test_all_profiles_are_in_the_schema(helm: Helm) -> None:
    """Each may be chosen, and nothing else."""
    helm.render(**both(load={"ghz": {"profiles": profiles()}}))
    assert "profiles" in helm.refusal(**both(load={"ghz": {"profiles": ["none"]}}))


@pytest.mark.parametrize(
    "values", [{}, {"fullnameOverride": "x" * 54}, {"nameOverride": f"{'y' * 31}-{'z' * 20}"}]
)
def test_tenants_are_none_of_nodes(helm: Helm, values: Values) -> None:
    """Whatever the release is called, the program accepts the names that it makes up."""
    rendered = helm.render(**both(**values))
    for name, option in (("fleet", "--prefix"), ("ghz", "--tenant")):
        arguments = container_of(rendered, name)["args"]
        check_prefix(arguments[arguments.index(option) + 1])
        assert len(job(rendered, name)["metadata"]["name"]) <= 63


def test_a_load_has_no_rights(helm: Helm) -> None:
    """It runs as the restricted standard demands, without a token, credentials or settings."""
    rendered = helm.render(**both())
    for name in ("fleet", "ghz"):
        pod = job(rendered, name)["spec"]["template"]["spec"]
        container = container_of(rendered, name)
        assert pod["serviceAccountName"] == "store-holdfast-load"
        assert not pod["automountServiceAccountToken"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert [one["name"] for one in container["env"]] == ["HOME"]
        assert "envFrom" not in container
    accounts = {one["metadata"]["name"]: one for one in rendered.all_of("ServiceAccount")}
    assert not accounts["store-holdfast-load"]["automountServiceAccountToken"]


def test_a_load_ends(helm: Helm) -> None:
    """It is tried once, has a deadline, and its pod has time to give up what it holds."""
    spec = job(helm.render(**both(load={"fleet": {"deadline": 900}})), "fleet")["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 900)
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 120
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_who_is_admitted(helm: Helm) -> None:
    """The load reaches frontends and DNS alone, frontends admit it, and nobody reaches it."""
    rendered = helm.render(**both(service={"targetPort": "grpc"}))
    policies = {one["metadata"]["name"]: one["spec"] for one in rendered.all_of("NetworkPolicy")}
    load, admitted = policies["store-holdfast-load"], policies["store-holdfast-admits-load"]
    labels = job(rendered, "fleet")["spec"]["template"]["metadata"]["labels"]
    frontend = rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert load["podSelector"]["matchLabels"].items() <= labels.items()
    assert admitted["podSelector"]["matchLabels"] == frontend
    assert not frontend.items() <= labels.items()
    assert load["ingress"] == []
    [to_dns, to_frontends] = load["egress"]
    assert to_frontends["to"] == [{"podSelector": {"matchLabels": frontend}}]
    assert {port["port"] for port in to_dns["ports"]} == {53}
    [rule] = admitted["ingress"]
    assert rule["from"] == [{"podSelector": load["podSelector"]}]
    assert rule["ports"] == to_frontends["ports"]
    assert {port["port"] for port in rule["ports"]} == {"grpc", "http"}


def test_over_tls(helm: Helm) -> None:
    """A load trusts and shows what its Secret has, and asks for the Service's name."""
    rendered = helm.render(**both(listener=TLS, load=SECRET))
    container = container_of(rendered, "ghz")
    found = {one["name"]: one["value"] for one in container["env"]}
    assert found["HOLDFAST_AGENT_TLS_CA"] == "/tls/ca.crt"
    assert found["HOLDFAST_AGENT_TLS_CERT"] == "/tls/tls.crt"
    assert found["HOLDFAST_AGENT_TLS_KEY"] == "/tls/tls.key"
    assert found["HOLDFAST_AGENT_TLS_SERVER_NAME"] == "store-holdfast.content.svc"
    assert {"name": "tls", "mountPath": "/tls", "readOnly": True} in container["volumeMounts"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"load": {"image": {"repository": ""}}}, "load.image.repository is required"),
        ({"identities": "# rules"}, "listener.tenantHeader"),
        ({"listener": {"tenantHeader": "", "tenant": "a"}}, "listener.tenantHeader"),
        ({"listener": TLS}, "load.tls.existingSecret.name"),
        ({"service": {"headless": False}}, "service.headless"),
        ({"load": {"frontends": ["a:1"]}}, "both load.frontends and load.metrics"),
        ({"load": {"metrics": ["a:1"]}}, "both load.frontends and load.metrics"),
        ({"load": {"fleet": {"nodes": 5001}}}, "nodes"),
        ({"load": {"fleet": {"layers": []}}}, "layers"),
        ({"load": {"fleet": {"layers": ["0"]}}}, "layers"),
        ({"load": {"fleet": {"deadline": 10}}}, "deadline"),
        ({"load": {"frontends": ["a b:1"], "metrics": ["a:1"]}}, "frontends"),
    ],
)
def test_what_is_refused(helm: Helm, values: Values, words: str) -> None:
    """What could measure nothing, or the wrong tenants, isn't rendered; the reason is told."""
    assert words in helm.refusal(**both(**values))
