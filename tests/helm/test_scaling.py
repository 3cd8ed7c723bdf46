"""The autoscaler, and roll-outs of many pods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import Helm

pytestmark = pytest.mark.helm

ON: dict[str, Any] = {"enabled": True}


def test_it_is_asked_for(helm: Helm) -> None:
    """By itself the chart has no autoscaler, and the number of pods is the values'."""
    rendered = helm.render()
    assert rendered.all_of("HorizontalPodAutoscaler") == []
    assert rendered.one("Deployment")["spec"]["replicas"] == 2


def test_nothing_else_says_how_many(helm: Helm) -> None:
    """With an autoscaler the Deployment says no number, which each upgrade would go back to."""
    rendered = helm.render(autoscaling={**ON, "minReplicas": 3, "maxReplicas": 12})
    deployment = rendered.one("Deployment")
    assert "replicas" not in deployment["spec"]
    spec = rendered.one("HorizontalPodAutoscaler")["spec"]
    assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 12)


def test_the_frontends_cpu_decides(helm: Helm) -> None:
    """It goes by the frontend's container, so that one beside it needs no request of CPU."""
    rendered = helm.render(autoscaling={**ON, "targetCPUUtilizationPercentage": 60})
    [metric] = rendered.one("HorizontalPodAutoscaler")["spec"]["metrics"]
    measured = metric["containerResource"]
    assert measured["container"] == rendered.frontend["name"]
    assert measured["target"] == {"type": "Utilization", "averageUtilization": 60}
    assert "cpu" in rendered.frontend["resources"]["requests"]


def test_pods_come_quickly_and_go_slowly(helm: Helm) -> None:
    """Pods are removed one at a time, and only after a long time with less load."""
    behavior = helm.render(autoscaling=ON).one("HorizontalPodAutoscaler")["spec"]["behavior"]
    up, down = behavior["scaleUp"], behavior["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 10 * up["stabilizationWindowSeconds"]
    assert [(one["type"], one["value"]) for one in down["policies"]] == [("Pods", 1)]
    least = helm.render().pod["terminationGracePeriodSeconds"]
    assert down["policies"][0]["periodSeconds"] >= least


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"autoscaling": {**ON, "minReplicas": 11}}, "autoscaling.minReplicas is 11"),
        ({"autoscaling": ON, "resources": {"requests": {"cpu": None}}}, "resources.requests.cpu"),
        ({"autoscaling": {"behaviour": {}}}, "/autoscaling"),
        ({"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}, "rollingUpdate.maxSurge"),
        ({"rollingUpdate": {"maxSurge": "120%"}}, "/rollingUpdate/maxSurge"),
    ],
    ids=str,
)
def test_what_is_refused(helm: Helm, values: dict[str, Any], reason: str) -> None:
    """Numbers that contradict each other, or can't be, are refused by their names."""
    assert reason in helm.refusal(**values)


def test_a_large_fleet_rolls_in_steps(helm: Helm) -> None:
    """A roll-out may replace more pods at a time."""
    given = {"maxSurge": "25%", "maxUnavailable": 1}
    spec = helm.render(rollingUpdate=given).one("Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == given
