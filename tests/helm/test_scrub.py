"""The scrub's CronJob."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from holdfast.cli.app import app
from tests.helm.chart import Helm

pytestmark = pytest.mark.helm


def test_it_runs_by_itself(helm: Helm) -> None:
    """Unless it is switched off, one pass at a time verifies the store, at a modest rate."""
    spec = helm.render(scrub={"spoolSize": "5Gi"}).cronjob("scrub")
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    command = container["command"]
    assert command[command.index("--rate") + 1] == "20MiB"
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"]}
    assert command[command.index("--spool-dir") + 1] == mounts["spool"]
    assert sizes["spool"] == "5Gi"


def test_without_it_the_notes_warn(helm: Helm) -> None:
    """Where it is switched off there is no job, and the notes say what that means."""
    jobs = helm.render(scrub={"enabled": False}).all_of("CronJob")
    assert not any("scrub" in job["metadata"]["name"] for job in jobs)
    assert "scrub.enabled is false" in helm.notes(scrub={"enabled": False})
    assert "scrub.enabled" not in helm.notes()


def test_the_command_is_one_of_ours(helm: Helm) -> None:
    """What the job runs is a command that the program has, with options that it takes."""
    spec = helm.render(scrub={"rate": "1GiB"}).cronjob("scrub")
    [container] = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    program, name, *arguments = container["command"]
    assert program == "holdfast"
    group: Any = get_command(app)
    known = {option for p in group.get_command(None, name).params for option in p.opts}
    assert {word for word in arguments if word.startswith("--")} <= known
    assert "--accept" not in arguments


def test_it_is_a_frontend_by_settings_and_rights(helm: Helm) -> None:
    """It has a frontend's image, settings and credentials, no more rights, and no clients."""
    rendered = helm.render()
    template = rendered.cronjob("scrub")["jobTemplate"]["spec"]["template"]
    [container] = template["spec"]["containers"]
    for field in ("image", "imagePullPolicy", "env", "securityContext"):
        assert container[field] == rendered.frontend[field], field
    for field in ("securityContext", "automountServiceAccountToken"):
        assert template["spec"][field] == rendered.pod[field], field
    selector = rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize("scrub", [{"rates": "1MiB"}, {"rate": "fast"}, {"schedule": ""}])
def test_a_misspelt_value_is_refused(helm: Helm, scrub: dict[str, Any]) -> None:
    """A value of the job that can't be is refused."""
    assert "values don't meet the specifications" in helm.refusal(scrub=scrub)
