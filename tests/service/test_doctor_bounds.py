"""`holdfast doctor` on bounds that contradict each other, and on who sees the HTTP port's pages."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.checks import Check
from holdfast.service.agent.examination import examine as examine_agent
from holdfast.service.doctor import examine
from holdfast.service.holdings.bound_checks import OLD, bound_checks, fleet_check
from holdfast.service.rpc.listener_checks import listener_checks
from holdfast.service.settings import Settings
from holdfast.storage.held import FleetHeld
from tests.service.processes import LISTEN
from tests.stores.memory import MemoryStore

GIB = 2**30
MIB = 2**20


def settings(**changes: Any) -> Settings:
    """Those of a frontend."""
    return Settings(listen=[LISTEN], **changes)


def only(checks: list[Check], name: str) -> Check:
    """The only check of a name."""
    [found] = [check for check in checks if check.name == name]
    return found


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"tenant_bytes": 2 * GIB, "fleet_bytes": GIB}, "each tenant may hold 2147483648 bytes"),
        ({"tenant_ingest_bytes": 100}, "less than one part"),
        ({"tenant_ingest_bytes": 3 * GIB, "tenant_bytes": GIB}, "hold only 1073741824"),
        ({"tenant_ingest_bytes": 3 * GIB, "fleet_bytes": GIB}, "all together may hold only"),
        ({"tenant_write_rate": 100}, "a layer of 1 GiB takes 10737418 s"),
    ],
)
def test_bounds_that_contradict_each_other(changes: dict[str, Any], found: str) -> None:
    """Bounds that no tenant could reach, or that stop all work, are said, and none is essential."""
    [check] = bound_checks(settings(**changes))
    assert (check.ok, check.essential) == (False, False)
    assert found in check.found
    assert check.advice


def test_bounds_of_a_file(tmp_path: Path) -> None:
    """The file's tenants are looked at as well, each by its name."""
    file = tmp_path / "quotas.toml"
    file.write_text('[fleet]\nbytes = "1GiB"\n[tenants."ci-*"]\nbytes = "2GiB"\n')
    [check] = bound_checks(settings(quotas=str(file)))
    assert check.found.startswith("ci-* may hold 2147483648 bytes")
    file.write_text("nonsense")
    assert list(bound_checks(settings(quotas=str(file)))) == []


def test_bounds_that_fit() -> None:
    """The defaults say nothing, also beside a bound that is below them; what fits is well."""
    assert list(bound_checks(settings())) == []
    [check] = bound_checks(settings(tenant_bytes=GIB, fleet_bytes=10 * GIB))
    assert check.ok
    [check] = bound_checks(settings(fleet_bytes=GIB, tenant_write_rate=MIB))
    assert check.ok


def test_whether_the_fleets_bound_is_in_force() -> None:
    """Without a count there is no bound; an old one, and one that is nearly full, are said."""
    store, bounded = MemoryStore(), settings(fleet_bytes=100)
    assert list(fleet_check(settings(), store)) == []
    [check] = fleet_check(bounded, store)
    assert (check.ok, check.advice) == (False, "run `holdfast gc`")
    for size, age, ok, advice in (
        (89, 60.0, True, ""),
        (90, 60.0, False, "FLEET_BYTES"),
        (1, OLD + 60, False, "every day"),
    ):
        FleetHeld(size, 1, time.time() - age, "counter", 0).write(store)
        [check] = fleet_check(bounded, store)
        assert check.ok is ok
        assert f"{size} of 100 bytes" in check.found
        assert advice in check.advice
        assert bool(advice) == bool(check.advice)


@pytest.mark.parametrize(
    ("url", "ok", "found"),
    [
        ("127.0.0.1:0", True, "on this machine"),
        ("0.0.0.0:0", True, "nobody is one"),
        ("tcp://0.0.0.0:0?identities=1&insecure=1", False, "in the clear"),
        ("unix://{}/a.sock", True, "mode 0600"),
        ("unix://{}/a.sock?mode=0666", False, "every user of this machine"),
    ],
)
def test_who_sees_the_pages(url: str, ok: bool, found: str, tmp_path: Path) -> None:
    """The doctor says who sees the pages for operators, and warns where strangers may."""
    checks = list(listener_checks(settings(http=url.format(tmp_path))))
    check = only(checks, "HTTP port: operators")
    assert (check.ok, check.essential) == (ok, False)
    assert found in check.found


async def test_the_agents_port(tmp_path: Path) -> None:
    """The same of an agent; a port that another process has is a finding."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        chosen = Settings(
            listen=[f"unix://{tmp_path}/agent.sock?tenant=a"],
            http=f"127.0.0.1:{taken.getsockname()[1]}",
            agent_frontends=["127.0.0.1:9"],
            data_dir=tmp_path,
        )
        checks = await examine_agent(chosen)
    assert not only(checks, "HTTP port").ok
    assert only(checks, "HTTP port: operators").ok


async def test_the_doctor_asks_all_of_it(tmp_path: Path) -> None:
    """`holdfast doctor` has these checks among all others."""
    checks = await examine(settings(data_dir=tmp_path, fleet_bytes=GIB, http="127.0.0.1:0"))
    assert only(checks, "bounds").ok
    assert not only(checks, "fleet's bound").ok
    assert only(checks, "HTTP port: operators").ok
