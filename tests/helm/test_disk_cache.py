"""The volume for blocks on disk."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm


def volume(rendered: Rendered) -> dict[str, Any] | None:
    """The volume that is mounted where blocks are kept; None if there is none."""
    folder = rendered.settings["HOLDFAST_DISK_CACHE_DIR"]
    mounts = {item["mountPath"]: item["name"] for item in rendered.frontend["volumeMounts"]}
    if folder not in mounts:
        return None
    [found] = [item for item in rendered.pod["volumes"] if item["name"] == mounts[folder]]
    source: dict[str, Any] = {name: value for name, value in found.items() if name != "name"}
    return source


def test_none_by_itself(helm: Helm) -> None:
    """Where no blocks are kept on disk, there is no volume for them."""
    assert volume(helm.render()) is None
    assert volume(helm.render(settings={"diskCacheBudget": "0GiB"})) is None


@pytest.mark.parametrize(
    ("budget", "size"),
    [
        ("64MiB", 64 * 2**20),
        ("100GiB", 100 * 2**30),
        ("3 TiB", 3 * 2**40),
        ("500GB", 500 * 10**9),
        ("80M", 80 * 10**6),
        ("70000K", 70_000_000),
        ("100000000", 10**8),
    ],
)
def test_its_limit_is_above_the_budget(helm: Helm, budget: str, size: int) -> None:
    """The volume's limit is an eighth above the budget: a pod that exceeds it is evicted."""
    rendered = helm.render(settings={"diskCacheBudget": budget})
    assert rendered.settings["HOLDFAST_DISK_CACHE_BUDGET"] == budget
    assert volume(rendered) == {"emptyDir": {"sizeLimit": str(size * 9 // 8)}}


def test_a_volume_of_ones_own(helm: Helm) -> None:
    """Another source of the volume takes the place of the emptyDir."""
    source = {"hostPath": {"path": "/var/cache/blocks", "type": "Directory"}}
    rendered = helm.render(
        settings={"diskCacheBudget": "1GiB"},
        diskCache={"volume": source},
        podSecurity="privileged",
    )
    assert volume(rendered) == source


def test_a_collector_has_none(helm: Helm) -> None:
    """The collector, which reads no blocks, has no volume for them."""
    rendered = helm.render(settings={"diskCacheBudget": "1GiB"})
    pod = rendered.cronjob("gc")["jobTemplate"]["spec"]["template"]["spec"]
    assert {item["name"] for item in pod["volumes"]} == {"scratch", "spool"}
