"""The rollout on a machine that a real systemd runs, with a real containerd, killed all the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nodes.images import make_image
from tests.rollout.host import PORT, Host, frontend, wait_for
from tests.servers.authority import Authority
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


def test_rebooted_all_the_way(host: Host, fill: Fill, tmp_path: Path) -> None:
    """Installed, upgraded and removed in tries that reboots end, a node starts containers."""
    store = tmp_path / "store"
    host.rebooted_all_the_way("install", store)
    with frontend(host.machine, store):
        host.add("registry.example/second:1", make_image(fill))
    host.settings(HOLDFAST_DISK_CACHE_BUDGET="128MiB")
    host.rebooted_all_the_way("install", store)
    host.rebooted_all_the_way("remove", store)
    assert host.machine.run("ls", "/opt/holdfast", "/etc/containerd/holdfast.d").stdout == ""


def test_a_renewed_certificate(host: Host, fill: Fill, tmp_path: Path) -> None:
    """A certificate that is renewed, by another issuer, is shown without anybody's help."""
    first, second = Authority("first"), Authority("second")
    cert, key = first.server().write(tmp_path, "frontend")

    def listen(*issuers: Authority) -> str:
        trusted = tmp_path / "issuers.crt"
        trusted.write_bytes(b"".join(issuer.pem for issuer in issuers))
        files = f"cert={cert}&key={key}&client-ca={trusted}"
        return f"tls://127.0.0.1:{PORT}?{files}&cn=system:node:(.%2B)"

    there = host.machine.root / "etc/pki"
    there.mkdir(exist_ok=True)
    host.certificate = (
        "/etc/pki/node.crt",
        "/etc/pki/node.key",
        f"/etc/pki/{first.write(there).name}",
    )
    first.client("system:node:node-a").write(there, "node")
    host.settings(HOLDFAST_AGENT_TENANT_HEADER="")
    with frontend(host.machine, tmp_path / "store", listen(first, second)):
        assert host.change(0, "install").returncode == 0
        containerd = host.containerd()
        renewed = second.client("system:node:node-a")
        for path in reversed(renewed.write(there, "renewed")):
            path.rename(there / f"node{path.suffix}")
        shown = "/run/credentials/holdfast.service/tls.crt"
        wait_for(lambda: host.machine.run("cat", shown).stdout == renewed.cert.decode())
    with frontend(host.machine, tmp_path / "store", listen(second)):
        wait_for(host.listed)
        host.add("registry.example/second:1", make_image(fill))
        host.starts()
    assert host.containerd() == containerd
