"""docs/kubernetes.md, from its first command to its last, on the real cluster."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.helm.chart import helm_binary
from tests.project import pages
from tests.project.repository import ROOT
from tests.project.shell import PROGRAMS, shell
from tests.project.shown import console, matches, script
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.services import BUCKET, REDIS_URL, S3_ENDPOINT
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PAGE = "docs/kubernetes.md"
OURS = {
    "IMAGE": "localhost/local/holdfast",
    "TAG": "test",
    "BUCKET": BUCKET,
    "ENDPOINT": S3_ENDPOINT,
    "REGION": "us-east-1",
    "ACCESS_KEY_ID": ACCESS_KEY,
    "SECRET_ACCESS_KEY": SECRET_KEY,
    "REDIS_URL": REDIS_URL.replace("/0", "/999"),
}
"""What takes the place of the page's first block."""


def test_the_page_is_followed(cluster: Cluster, socket_folder: Path) -> None:
    """Each command of the page succeeds, and prints what is shown."""
    plane, helm = cluster.plane, helm_binary()
    assert helm is not None, "helm isn't built; `make tools` does it"
    first, *blocks = pages.fenced(pages.text(PAGE))
    assert set(re.findall(r"\b([A-Z_]+)=", first[1])) == set(OURS)
    (socket_folder / "helm").symlink_to(ROOT / "helm")
    programs = {
        "holdfast": PROGRAMS["holdfast"],
        "kubectl": f'exec {shlex.quote(plane.programs / "kubectl")} "$@"',
        "helm": f'exec {shlex.quote(helm)} "$@"',
    }
    settings = {"KUBECONFIG": str(plane.kubeconfig())}
    with shell(
        socket_folder, settings, programs=programs, prefix=plane.host.on_network()
    ) as opened:
        for name, value in OURS.items():
            assert opened.run(f"{name}={shlex.quote(value)}").code == 0
        for language, block in blocks:
            for step in console(block) if language == "console" else script(block):
                done = opened.run(step.command)
                assert done.code == 0, f"{step.command}: {done.printed}{done.said}"
                if step.printed is None:
                    continue
                printed = done.printed.strip().splitlines()
                assert len(printed) == len(step.printed), done.printed
                for shown, line in zip(step.printed, printed, strict=True):
                    assert matches(shown, line, {}), f"{step.command} printed {line}"
    namespaces = [item["metadata"]["name"] for item in plane.get("namespaces")["items"]]
    assert "content" not in namespaces
