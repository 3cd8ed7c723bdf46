"""The CronJob that drops tenants that are gone."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from holdfast.cli.app import app
from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm

NODES: dict[str, Any] = {"enabled": True, "missingNodes": True, "only": ["node-*"]}


def job_of(rendered: Rendered) -> dict[str, Any]:
    """The job's pod spec."""
    spec: dict[str, Any] = rendered.cronjob("expire")["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_it_is_asked_for(helm: Helm) -> None:
    """By itself the chart drops nobody, and asks for no right."""
    rendered = helm.render()
    names = [job["metadata"]["name"] for job in rendered.all_of("CronJob")]
    assert not any("expire" in name for name in names)
    assert rendered.all_of("ClusterRole") == []


def test_by_last_seen(helm: Helm) -> None:
    """By the time since a tenant was last seen: settings of a frontend, no rights, no token."""
    rendered = helm.render(expire={"enabled": True, "unseenFor": "9d", "keep": ["builder"]})
    pod = job_of(rendered)
    [container] = pod["containers"]
    assert "--unseen-for=9d" in container["command"]
    assert "--keep=builder" in container["command"]
    assert "--existing=kubernetes" not in container["command"]
    assert pod["automountServiceAccountToken"] is False
    for field in ("image", "imagePullPolicy", "env", "securityContext"):
        assert container[field] == rendered.frontend[field], field
    assert pod["securityContext"] == rendered.pod["securityContext"]
    assert rendered.all_of("ClusterRole") == []


def test_by_the_nodes(helm: Helm) -> None:
    """By the cluster's nodes: a token in this pod alone, and the right to list nodes, no other."""
    rendered = helm.render(expire=NODES)
    pod = job_of(rendered)
    assert "--existing=kubernetes" in pod["containers"][0]["command"]
    assert pod["automountServiceAccountToken"] is True
    assert rendered.pod["automountServiceAccountToken"] is False
    role, binding = rendered.one("ClusterRole"), rendered.one("ClusterRoleBinding")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    [subject] = binding["subjects"]
    assert subject["name"] == pod["serviceAccountName"]
    assert subject["namespace"] == "content"


def test_long_names(helm: Helm) -> None:
    """However long the release's name, the API takes the CronJobs': 52 characters at most."""
    long = "a" * 44 + "-" + "b" * 9
    rendered = helm.render(expire={"enabled": True}, fullnameOverride=long)
    names = [job["metadata"]["name"] for job in rendered.all_of("CronJob")]
    assert {name.rpartition("-")[2] for name in names} == {"expire", "gc", "scrub"}
    assert all(len(name) <= 52 and "--" not in name for name in names)


def test_the_command_is_one_of_ours(helm: Helm) -> None:
    """What the job runs is a command that the program has, with options that it takes."""
    program, *words, apply = job_of(helm.render(expire=NODES))["containers"][0]["command"][:4]
    assert (program, words, apply) == ("holdfast", ["tenants", "expire"], "--apply")
    group: Any = get_command(app)
    command = group.get_command(None, "tenants").commands["expire"]
    known = {option for parameter in command.params for option in parameter.opts}
    arguments = job_of(helm.render(expire=NODES))["containers"][0]["command"][3:]
    assert {word.partition("=")[0] for word in arguments} <= known


def test_no_client_ends_up_there(helm: Helm) -> None:
    """The labels of its pods are not those that Services, policy and budget select."""
    rendered = helm.render(expire={"enabled": True})
    selector = rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    for job in rendered.all_of("CronJob"):
        labels = job["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        assert not selector.items() <= labels.items()


@pytest.mark.parametrize(
    ("expire", "reason"),
    [
        ({"enabled": True, "unseenFor": ""}, "which tenants are gone"),
        ({"enabled": True, "missingNodes": True}, "expire.only"),
        ({"enabled": True, "unseenFor": "30"}, "specifications"),
        ({"enabled": True, "grace": ""}, "specifications"),
        ({"enable": True}, "specifications"),
    ],
)
def test_what_is_refused(helm: Helm, expire: dict[str, Any], reason: str) -> None:
    """Values that say nothing, too much, or can't be, are refused."""
    assert reason in helm.refusal(expire=expire)
