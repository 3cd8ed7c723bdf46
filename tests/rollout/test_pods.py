"""The chart's pods on a machine that a real systemd runs: what they may is enough."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.helm.chart import Helm
from tests.helm.conftest import helm
from tests.helm.test_nodes import named, pod_of, rendered
from tests.image.archive import unpack
from tests.project.repository import ROOT
from tests.rollout.host import SETTINGS, Host, frontend

__all__ = ["helm"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.containerd,
    pytest.mark.helm,
    pytest.mark.image,
    pytest.mark.timeout(1800),
]
ARCHIVE = ROOT / "build" / "image" / "node.tar"
NAMESPACES = {"pid", "ipc", "uts", "mount", "cgroup", "network"}
ON_THE_HOST = PurePosixPath("/opt/pods")
"""Where the machine has the pods' images and volumes."""


def described(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    """A container of a pod by the OCI runtime specification, as a kubelet has it run."""
    rights = container["securityContext"]
    assert rights["capabilities"]["drop"] == ["ALL"]
    added = [f"CAP_{name}" for name in rights["capabilities"].get("add", [])]
    volumes = {one["name"]: one for one in pod["volumes"]}
    mounts: list[dict[str, Any]] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
    ]
    for mount in container["volumeMounts"]:
        volume, where = volumes[mount["name"]], mount["mountPath"]
        if "emptyDir" in volume:
            mounts.append({"destination": where, "type": "tmpfs", "source": "tmpfs"})
            continue
        path = volume["hostPath"]["path"] if "hostPath" in volume else str(ON_THE_HOST / "settings")
        propagation = "rslave" if mount.get("mountPropagation") == "HostToContainer" else "rprivate"
        options = ["rbind", propagation, "ro" if mount.get("readOnly") else "rw"]
        mounts.append({"destination": where, "type": "bind", "source": path, "options": options})
    user = pod["securityContext"]
    shared = {"hostPID": "pid", "hostIPC": "ipc", "hostNetwork": "network"}
    namespaces = NAMESPACES - {kind for name, kind in shared.items() if pod.get(name)}
    command = [part.replace("$(NODE_NAME)", "node-a") for part in container["command"]]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user["runAsUser"], "gid": user["runAsGroup"]},
            "args": command,
            "env": ["PATH=/usr/bin:/bin", "HOME=/tmp", "NODE_NAME=node-a"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), added),
            "noNewPrivileges": not rights["allowPrivilegeEscalation"],
            "oomScoreAdj": int(Path("/proc/self/oom_score_adj").read_text("ascii")),
        },
        "root": {
            "path": str(ON_THE_HOST / "image"),
            "readonly": rights["readOnlyRootFilesystem"],
        },
        "mounts": mounts,
        "linux": {"namespaces": [{"type": kind} for kind in sorted(namespaces)]},
    }


def ran(host: Host, pod: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Runs a pod's first container to its end."""
    [container] = pod["initContainers"]
    folder = host.machine.root / str(ON_THE_HOST)[1:]
    (folder / "config.json").write_text(json.dumps(described(pod, container)), "utf-8")
    return host.machine.run("runc", "run", "--bundle", str(ON_THE_HOST), f"pod-{container['name']}")


def test_a_pod_sets_its_host_up(host: Host, helm: Helm, tmp_path: Path) -> None:
    """With the rights that the chart asks for, a pod installs, installs again, and removes."""
    if not ARCHIVE.exists():
        pytest.skip("the image for nodes isn't built here: `make image-node`")
    settings = {name: value for name, value in SETTINGS.items() if "FRONTENDS" not in name}
    # No API server is here, by which nodes take turns.
    values = {
        "frontends": [SETTINGS["HOLDFAST_AGENT_FRONTENDS"]], "settings": settings, "atOnce": 0,
    }  # fmt: skip
    present = rendered(helm, **values)
    folder = host.machine.root / str(ON_THE_HOST)[1:]
    (folder / "settings").mkdir(parents=True)
    (folder / "image").mkdir()
    unpack(ARCHIVE, folder / "image")
    [text] = [
        one["data"]["node.env"] for one in present.all_of("ConfigMap") if "node.env" in one["data"]
    ]
    (folder / "settings" / "node.env").write_text(text, "utf-8")

    with frontend(host.machine, tmp_path / "store"):
        before = host.containerd()
        install = pod_of(named(present, "-nodes"))
        done = ran(host, install)
        assert done.returncode == 0, done.stdout + done.stderr
        after = host.containerd()
        assert after != before
        assert host.listed()
        host.starts()

        done = ran(host, install)
        assert done.returncode == 0, done.stdout + done.stderr
        assert host.containerd() == after

        done = ran(host, pod_of(named(rendered(helm, state="absent", **values), "-nodes")))
        assert done.returncode == 0, done.stdout + done.stderr
    host.starts()
    assert host.machine.run("ls", "/opt/holdfast").stdout == ""
