"""Writes: one stream, four streams, the COMMIT, small blobs, small messages."""

from __future__ import annotations

from bench.compare.pairs import Measured, Target, compare, interleave
from bench.compare.peers import Peers, drive

MIB = 2**20
BLOB = 256 * MIB
STREAMS = 4
SMALL = 4096
SMALL_CLIENTS = 8
SMALL_COUNT = 100
TINY = 240
TINY_COUNT = 3000
ROUND_TRIPS = 3.0
"""Small requests to the backend that a COMMIT may take as long as."""


def one_stream(peers: Peers, rounds: int) -> list[Measured]:
    """256 MiB, one client, beside the registry and boto3."""
    frontend, registry = peers.frontend(), peers.registry()
    rate = BLOB / MIB
    figures = interleave(
        rounds,
        {
            "holdfast": lambda: rate / drive("write", address=frontend.address)["seconds"],
            "registry": lambda: rate / drive("registry-write", url=registry)["seconds"],
            "boto3": lambda: rate / peers.straight("write", size=BLOB, threads=4)["seconds"],
        },
    )
    name = "write of 256 MiB, one stream"
    return compare(
        "holdfast",
        {
            "registry": Target(name, "distribution registry", "at least", 2.5, "MiB/s"),
            "boto3": Target(name, "boto3, 4 threads, straight", "at least", 0.65, "MiB/s"),
        },
        figures,
    )


def four_streams(peers: Peers, rounds: int) -> list[Measured]:
    """Four blobs of 256 MiB at once, beside boto3 with four threads."""
    frontend = peers.frontend()
    rate = STREAMS * BLOB / MIB
    figures = interleave(
        rounds,
        {
            "holdfast": lambda: (
                rate / drive("write", address=frontend.address, clients=STREAMS)["seconds"]
            ),
            "boto3": lambda: (
                rate / peers.straight("write", size=STREAMS * BLOB, threads=4)["seconds"]
            ),
        },
    )
    target = Target(
        "four writes of 256 MiB at once", "boto3, 4 threads, straight", "at least", 0.7, "MiB/s"
    )
    return compare("holdfast", {"boto3": target}, figures)


def commits(peers: Peers, rounds: int) -> list[Measured]:
    """The COMMIT after the last byte: beside small requests, and at two sizes."""
    frontend = peers.frontend()

    def commit(size: int) -> float:
        return 1000 * float(drive("write", address=frontend.address, size=size)["commit"])

    figures = interleave(
        rounds,
        {
            "64 MiB": lambda: commit(64 * MIB),
            "1 GiB": lambda: commit(1024 * MIB),
            "small": lambda: 1000 * float(peers.straight("round-trip")["seconds"]),
        },
    )
    small = Target(
        "COMMIT of 64 MiB, as the client sees it", "one small PUT", "at most", ROUND_TRIPS, "ms"
    )
    size = Target("COMMIT of 1 GiB", "COMMIT of 64 MiB", "at most", 1.5, "ms")
    return [
        *compare("64 MiB", {"small": small}, figures),
        *compare("1 GiB", {"64 MiB": size}, figures),
    ]


def small_blobs(peers: Peers, rounds: int) -> list[Measured]:
    """Blobs of 4 KiB from eight clients, beside containerd's own server."""
    frontend, content = peers.frontend(), peers.content_server()

    def rate(address: str) -> float:
        done = drive("write", address=address, size=SMALL, clients=SMALL_CLIENTS, count=SMALL_COUNT)
        return float(done["count"] / done["seconds"])

    figures = interleave(
        rounds,
        {"holdfast": lambda: rate(frontend.address), "containerd": lambda: rate(content)},
    )
    target = Target(
        "blobs of 4 KiB, 8 clients", "containerd's server, local disk", "at least", 0.7, "blobs/s"
    )
    return compare("holdfast", {"containerd": target}, figures)


def small_messages(peers: Peers, rounds: int) -> list[Measured]:
    """WRITEs of 240 bytes, one client in lock-step, beside containerd's own server."""
    frontend, content = peers.frontend(), peers.content_server()

    def rate(address: str) -> float:
        done = drive("write", address=address, size=TINY * TINY_COUNT, message=TINY)
        return float(TINY_COUNT / done["seconds"])

    figures = interleave(
        rounds,
        {"holdfast": lambda: rate(frontend.address), "containerd": lambda: rate(content)},
    )
    target = Target(
        "WRITEs of 240 bytes, in lock-step", "containerd's server", "at least", 0.5, "WRITEs/s"
    )
    return compare("holdfast", {"containerd": target}, figures)
