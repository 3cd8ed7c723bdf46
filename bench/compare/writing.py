"""Writes: one stream, four streams, the COMMIT, small blobs, small messages."""

from __future__ import annotations

from bench.compare import loads
from bench.compare.loads import BLOB, MIB, SMALL, SMALL_CLIENTS, SMALL_COUNT, Done
from bench.compare.pairs import Measured, Ran, Target, compare, interleave, with_limit
from bench.compare.peers import Peers, drive

EMPTY = "an empty grpc.aio server"
CONTAINERD = "containerd's server"
BOTO3 = "boto3, 4 threads, straight"
STREAMS = 4
HOLD = 300
"""Bytes of a hold, about."""
ROUND_TRIPS = 3.0
"""Small requests to the backend that a COMMIT may take as long as."""
BEHIND = 6.0
"""The same for a COMMIT right behind the last byte, whose last parts aren't stored yet."""
STORED_WITHIN = "1s"
"""After which the last part is stored: its total was told, so it is sent at once."""


def one_stream(peers: Peers, rounds: int) -> list[Measured]:
    """256 MiB, one client, beside the registry and boto3."""
    frontend, registry, empty = peers.frontend(), peers.registry(), peers.empty_server()
    size = BLOB / MIB
    runs = interleave(
        rounds,
        {
            "holdfast": lambda: loads.write(frontend.address).ran,
            "registry": lambda: Done.of(size, drive("registry-write", url=registry)).ran,
            "boto3": lambda: Done.of(size, peers.straight("write", size=BLOB, threads=4)).ran,
            "empty": lambda: loads.write(empty).ran,
        },
    )
    name = "write of 256 MiB, one stream"
    return [
        *with_limit(
            Target(name, "distribution registry", "MiB/s", 2.6), "registry", "empty", EMPTY, runs
        ),
        *compare("holdfast", {"boto3": Target(name, BOTO3, "MiB/s", 1.3)}, runs),
    ]


def four_streams(peers: Peers, rounds: int) -> list[Measured]:
    """Four blobs of 256 MiB at once, beside boto3 with four threads."""
    frontend = peers.frontend()
    size = STREAMS * BLOB
    runs = interleave(
        rounds,
        {
            "holdfast": lambda: loads.write(frontend.address, STREAMS).ran,
            "boto3": lambda: Done.of(size / MIB, peers.straight("write", size=size, threads=4)).ran,
        },
    )
    target = Target("four writes of 256 MiB at once", BOTO3, "MiB/s", 1.3)
    return compare("holdfast", {"boto3": target}, runs)


def commits(peers: Peers, rounds: int) -> list[Measured]:
    """The COMMIT after the last byte: beside small requests, and at two sizes.

    Right behind the last WRITE a client also waits for the parts that are still on their
    way to the store: at least for the last one, which can't be sent before it is whole. A pause
    before the COMMIT leaves only what a COMMIT does itself.
    """
    frontend = peers.frontend()

    def commit(size: int, pause: str = "0s") -> Ran:
        done = drive("write", address=frontend.address, size=size, pause=pause)
        return Ran(1000 * float(done["commit"]))

    runs = interleave(
        rounds,
        {
            "stored": lambda: commit(64 * MIB, STORED_WITHIN),
            "holdfast": lambda: commit(64 * MIB),
            "1 GiB": lambda: commit(1024 * MIB),
            "small": lambda: Ran(1000 * float(peers.straight("small-put")["seconds"])),
            "part": lambda: Ran(1000 * float(peers.straight("part-put")["seconds"])),
        },
    )
    put = "one small PUT"
    stored = Target("COMMIT of 64 MiB, its parts stored", put, "ms", ROUND_TRIPS, "at most")
    behind = Target("COMMIT of 64 MiB, right behind the last byte", put, "ms", BEHIND, "at most")
    size = Target("COMMIT of 1 GiB, right behind", "COMMIT of 64 MiB", "ms", 1.5, "at most")
    return [
        *compare("stored", {"small": stored}, runs),
        *with_limit(behind, "small", "part", "the PUT of one part of 8 MiB, straight", runs),
        *compare("1 GiB", {"holdfast": size}, runs),
    ]


def small_blobs(peers: Peers, rounds: int) -> list[Measured]:
    """Blobs of 4 KiB from eight clients, beside containerd's own server.

    A blob takes two requests to the backend, one after the other, by design: what is
    left when only those are made is the limit over S3. A frontend on a folder has the
    same backend as the peer, a disk that is synced.
    """
    frontend, content = peers.frontend(), peers.content_server()
    on_folder, empty = peers.frontend_on_folder(), peers.empty_server()

    def straight() -> Ran:
        done = peers.straight_small(size=SMALL, hold=HOLD, clients=SMALL_CLIENTS, count=SMALL_COUNT)
        return Done.of(done["count"], done).ran

    runs = interleave(
        rounds,
        {
            "holdfast": lambda: loads.small_blobs(frontend.address).ran,
            "containerd": lambda: loads.small_blobs(content).ran,
            "straight": straight,
            "folder": lambda: loads.small_blobs(on_folder.address).ran,
            "empty": lambda: loads.small_blobs(empty).ran,
        },
    )
    name, disk = "blobs of 4 KiB, 8 clients", f"{CONTAINERD}, local disk"
    target = Target(name, disk, "blobs/s", 0.35)
    both = Target(f"{name}, both on a local disk", disk, "blobs/s", 0.7)
    possible = Target(name, disk, "blobs/s", ours=EMPTY)
    return [
        *with_limit(target, "containerd", "straight", "two PUTs straight to MinIO, Go", runs),
        *compare("folder", {"containerd": both}, runs),
        *compare("empty", {"containerd": possible}, runs),
    ]


def small_messages(peers: Peers, rounds: int) -> list[Measured]:
    """WRITEs of 240 bytes, one client in lock-step, beside containerd's own server."""
    frontend, content, empty = peers.frontend(), peers.content_server(), peers.empty_server()
    runs = interleave(
        rounds,
        {
            "holdfast": lambda: loads.small_writes(frontend.address).ran,
            "containerd": lambda: loads.small_writes(content).ran,
            "empty": lambda: loads.small_writes(empty).ran,
        },
    )
    target = Target("WRITEs of 240 bytes, in lock-step", CONTAINERD, "WRITEs/s", 0.9)
    return with_limit(target, "containerd", "empty", EMPTY, runs)
