"""The chart, installed on the cluster as its users install it."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.helm.chart import CHART, helm_binary, merged
from tests.kubernetes.calling import Report
from tests.project.repository import ROOT
from tests.servers.kubernetes.cluster import Cluster
from tests.servers.kubernetes.control_plane import ADDRESS
from tests.servers.kubernetes.node import Node
from tests.servers.kubernetes.services import BUCKET, REDIS_URL, S3_ENDPOINT
from tests.servers.process import wait_until
from tests.servers.s3 import ACCESS_KEY, SECRET_KEY

NAME: Final = "store"
FULL: Final = f"{NAME}-holdfast"
FRONTENDS: Final = "app.kubernetes.io/component=frontend"
AGE: Final = 5
"""Seconds after which clients connect again: no test waits for minutes."""
DATABASES: Final = 1_000
"""Of the Redis, each of a release of its own."""
_UNUSED: Final = itertools.count()


def values_of(prefix: str, **more: Any) -> dict[str, Any]:
    """The values of a release in a part of the bucket that is its own."""
    needed = {
        "image": {"repository": "localhost/local/holdfast", "tag": "test", "pullPolicy": "Never"},
        "s3": {
            "bucket": BUCKET,
            "endpoint": S3_ENDPOINT,
            "prefix": f"{prefix}/",
            "pathStyle": True,
            "existingSecret": {"name": "holdfast-s3"},
        },
        "redis": {"existingSecret": {"name": "holdfast-redis"}},
        "settings": {"connectionAge": AGE, "drainGrace": 10, "suspendGrace": 5},
        "networkPolicy": {"clients": [{"podSelector": {}}]},
        # Eight of these and their successors must fit on two nodes of two cores.
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    }
    return merged(needed, more)


@dataclass
class Release:
    """An installed release, in a namespace of its own."""

    cluster: Cluster
    namespace: str
    values: dict[str, Any]
    chart: Path = CHART

    def kubectl(self, *arguments: str) -> str:
        """Runs kubectl in the release's namespace."""
        return self.cluster.plane.kubectl(f"--namespace={self.namespace}", *arguments)

    def helm(self, command: str, *arguments: str) -> str:
        """Runs a command of helm with the chart and the values; nothing may warn of anything."""
        program = helm_binary()
        assert program is not None, "helm isn't built; `make tools` does it"
        done = self.cluster.plane.ask(
            program, command, NAME, str(self.chart), f"--namespace={self.namespace}", "--wait",
            "--timeout=4m", "--values=-", *arguments, stdin=json.dumps(self.values),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def change(self, **values: Any) -> None:
        """Upgrades the release to its chart with other values, and waits until it is ready."""
        self.values = merged(self.values, values)
        self.helm("upgrade")

    def pods(self) -> list[dict[str, Any]]:
        """The frontends' pods that aren't being removed."""
        found = self.cluster.plane.get("pods", f"--namespace={self.namespace}", f"-l{FRONTENDS}")
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def names(self) -> list[str]:
        """The names of these pods."""
        return [pod["metadata"]["name"] for pod in self.pods()]

    def run_job(self, name: str) -> None:
        """Runs a CronJob's job now, and waits until it has succeeded."""
        self.kubectl("create", "job", f"{name}-now", f"--from=cronjob/{FULL}-{name}")
        self.kubectl("wait", f"job/{name}-now", "--for=condition=Complete", "--timeout=120s")

    def figure(self, pod: str, pattern: str) -> float:
        """A figure of a pod's metrics, the sum of all series that match."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}:9090/proxy/metrics"
        text = self.cluster.plane.kubectl("get", f"--raw={path}")
        return sum(float(found) for found in re.findall(rf"^{pattern} (\S+)$", text, re.MULTILINE))

    def addresses(self) -> dict[str, str]:
        """What gRPC connects to: one address for all pods, and a name with each one's."""
        service = self.cluster.plane.get("service", FULL, f"--namespace={self.namespace}")
        name = f"{FULL}-headless.{self.namespace}.svc.cluster.local"
        return {
            "pick_first": f"ipv4:{service['spec']['clusterIP']}:9000",
            "round_robin": f"dns://{ADDRESS}:53/{name}:9000",
        }

    @contextmanager
    def calls(self, node: Node, tenant: str, *policies: str) -> Iterator[Calls]:
        """Clients on a node's own network that call until the block ends."""
        addresses = self.addresses()
        targets = [f"{policy}={addresses[policy]}" for policy in policies or addresses]
        log = node.host.folder / f"calls-{tenant}.log"
        command = [sys.executable, "-m", "tests.kubernetes.calling", tenant, *targets]
        with log.open("wb") as output:
            process = subprocess.Popen(
                node.host.on_network(*command),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        calls = Calls(process, log)
        try:
            calls.more(50)
            yield calls
        finally:
            process.kill()
            process.communicate()


@dataclass(frozen=True, slots=True)
class Calls:
    """Clients that call."""

    process: subprocess.Popen[bytes]
    log: Path

    def ended(self) -> int:
        """Number of calls that have ended."""
        assert self.process.poll() is None, self.log.read_text("utf-8")
        lines = self.log.read_text("utf-8").split("\n")[:-1]
        return int(lines[-1]) if lines and lines[-1].isdigit() else 0

    def more(self, number: int) -> None:
        """Waits until so many more have ended."""
        until = self.ended() + number
        wait_until(lambda: self.ended() >= until, f"{number} more calls")

    def report(self) -> Report:
        """Ends all clients; returns what their calls ended with."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(100)
        last = self.log.read_text("utf-8").splitlines()[-1]
        found: Mapping[str, Any] = json.loads(last)
        return Report(
            [tuple(entry) for entry in found["codes"]], found["acknowledged"], found["lost"]
        )


@contextmanager
def release(
    cluster: Cluster,
    unique: str,
    *,
    chart: Path = CHART,
    labels: Mapping[str, str] | None = None,
    **values: Any,
) -> Iterator[Release]:
    """Installs a chart into a new namespace, and uninstalls it when the block ends.

    Args:
        cluster: where.
        unique: a name that no other release has.
        chart: this version's, or another one's.
        labels: of the namespace, besides those that it has anyway.
        values: those that differ from `values_of`.
    """
    plane = cluster.plane
    with plane.namespace(f"t-{unique}", **(labels or {})) as namespace:
        here = f"--namespace={namespace}"
        url = REDIS_URL.replace("/0", f"/{next(_UNUSED) % DATABASES}")
        secret = ("create", "secret", "generic", here)
        plane.kubectl(*secret, "holdfast-redis", f"--from-literal=url={url}")
        plane.kubectl(
            *secret, "holdfast-s3", f"--from-literal=access-key-id={ACCESS_KEY}",
            f"--from-literal=secret-access-key={SECRET_KEY}",
        )  # fmt: skip
        made = Release(cluster, namespace, values_of(unique, **values), chart)
        made.helm("install")
        yield made
        plane.helm("uninstall", NAME, here, "--wait", "--ignore-not-found")
