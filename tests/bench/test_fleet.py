"""The fleet simulator: real agents against real frontends, and what its tables say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from bench.fleet import here
from bench.fleet.frontends import looked
from bench.fleet.spec import FleetSpec, size_of
from bench.inside import addresses_of
from bench.tenants import RESERVED
from holdfast import ContentStore
from holdfast.errors import ConfigurationError
from tests.project.repository import ROOT
from tests.servers.authority import Authority
from tests.servers.process import wait_until
from tests.service.processes import Served, serving

KIB: Final = 2**10
FLEET: Final = (
    sys.executable,
    "-m",
    "bench.inside",
    "fleet",
    "--nodes",
    "4",
    "--processes",
    "2",
    "--spread",
    "0",
)
SERVICE_NAME: Final = "holdfast.default.svc"
SPEC: Final[dict[str, Any]] = {"frontends": ("127.0.0.1:1",), "metrics": ("127.0.0.1:2",)}


@dataclass(frozen=True)
class Frontend:
    """A frontend on a folder, and its HTTP port."""

    served: Served

    @property
    def http(self) -> str:
        """Where its metrics are."""
        event = self.served.event("listening for probes and metrics")
        assert event is not None
        return f"127.0.0.1:{event['port']}"

    def command(self, *arguments: str, prefix: str = f"{RESERVED}test") -> list[str]:
        """What pulls a small image through it."""
        where = ("--frontends", self.served.address, "--metrics", self.http, "--prefix", prefix)
        return [*FLEET, *where, *arguments]

    def held(self, tenant: str) -> list[str]:
        """What a tenant holds."""
        with ContentStore(self.served.address, tenant=tenant) as store:
            return [str(info.digest) for info in store.list()]


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[Frontend]:
    """A frontend that believes the tenant's header."""
    with serving(tmp_path / "log", data_dir=tmp_path / "data") as served:
        yield Frontend(served)


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Frontend]:
    """A frontend to which only clients with certificates get, as the environment has them.

    Its certificate names the service, as the chart's does, and no address. Its header is another.
    """
    authority = Authority()
    cert, key = authority.server(dns=(SERVICE_NAME,), addresses=()).write(tmp_path, "frontend")
    issuers = authority.write(tmp_path)
    shown, shown_key = authority.client("load").write(tmp_path, "load")
    for name, value in {
        "CA": issuers,
        "CERT": shown,
        "KEY": shown_key,
        "SERVER_NAME": SERVICE_NAME,
    }.items():
        monkeypatch.setenv(f"HOLDFAST_AGENT_TLS_{name}", str(value))
    listen = f"tls://127.0.0.1:0?cert={cert}&key={key}&client-ca={issuers}&tenant-header=x-node"
    with serving(tmp_path / "log", data_dir=tmp_path / "data", listen=listen) as served:
        yield Frontend(served)


def ran(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, as the image does."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_fleet_over_tls(private: Frontend) -> None:
    """Nodes with a certificate pull as others do, through a header of another name."""
    done = ran(private.command("--layers", "64KiB", "--header", "x-node"))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["fleet"]
    assert found["nodes"] == found["ready"] == 4


@pytest.mark.slow
def test_ghz_over_tls(private: Frontend) -> None:
    """ghz, and what fills the store for it, show the certificate and name the tenant."""
    where = ("--address", private.served.address, "--header", "x-node", "--seconds", "1")
    done = ran([sys.executable, "-m", "bench.inside", "ghz", "info", "write", *where])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["ghz"]
    assert {name: set(one["codes"]) for name, one in found.items()} == {
        "info": {"OK"},
        "write": {"OK"},
    }


@pytest.mark.slow
@pytest.mark.minio
@pytest.mark.timeout(240)
def test_a_fleet_costs_its_backends_no_connections() -> None:
    """Ten agents on three frontends fetch each layer once, and Redis sees no more clients."""
    found = here.run(10, (1024 * KIB, 2048 * KIB), 20e6, 2, spread=0.0)
    fleet = found.fleet
    assert fleet.within_limits, fleet.text()
    assert len(fleet.pulled.ready) == 10
    assert fleet.source.most_fetched == 1
    assert fleet.source.resolved == 10
    # Two layers of 32 and 64 pieces, and a manifest and a configuration.
    assert fleet.pulled.tally.number("Read", "OK") == 10 * (32 + 64 + 2)
    assert [one.most["connections"] for one in fleet.frontends] == [10, 10, 10]
    assert found.after["Redis"] <= found.before["Redis"] + here.FRONTENDS
    assert fleet.requests_to("S3") > 0
    assert fleet.requests_to("Redis") < 10 * 100


def test_what_the_job_prints(frontend: Frontend) -> None:
    """Tables for people come first, then one line for programs; and nothing is left."""
    done = ran(frontend.command("--layers", "1MiB", "64KiB", "--rate", "100"))
    assert done.returncode == 0, done.stderr
    *tables, line = done.stdout.splitlines()
    heads = [row.split("|")[1].strip() for row in tables if row.startswith("|")]
    assert {"fleet", "call", "frontend", "to", "Info", "Write: COMMIT"} <= set(heads)
    assert all(len({len(row) for row in part}) == 1 for part in parts_of(tables))
    found: dict[str, Any] = json.loads(line)["fleet"]
    assert found["nodes"] == found["ready"] == 4
    assert found["image_bytes"] > 1088 * KIB
    assert found["within_limits"]
    assert frontend.held(f"{RESERVED}test-0000") == []


def parts_of(lines: list[str]) -> list[list[str]]:
    """The tables, each by its lines."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line:
            parts[-1].append(line)
        else:
            parts.append([])
    return parts


def test_what_a_killed_run_left_is_gone(frontend: Frontend) -> None:
    """Its tenants have the same names in each run, so that the next one gives up what it held."""
    tenant = f"{RESERVED}test-0003"
    with ContentStore(frontend.served.address, tenant=tenant) as store:
        with store.writer("left") as writer:
            writer.write(b"left behind")
            writer.commit()
        assert frontend.held(tenant)
    assert ran(frontend.command("--layers", "64KiB")).returncode == 0
    assert frontend.held(tenant) == []


def test_sigterm_leaves_nothing(frontend: Frontend) -> None:
    """A Job that is ended in the middle of a pull still gives up what its nodes hold."""
    command = frontend.command("--layers", "1MiB", "32MiB", "--rate", "4")
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    tenants = [f"{RESERVED}test-{number:04}" for number in range(4)]
    wait_until(lambda: all(map(frontend.held, tenants)), "a first layer")
    process.send_signal(signal.SIGTERM)
    assert "told to end" in process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert [frontend.held(tenant) for tenant in tenants] == [[]] * 4
    assert looked(frontend.http).gauges["connections"] == 0


def test_a_frontend_that_decides_who_asks(tmp_path: Path) -> None:
    """Where all nodes would be one tenant, nothing is pulled, and above all nothing is deleted."""
    listen = "tcp://127.0.0.1:0?tenant=node-a"
    with serving(tmp_path / "log", data_dir=tmp_path / "data", listen=listen) as served:
        frontend = Frontend(served)
        with ContentStore(served.address, tenant="node-a") as store:
            with store.writer("image") as writer:
                writer.write(b"a real node's image")
                writer.commit()
            done = ran(frontend.command("--layers", "64KiB"))
            assert done.returncode == 2
            assert "doesn't take the tenant from the header" in done.stderr
            assert len(list(store.list())) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prefix": "node-"}, "must begin with 'holdfast-load-'"),
        ({"prefix": RESERVED}, "up to 40"),
        ({"prefix": f"{RESERVED}{'x' * 41}"}, "up to 40"),
        ({"nodes": 0}, "between 1 and 5000"),
        ({"nodes": 5_001}, "between 1 and 5000"),
        ({"layers": ()}, "at least one"),
        ({"layers": (1, 0)}, "none of them empty"),
        ({"layers": (2**30, 1)}, "1073741824 bytes at most"),
        ({"rate": 0.0}, "must be positive"),
        ({"processes": 0}, "must be positive"),
        ({"read": 0}, "up to 1 MiB"),
        ({"read": 2**20 + 1}, "up to 1 MiB"),
        ({"spread": -1.0}, "not negative"),
        ({"frontends": ()}, "at least one frontend"),
        ({"metrics": ()}, "one HTTP port"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    """What could touch a real node, or has no bound, isn't begun."""
    with pytest.raises(ConfigurationError, match=words):
        FleetSpec(**{**SPEC, "prefix": f"{RESERVED}test", **changes})


def test_a_spec_survives_the_way_to_a_process() -> None:
    """Each process has the same fleet before it, and all of its nodes are somebody's."""
    spec = FleetSpec(**SPEC, prefix=f"{RESERVED}x", nodes=7, processes=3, layers=(1, 2))
    assert FleetSpec.decode(spec.encode()) == spec
    shares = [number for process in range(3) for number in spec.share(process)]
    assert sorted(shares) == list(range(7))


def test_sizes() -> None:
    """Sizes are written as in settings."""
    assert size_of("4MiB") == 4 * KIB**2
    with pytest.raises(ConfigurationError, match="'much' is no size"):
        size_of("much")


def test_addresses() -> None:
    """A host stands for all of its addresses, each once."""
    assert addresses_of("127.0.0.1:9000,127.0.0.1:9000, 127.0.0.2:9000") == (
        "127.0.0.1:9000",
        "127.0.0.2:9000",
    )
    assert addresses_of("[::1]:9000") == ("[::1]:9000",)
    with pytest.raises(ConfigurationError, match="has no address"):
        addresses_of("holdfast.invalid:9000")


def test_no_metrics() -> None:
    """A frontend whose metrics can't be had is named."""
    with pytest.raises(ConfigurationError, match=r"no metrics from 127\.0\.0\.1:1:"):
        looked("127.0.0.1:1")


def test_what_the_image_has_suffices(tmp_path: Path) -> None:
    """The part that the image has needs nothing of the tests."""
    (tmp_path / "bench").symlink_to(ROOT / "bench")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    code = (
        "import bench.inside, sys; sys.exit(any(m.split('.')[0] == 'tests' for m in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
