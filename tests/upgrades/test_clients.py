"""Clients of one version and frontends, or agents, of the other."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Final

import pytest

from tests.service.fleet import HEADER
from tests.upgrades.conftest import Pair

PARTS: Final = ("rpcs", "library")
MIXED: Final = (("old", "new"), ("new", "old"))
REFUSED: Final = {
    "Info of nothing": "NOT_FOUND",
    "STAT of a ref that is written": "UNAVAILABLE",
    "STAT of what another writes": "UNAVAILABLE",
    "WRITE elsewhere": "OUT_OF_RANGE",
    "COMMIT of another size": "FAILED_PRECONDITION",
    "COMMIT again": "ALREADY_EXISTS",
    "STAT of what is held": "ALREADY_EXISTS",
    "an action of a later version": "INVALID_ARGUMENT",
    "a message that is too large": "RESOURCE_EXHAUSTED",
    "Read past the end": "OUT_OF_RANGE",
    "Overview": "PERMISSION_DENIED",
    "List with a wrong filter": "INVALID_ARGUMENT",
    "Status of nothing": "NOT_FOUND",
}
"""The calls that the baseline refuses, and how; all others succeed."""

Answers = Mapping[str, Any]
Way = tuple[str, str]


def answers(pair: Pair, client: str, address: str) -> Answers:
    """What a client of a version gets at an address, by part; tenants are of one length."""
    run = pair.versions[client].client
    return {part: run(part, address, secrets.token_hex(6)) for part in PARTS}


@pytest.fixture(scope="module")
def before(pair: Pair) -> Answers:
    """What an old client gets from an old frontend."""
    return answers(pair, "old", pair.address("old"))


@pytest.fixture(scope="module")
def agents(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Way, str]]:
    """Where agents listen, by their version and that of the only frontend that each uses."""
    folder, found = tmp_path_factory.mktemp("agents"), {}
    with ExitStack() as stack:
        for agent, frontend in (("old", "old"), *MIXED):
            name = f"{agent} before {frontend}"
            running = pair.versions[agent].serving(
                folder / f"{name}.log",
                command="agent",
                agent_frontends=pair.address(frontend),
                agent_tenant_header=HEADER,
                data_dir=folder / name,
            )
            found[agent, frontend] = stack.enter_context(running).address
        yield found


def test_what_is_compared(before: Answers) -> None:
    """What follows compares answers with answers: most calls of the baseline succeed."""
    gave = {name: answer for call in before["rpcs"] for name, answer in call.items()}
    refused = {
        name: got["code"] for name, got in gave.items() if isinstance(got, dict) and "code" in got
    }
    assert refused == REFUSED


@pytest.mark.parametrize(("client", "frontend"), MIXED)
def test_frontends(pair: Pair, before: Answers, client: str, frontend: str) -> None:
    """Each call gives what it gives between equals: answers, errors, what trailers say."""
    assert answers(pair, client, pair.address(frontend)) == before


@pytest.mark.parametrize(("agent", "frontend"), MIXED)
def test_agents(pair: Pair, agents: Mapping[Way, str], agent: str, frontend: str) -> None:
    """Between an agent and a frontend of two versions each call gives what it gives in one."""
    # A node's containerd is the same before and after, so the client is an old one.
    reference = answers(pair, "old", agents["old", "old"])
    assert answers(pair, "old", agents[agent, frontend]) == reference
