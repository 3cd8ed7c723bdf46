"""The DaemonSet that sets hosts up."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from holdfast.cli.app import app
from holdfast.node.rollout import layout
from holdfast.node.rollout.generation import Plan
from holdfast.node.rollout.turns import SPEC
from tests.helm.chart import CHART, Helm, Rendered, merged
from tests.helm.schemas import VERSIONS, check

pytestmark = pytest.mark.helm

NODES: dict[str, Any] = {
    "enabled": True,
    "image": {"repository": "example.invalid/holdfast-node"},
    "frontends": ["frontend-1.example:9443", "frontend-2.example:9443"],
}
CANARY = {"nodeSelector": {"example/canary": "yes"}, "image": {"tag": "next"}}


def with_nodes(**nodes: Any) -> dict[str, Any]:
    """Values for a release that may have such pods, with these of `nodes`."""
    return {"podSecurity": "privileged", "nodes": merged(NODES, nodes)}


def rendered(helm: Helm, **nodes: Any) -> Rendered:
    """The chart with nodes."""
    return helm.render(**with_nodes(**nodes))


def named(found: Rendered, ending: str) -> dict[str, Any]:
    """The DaemonSet whose name ends so."""
    [one] = [d for d in found.all_of("DaemonSet") if d["metadata"]["name"].endswith(ending)]
    return one


def pod_of(daemon_set: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = daemon_set["spec"]["template"]["spec"]
    return spec


def test_it_is_asked_for(helm: Helm) -> None:
    """By itself the chart touches no host."""
    assert helm.render().all_of("DaemonSet") == []


@pytest.mark.parametrize(
    "nodes",
    [{}, {"canary": CANARY}, {"state": "absent"}, {"certificate": {"issuers": {"secret": "ca"}}}],
)
def test_objects_fit_the_schemas(helm: Helm, nodes: dict[str, Any]) -> None:
    """What it renders has only fields that each version of Kubernetes knows, and lints."""
    for version in VERSIONS:
        check(rendered(helm, **nodes), version)
    done = helm.run("lint", "--strict", str(CHART), values=with_nodes(**nodes))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("state", ["present", "absent"])
def test_the_commands_are_ours(helm: Helm, state: str) -> None:
    """What the pods run are commands that the program has, with options that they take."""
    secret = {"certificate": {"issuers": {"secret": "ca"}}}
    pod = pod_of(named(rendered(helm, state=state, **secret), "-nodes"))
    group: Any = get_command(app)
    commands = group.get_command(None, "node").commands
    for container in [*pod["initContainers"], *pod["containers"]]:
        program, word, name, *options = container["command"]
        assert (program, word) == ("/opt/bundle/holdfast", "node")
        known = {option for one in commands[name].params for option in one.opts}
        assert {option.partition("=")[0] for option in options} <= known
    assert [one["name"] for one in pod["initContainers"]] == [
        {"present": "install", "absent": "remove"}[state]
    ]


def test_the_defaults_are_those_of_the_program(helm: Helm) -> None:
    """Paths that the chart names by default are the program's defaults."""
    [install] = pod_of(named(rendered(helm), "-nodes"))["initContainers"]
    given = dict(option.split("=", 1) for option in install["command"] if "=" in option)
    assert given["--containerd-unit"] == layout.UNIT
    assert given["--containerd-config"] == layout.CONFIG
    assert given["--containerd-root"] == layout.ROOT
    assert given["--containerd-socket"] == layout.SOCKET
    assert given["--programs"] == layout.PROGRAMS
    assert "--certificate" not in given


def test_the_settings_are_the_agents(helm: Helm) -> None:
    """The settings become lines that a plan takes, and a change of them rolls the pods."""
    more = {"settings": {"HOLDFAST_DISK_CACHE_BUDGET": "50GiB"}}
    found = rendered(helm, **more)
    [text] = [m["data"]["node.env"] for m in found.all_of("ConfigMap") if "node.env" in m["data"]]
    lines = dict(line.split("=", 1) for line in text.splitlines())
    assert lines == {
        "HOLDFAST_AGENT_FRONTENDS": "frontend-1.example:9443,frontend-2.example:9443",
        "HOLDFAST_DISK_CACHE_BUDGET": "50GiB",
    }
    Plan(CHART, "1", "node-a", lines)
    sums = {
        named(one, "-nodes")["spec"]["template"]["metadata"]["annotations"]["checksum/settings"]
        for one in (found, rendered(helm))
    }
    assert len(sums) == 2


def matches(daemon_set: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a node with these labels gets its pod."""
    affinity = pod_of(daemon_set)["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]

    def holds(rule: dict[str, Any]) -> bool:
        values: list[str] = rule["values"]
        return (labels.get(rule["key"]) in values) is (rule["operator"] == "In")

    return any(all(holds(rule) for rule in term["matchExpressions"]) for term in terms)


@pytest.mark.parametrize("pool", ["a", "b"])
@pytest.mark.parametrize("first", [None, "yes", "no"])
@pytest.mark.parametrize("second", [None, "yes"])
def test_a_node_is_in_one_set(helm: Helm, pool: str, first: str | None, second: str | None) -> None:
    """A node is a canary if it has all of the canaries' labels, and one of the others if not."""
    canary = {"nodeSelector": {"one": "yes", "two": "yes"}}
    found = rendered(helm, canary=canary, nodeSelector={"pool": "a"})
    given = {"kubernetes.io/os": "linux", "pool": pool, "one": first, "two": second}
    labels = {name: value for name, value in given.items() if value is not None}
    in_canary = matches(named(found, "-canary"), labels)
    in_others = matches(named(found, "-nodes"), labels)
    is_canary = first == second == "yes"
    assert (in_canary, in_others) == ((is_canary, not is_canary) if pool == "a" else (False, False))


def test_canaries_go_first(helm: Helm) -> None:
    """Canaries have an image of their own, and with `only` nobody else is touched."""
    found = rendered(helm, canary=CANARY)
    images = {
        ending: pod_of(named(found, ending))["containers"][0]["image"].rpartition(":")[2]
        for ending in ("-canary", "-nodes")
    }
    assert images["-canary"] == "next"
    assert images["-nodes"] != "next"
    selectors = [d["spec"]["selector"]["matchLabels"] for d in found.all_of("DaemonSet")]
    assert selectors[0] != selectors[1]
    only = rendered(helm, canary={**CANARY, "only": True})
    assert [d["metadata"]["name"][-7:] for d in only.all_of("DaemonSet")] == ["-canary"]


def test_a_failing_node_stops_it(helm: Helm) -> None:
    """A pod counts once its node was verified for some time, and only so many may lack that."""
    spec = named(rendered(helm, maxUnavailable="10%"), "-nodes")["spec"]
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "10%"}
    assert spec["minReadySeconds"] > 0


def test_deleting_it_removes_no_agent(helm: Helm) -> None:
    """Nothing happens on the host when a pod or the DaemonSet is deleted."""
    pod = pod_of(named(rendered(helm), "-nodes"))
    assert all("lifecycle" not in one for one in (*pod["initContainers"], *pod["containers"]))
    own = [
        item["metadata"]
        for item in rendered(helm).objects
        if item["metadata"]["labels"]["app.kubernetes.io/component"] == "nodes"
    ]
    assert len(own) >= 3
    assert all("annotations" not in metadata for metadata in own)


def test_it_has_no_more_rights_than_it_needs(helm: Helm) -> None:
    """The pods are root with four capabilities, see the host's processes, and have nothing else."""
    found = rendered(helm)
    pod = pod_of(named(found, "-nodes"))
    assert tokens(pod) == ["install"]
    assert {"hostNetwork", "hostPID", "hostIPC"} & pod.keys() == {"hostPID"}
    assert pod["automountServiceAccountToken"] is False
    [account] = [
        a
        for a in found.all_of("ServiceAccount")
        if a["metadata"]["name"] == pod["serviceAccountName"]
    ]
    assert account["automountServiceAccountToken"] is False
    for container in (*pod["initContainers"], *pod["containers"]):
        context = container["securityContext"]
        assert context["privileged"] is False
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"]["drop"] == ["ALL"]
        assert len(context["capabilities"]["add"]) == 4


def tokens(pod: dict[str, Any]) -> list[str]:
    """The containers that have a token of the API server."""
    with_token = {
        volume["name"]
        for volume in pod["volumes"]
        if any(
            "serviceAccountToken" in one for one in volume.get("projected", {}).get("sources", [])
        )
    }
    containers = (*pod["initContainers"], *pod["containers"])
    return [
        one["name"] for one in containers if with_token & {m["name"] for m in one["volumeMounts"]}
    ]


def allowed(found: Rendered) -> set[tuple[str, str, str]]:
    """What the pods' account may, as verb, kind and name."""
    [account] = {pod_of(one)["serviceAccountName"] for one in found.all_of("DaemonSet")}
    [binding] = [
        one for one in found.all_of("RoleBinding") if one["subjects"][0]["name"] == account
    ]
    assert binding["subjects"][0]["namespace"] == "content"
    [role] = [
        r for r in found.all_of("Role") if r["metadata"]["name"] == binding["roleRef"]["name"]
    ]
    return {
        (verb, kind, name)
        for rule in role["rules"]
        for verb in rule["verbs"]
        for kind in rule["resources"]
        for name in rule["resourceNames"]
    }


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("canary", [{}, CANARY, {**CANARY, "only": True}])
def test_nodes_take_turns(helm: Helm, canary: dict[str, Any], state: str) -> None:
    """Pods may read and write what they take turns by, which the chart makes, and nothing else."""
    found = rendered(helm, atOnce=2, canary=canary, state=state)
    made = {("leases", one["metadata"]["name"]) for one in found.all_of("Lease")}
    sets = {one["metadata"]["name"]: one for one in found.all_of("DaemonSet")}
    assert made == {("leases", f"{name}-{number}") for name in sets for number in range(2)}
    assert all("spec" not in one for one in found.all_of("Lease"))

    read: set[tuple[str, str]] = {("configmaps", "store-holdfast-nodes")}
    if canary:
        read |= {("daemonsets", "store-holdfast-nodes-canary")}
    verbs = {("get", *one) for one in read | made} | {("update", *one) for one in made}
    assert allowed(found) == verbs
    assert not found.all_of("ClusterRole")

    [settings] = [one["data"] for one in found.all_of("ConfigMap") if "atOnce" in one["data"]]
    label = sets.get("store-holdfast-nodes-canary", {"metadata": {"labels": {SPEC: ""}}})
    assert settings["atOnce"] == "2"
    assert settings["canaries"] == (label["metadata"]["labels"][SPEC] if canary else "")
    for name, one in sets.items():
        command = pod_of(one)["initContainers"][0]["command"]
        assert "--turns=content/store-holdfast-nodes" in command
        assert "--node=$(NODE_NAME)" in command
        assert ("--canary" in command) == name.endswith("-canary")


def test_another_version_is_another_specification(helm: Helm) -> None:
    """What the canaries are to be changes with all that changes their pods."""
    changes: list[dict[str, Any]] = [
        {}, {"image": {"tag": "3"}}, {"settings": {"HOLDFAST_HTTP": "127.0.0.1:1"}}, {"attempt": 1},
        {"state": "absent"}, {"canary": {"image": {"tag": "4"}}},
    ]  # fmt: skip
    selector = {"canary": {"nodeSelector": {"example/canary": "yes"}}}
    sums = {
        named(rendered(helm, **merged(selector, change)), "-canary")["metadata"]["labels"][SPEC]
        for change in changes
    }
    assert len(sums) == len(changes)
    # Others' pods stay as they are while canaries try something.
    others = [
        named(rendered(helm, **merged(selector, change)), "-nodes")
        for change in ({}, {"canary": {"image": {"tag": "4"}}}, {"atOnce": 5})
    ]
    assert others[0] == others[1] == others[2]


def test_all_at_once(helm: Helm) -> None:
    """If nodes take no turns, the pods have no token, no right, and nothing to wait for."""
    found = rendered(helm, atOnce=0, canary=CANARY)
    for one in found.all_of("DaemonSet"):
        pod = pod_of(one)
        assert tokens(pod) == []
        command = " ".join(pod["initContainers"][0]["command"])
        assert "--turns" not in command
        assert "--canary" not in command
    assert {"Role", "RoleBinding", "Lease"}.isdisjoint(one["kind"] for one in found.objects)


def test_no_client_ends_up_there(helm: Helm) -> None:
    """The labels of its pods aren't those that Services, policy and budget select."""
    found = rendered(helm, canary=CANARY)
    selector = found.one("Deployment")["spec"]["selector"]["matchLabels"]
    for one in found.all_of("DaemonSet"):
        labels = one["spec"]["template"]["metadata"]["labels"]
        assert not selector.items() <= labels.items()
        assert one["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_long_names(helm: Helm) -> None:
    """However long the release's name, that of a DaemonSet leaves room for its pods' hash."""
    found = helm.render(**with_nodes(canary=CANARY), fullnameOverride="a" * 54)
    assert all(len(d["metadata"]["name"]) <= 57 for d in found.all_of("DaemonSet"))


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ({"image": {"repository": ""}}, "nodes.image.repository is required"),
        ({"frontends": []}, "nodes.frontends is required"),
        ({"canary": {"only": True}}, "nodes.canary.nodeSelector"),
        ({"canary": {"image": {"tag": "2"}}}, "nodes.canary.nodeSelector"),
        ({"certificate": {"issuers": {"secret": "a", "configMap": "b"}}}, "only one of"),
        ({"state": "gone"}, "specifications"),
        ({"settings": {"AGENT": "1"}}, "specifications"),
        ({"settings": {"HOLDFAST_A": "'"}}, "specifications"),
        ({"maxUnavailable": "200%"}, "specifications"),
        ({"maxUnavailable": 0}, "specifications"),
        ({"atOnce": -1}, "specifications"),
        ({"containerd": {"config": "etc/config.toml"}}, "specifications"),
        ({"frontends": ["frontend"]}, "specifications"),
    ],
)
def test_what_is_refused(helm: Helm, nodes: dict[str, Any], reason: str) -> None:
    """Values that say nothing, too much, or can't be, are refused."""
    assert reason in helm.refusal(**with_nodes(**nodes))


@pytest.mark.parametrize("level", ["restricted", "baseline"])
def test_a_namespace_that_allows_no_such_pods(helm: Helm, level: str) -> None:
    """Unless it is said that the namespace allows them, they are refused, with what to do."""
    refusal = helm.refusal(podSecurity=level, nodes=NODES)
    assert "nodes.enabled" in refusal
    assert f"at the level {level} of Pod Security" in refusal
    assert "pod-security.kubernetes.io/enforce=privileged" in refusal
    assert "podSecurity=privileged" in refusal


@pytest.mark.parametrize("state", ["present", "absent"])
def test_the_notes_name_the_namespaces_label(helm: Helm, state: str) -> None:
    """After an installation it is said which label the namespace needs, and how to watch nodes."""
    notes = helm.notes(**with_nodes(state=state, canary=CANARY))
    label = "kubectl label namespace content pod-security.kubernetes.io/enforce=privileged"
    assert label in notes
    for one in rendered(helm, canary=CANARY).all_of("DaemonSet"):
        assert f"rollout status daemonset/{one['metadata']['name']}\n" in notes
    assert ("nodes.state=absent" in notes) == (state == "present")
    assert "pod-security" not in helm.notes()
