"""The collector's CronJob."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ByteSize, TypeAdapter
from typer.main import get_command

from holdfast.cli.app import app
from tests.helm.cases import ACCEPTED
from tests.helm.chart import Helm, Rendered
from tests.helm.test_objects import SETS

pytestmark = pytest.mark.helm


def pod_of(rendered: Rendered) -> dict[str, Any]:
    """The CronJob's pod spec."""
    spec: dict[str, Any] = rendered.cronjob("gc")["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_one_run_at_a_time(helm: Helm) -> None:
    """Runs don't overlap, none is repeated, and each has room on disk for its listings."""
    rendered = helm.render(gc={"schedule": "@daily", "spoolSize": "5Gi"})
    spec = rendered.cronjob("gc")
    assert spec["schedule"] == "@daily"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    pod = pod_of(rendered)
    assert pod["restartPolicy"] == "Never"
    [container] = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"]}
    assert container["command"][container["command"].index("--spool-dir") + 1] == mounts["spool"]
    assert sizes["spool"] == "5Gi"


def test_the_command_is_one_of_ours(helm: Helm) -> None:
    """What the job runs is a command that the program has, with options that it takes."""
    [container] = pod_of(helm.render())["containers"]
    program, name, *arguments = container["command"]
    assert program == "holdfast"
    group: Any = get_command(app)
    command = group.get_command(None, name)
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in arguments if word.startswith("--")} <= known


@SETS
def test_it_has_the_frontends_settings(helm: Helm, name: str) -> None:
    """A collector has the image, the settings and the credentials of the frontends."""
    rendered = helm.render(**ACCEPTED[name])
    if ACCEPTED[name].get("gc") == {"enabled": False}:
        assert not any("-gc" in job["metadata"]["name"] for job in rendered.all_of("CronJob"))
        return
    [container] = pod_of(rendered)["containers"]
    for field in ("image", "imagePullPolicy", "envFrom"):
        assert container.get(field) == rendered.frontend.get(field), field
    own = {one["name"]: one for one in container["env"]}
    theirs = {one["name"]: one for one in rendered.frontend["env"]}
    if "s3" in ACCEPTED[name].get("gc", {}):  # credentials of its own
        own, theirs = (
            {name: value for name, value in one.items() if "AWS_" not in name and "value" in value}
            for one in (own, theirs)
        )
    assert own == theirs


def test_it_has_no_more_rights_than_a_frontend(helm: Helm) -> None:
    """The job runs as nobody, on a read-only file system, without capabilities or a token."""
    rendered = helm.render()
    pod = pod_of(rendered)
    for field in ("securityContext", "automountServiceAccountToken"):
        assert pod[field] == rendered.pod[field], field
    assert pod["containers"][0]["securityContext"] == rendered.frontend["securityContext"]


def test_no_client_ends_up_at_a_collector(helm: Helm) -> None:
    """The labels of its pods are not those that Services, policy and budget select."""
    rendered = helm.render()
    job = rendered.cronjob("gc")["jobTemplate"]["spec"]
    labels = job["template"]["metadata"]["labels"]
    selector = rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= labels.items()


def test_memory_is_bounded_as_measured(helm: Helm) -> None:
    """The memory asked for holds the listings in memory and 150 MiB for the rest."""
    resources = pod_of(helm.render())["containers"][0]["resources"]
    size = TypeAdapter(ByteSize)
    asked = size.validate_python(resources["requests"]["memory"] + "B")
    assert 350 * 2**20 <= asked <= size.validate_python(resources["limits"]["memory"] + "B")


def test_without_it_the_notes_warn(helm: Helm) -> None:
    """Where the job is switched off, there is none, and the notes say what that means."""
    assert len(helm.render(gc={"enabled": False}).all_of("CronJob")) == 1  # the scrub's
    assert "gc.enabled is false" in helm.notes(gc={"enabled": False})
    assert "create job" in helm.notes()


@pytest.mark.parametrize("gc", [{"schedul": "@daily"}, {"schedule": ""}, {"spoolSize": "much"}])
def test_a_misspelt_value_is_refused(helm: Helm, gc: dict[str, Any]) -> None:
    """A value of the job that can't be is refused."""
    assert "values don't meet the specifications" in helm.refusal(gc=gc)
