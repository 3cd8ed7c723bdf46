"""The control plane that other tests use: it serves, and nothing of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.servers.kubernetes.control_plane import ControlPlane
from tests.servers.kubernetes.programs import missing
from tests.servers.process import wait_until

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "careless"},
    "spec": {"containers": [{"name": "one", "image": "example.invalid/one"}]},
}
STARTS = """
    import sys
    from pathlib import Path
    from tests.servers.kubernetes.machine import machine

    folder = Path(sys.argv[1])
    (folder / "within").mkdir()
    with machine(sys.argv[2], folder) as outer, machine("inner", folder / "within", outer) as inner:
        inner.run("bash", "-c", "sleep 1000 >/dev/null 2>&1 & disown")
        print(inner.pid, flush=True)
        sys.stdin.read()
"""


def test_pod_security_is_enforced(control_plane: ControlPlane, unique: str) -> None:
    """A namespace of a test refuses a pod that isn't restricted."""
    with control_plane.namespace(f"t-{unique}") as namespace:
        refused = control_plane.ask(
            control_plane.programs / "kubectl",
            "create",
            f"--namespace={namespace}",
            "--filename=-",
            stdin=json.dumps(POD),
        )
        assert "violates PodSecurity" in refused.stderr


def test_a_namespace_is_gone_after_its_block(control_plane: ControlPlane, unique: str) -> None:
    """What tests put into a namespace is removed with it, by the real controllers."""
    with control_plane.namespace(f"t-{unique}") as namespace:
        control_plane.kubectl("create", "configmap", "one", f"--namespace={namespace}")
    names = [item["metadata"]["name"] for item in control_plane.get("namespaces")["items"]]
    assert f"t-{unique}" not in names


@pytest.mark.skipif(missing(nodes=False) != "", reason="namespaces can't be made here")
def test_a_killed_run_leaves_nothing(tmp_path: Path, unique: str) -> None:
    """If whoever made a machine is killed, its processes and control groups go away."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STARTS), str(tmp_path), unique],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    groups = list(Path("/sys/fs/cgroup").glob(f"*/holdfast-{unique}-*/holdfast-inner-*"))
    assert groups
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the machine's process 1")
    wait_until(lambda: not any(group.parent.exists() for group in groups), "no control groups")
    wait_until(lambda: not (tmp_path / "disk").exists(), "no files")
