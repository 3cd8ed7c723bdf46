"""One frontend beside two: what a second process wins on one machine."""

from __future__ import annotations

from bench.compare import loads
from bench.compare.pairs import Measured, Target, compare, interleave
from bench.compare.peers import Peers, drive

CONNECTIONS = 8
"""Shared by 64 clients: a single one would reach one process only."""


def two_frontends(peers: Peers, rounds: int) -> list[Measured]:
    """Infos and small blobs; clients are shared out evenly among the addresses."""
    one, other = peers.frontend().address, peers.frontend().address
    both = f"{one},{other}"
    digest = drive("write", address=one, size=4096)["digests"][0]
    infos = interleave(
        rounds,
        {
            "one": lambda: loads.infos(one, digest, CONNECTIONS).ran,
            "two": lambda: loads.infos(both, digest, CONNECTIONS).ran,
        },
    )
    blobs = interleave(
        rounds,
        {
            "one": lambda: loads.small_blobs(one).ran,
            "two": lambda: loads.small_blobs(both).ran,
        },
    )
    peer, ours = "one frontend", "two frontends"
    info = Target("Info, hot, 64 at once, 8 connections", peer, "calls/s", ours=ours)
    blob = Target("blobs of 4 KiB, 8 clients", peer, "blobs/s", ours=ours)
    return [*compare("two", {"one": info}, infos), *compare("two", {"one": blob}, blobs)]
