"""The rollout on a machine that a real systemd runs, with a real containerd, killed all the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nodes.images import make_image
from tests.rollout.host import Host, frontend, wait_for
from tests.service.conftest import Fill

pytestmark = [pytest.mark.slow, pytest.mark.containerd, pytest.mark.timeout(1800)]


def test_killed_all_the_way(host: Host, fill: Fill, tmp_path: Path) -> None:
    """Installed, upgraded and removed by tries that are killed, a node always starts containers."""
    with frontend(host.machine, tmp_path / "store"):
        assert host.killed_all_the_way("install") == 1
        host.add("registry.example/second:1", make_image(fill))
        host.starts()

        host.settings(HOLDFAST_DISK_CACHE_BUDGET="128MiB")
        assert host.killed_all_the_way("install") == 0

        host.settings(HOLDFAST_CACHE_BUDGET="nonsense")
        done = host.change(0, "install")
        assert done.returncode == 1
        assert "holdfast.service" in done.stderr
        host.starts()
        host.settings(HOLDFAST_DISK_CACHE_BUDGET="128MiB")
        assert host.change(0, "install").returncode == 0

    # Without frontends, and without blocks on the disk, containerd starts without its content.
    host.machine.output("systemctl", "stop", "holdfast")
    host.machine.output("rm", "-rf", "/var/cache/private/holdfast")
    host.machine.output("systemctl", "restart", "containerd")
    assert not host.listed()
    with frontend(host.machine, tmp_path / "store"):
        wait_for(host.listed)
        host.starts()

        assert host.killed_all_the_way("remove") == 1
    host.starts()
    left = host.machine.run(
        "ls", "/opt/holdfast", "/var/lib/holdfast", "/etc/containerd/holdfast.d"
    )
    assert left.stdout == ""
    # Without any it fails, and prints nothing.
    units = host.machine.run("systemctl", "list-unit-files", "--no-legend", "holdfast*")
    assert (units.returncode, units.stdout) == (1, "")
