"""The audit log: what a line says, and how many there may be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.service.trust.audit import (
    BURST,
    BURST_OF_ALL,
    CLIENTS,
    IN_VAIN,
    LONGEST,
    PER_SECOND,
    AuditLog,
    unprotected,
)
from holdfast.service.trust.identity import ClientIdentity, Role
from tests.trust.issuing import NOW, Clock

NODE = ClientIdentity("node-1", Role.NODE, "nodes", "system:node:node-1")


class Lines(list[bytes]):
    """The lines that were written."""

    def parsed(self) -> list[dict[str, Any]]:
        """Their fields."""
        return [json.loads(line) for line in self]


def audit_log(lines: Lines, clock: Clock) -> AuditLog:
    """A log that writes into a list."""
    return AuditLog(lines.append, lambda: NOW, clock)


def test_a_line_says_who_did_what() -> None:
    """A line has the identity, the rule, the peer, what was done, to what, and the outcome."""
    lines = Lines()
    audit_log(lines, Clock()).note(
        "delete", who=NODE, peer="ipv4:10.0.0.1:5", rpc="Delete", digest="sha256:00"
    )
    assert lines.parsed() == [
        {
            "event": "audit",
            "timestamp": "2027-01-15T08:00:00Z",
            "action": "delete",
            "tenant": "node-1",
            "role": "node",
            "rule": "nodes",
            "subject": "system:node:node-1",
            "peer": "ipv4:10.0.0.1:5",
            "rpc": "Delete",
            "digest": "sha256:00",
            "outcome": "OK",
        }
    ]


@pytest.mark.parametrize(
    "text",
    [
        'a"\n{"event": "audit", "action": "forged"}',
        "a\r\nb",
        "a\0b",
        "a\u2028b\u0085c",
        "\x1b[2J\x7f",
        "\udcff",
        "é" * 10_000,
        "\U0001f600" * 10_000,
    ],
)
def test_nothing_that_a_client_sends_makes_another_line(text: str) -> None:
    """Whatever a field has, its line is one line of printable ASCII below 4 KiB."""
    lines = Lines()
    who = ClientIdentity("a", Role.NODE, text, text)
    audit_log(lines, Clock()).note(
        "refuse", who=who, peer=text, ref=text, digest=text, reason=text, labels=[text] * 9
    )
    [line] = lines
    assert line.endswith(b"\n")
    body = line[:-1].decode("ascii")
    assert body.isprintable()
    assert len(line) < 4096
    found = json.loads(body)
    assert found["action"] == "refuse"
    assert found["labels_in_all"] == 9
    assert found["ref"][:2] == text[:2]


def test_a_short_text_is_not_cut() -> None:
    """A text that fits is written whole, and a longer one says how long it was."""
    lines, log = Lines(), AuditLog
    log(lines.append, lambda: NOW, Clock()).note("abort", who=NODE, peer="", ref="r" * LONGEST)
    log(lines.append, lambda: NOW, Clock()).note("abort", who=NODE, peer="", ref="r" * 300)
    whole, cut = (line["ref"] for line in lines.parsed())
    assert whole == "r" * LONGEST
    assert cut.endswith("…(300)")


def test_one_client_cannot_flood_the_log() -> None:
    """Beyond its burst a client's lines are left out and counted; others' are written."""
    lines, clock = Lines(), Clock()
    log = audit_log(lines, clock)
    for _ in range(int(BURST) + 5):
        log.note("delete", who=NODE, peer="p")
    assert len(lines) == BURST
    log.note("delete", who=ClientIdentity("node-2", Role.NODE, "nodes", "x"), peer="p")
    assert len(lines) == BURST + 1
    assert log.omitted == 5
    clock.now += 2 / PER_SECOND
    for _ in range(3):
        log.note("delete", who=NODE, peer="p")
    assert [line.get("omitted") for line in lines.parsed()[-2:]] == [5, None]
    log.flush()
    assert lines.parsed()[-1]["omitted"] == 1
    assert lines.parsed()[-1]["action"] == "omitted"
    assert lines.parsed()[-1]["tenant"] == "node-1"
    log.flush()
    assert len(lines) == BURST + 4


@pytest.mark.parametrize(
    "given",
    [
        {"action": "delete", "changed": False},
        {"action": "delete", "outcome": "UNAVAILABLE"},
        {"action": "refuse", "outcome": "PERMISSION_DENIED"},
        {"action": "abort"},
        {"action": "unprotect"},
    ],
)
def test_a_client_cannot_hide_what_it_deletes(given: dict[str, Any]) -> None:
    """However much a client does that changes nothing, or something else, deletes are written."""
    lines = Lines()
    log = audit_log(lines, Clock())
    for number in range(int(BURST)):
        log.note(**given, who=NODE, peer="p", digest=f"sha256:made-up-{number}")
    noise = len(lines)
    for number in range(500):
        log.note("delete", who=NODE, peer="p", digest=f"sha256:real-{number}")
    assert len(lines) == noise + 500
    assert noise == (BURST if given["action"] in {"abort", "unprotect"} else BURST * IN_VAIN)
    assert [line.get("changed") for line in lines.parsed()[::noise]] == [
        False if "changed" in given else None,
        *[None] * ((len(lines) - 1) // noise),
    ]


def test_strangers_share_one_allowance() -> None:
    """Clients that nobody knows can't get more lines by other addresses."""
    lines = Lines()
    log = audit_log(lines, Clock())
    for number in range(int(BURST) + 100):
        log.note("refuse", who=None, peer=f"ipv4:10.0.0.1:{number}")
    assert len(lines) == BURST
    log.flush()
    assert lines.parsed()[-1] == {
        "event": "audit",
        "timestamp": "2027-01-15T08:00:00Z",
        "action": "omitted",
        "omitted": 100,
    }


def test_all_clients_together_have_a_bound() -> None:
    """Many clients that are each within their bound stay within the bound of all."""
    lines = Lines()
    log = audit_log(lines, Clock())
    for number in range(20):
        for _ in range(int(BURST)):
            log.note("delete", who=ClientIdentity(f"n{number}", Role.NODE, "r", "s"), peer="")
    assert len(lines) == BURST_OF_ALL


def test_few_clients_are_counted() -> None:
    """What a forgotten client's lines left out is written before it is forgotten."""
    lines = Lines()
    log = audit_log(lines, Clock())
    for _ in range(int(BURST) + 1):
        log.note("delete", who=NODE, peer="")
    for number in range(CLIENTS):
        log.note("delete", who=ClientIdentity(f"n{number}", Role.NODE, "r", "s"), peer="")
    assert [line["tenant"] for line in lines.parsed() if line["action"] == "omitted"] == ["node-1"]
    assert len(log._clients) == CLIENTS


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"containerd.io/gc.root": "1"}, {}, ["containerd.io/gc.root"]),
        ({"containerd.io/gc.ref.content.0": "a"}, {"containerd.io/gc.ref.content.0": "b"},
         ["containerd.io/gc.ref.content.0"]),
        ({"containerd.io/gc.root": "1"}, {"containerd.io/gc.root": "1", "x": "y"}, []),
        ({"x": "y"}, {}, []),
        ({}, {"containerd.io/gc.root": "1"}, []),
        ({"containerd.io/gc.expire": "2026-01-01"}, {"containerd.io/gc.expire": "2025-01-01"},
         ["containerd.io/gc.expire"]),
    ],
)  # fmt: skip
def test_labels_that_protected_content_are_found(
    before: dict[str, str], after: dict[str, str], found: list[str]
) -> None:
    """A label of containerd's collector that is gone or changed doesn't protect what it did."""
    assert unprotected(before, after) == found
