"""Reads: cold and sequential, by many at once, as containerd unpacks; and Info."""

from __future__ import annotations

from bench.compare.pairs import Measured, Target, compare, interleave
from bench.compare.peers import Frontend, Peers, drive

MIB = 2**20
BLOB = 256 * MIB
HOT = 32 * MIB
"""Half of what the cache holds by default: it stays hot."""
READERS = 16
WORKERS = 64
INFOS = 150
SEED = 7


class Blobs:
    """Blobs that no frontend has in its cache: each asked for is a new one."""

    def __init__(self, writer: Frontend, size: int) -> None:
        self._writer = writer
        self.size = size

    def fresh(self) -> str:
        """The digest of a blob that was just written, through a frontend of its own."""
        done = drive("write", address=self._writer.address, size=self.size)
        return str(done["digests"][0])


def sequential(peers: Peers, rounds: int) -> list[Measured]:
    """256 MiB, cold, one stream, beside boto3 with eight ranges at once."""
    blobs, reader = Blobs(peers.frontend(), BLOB), peers.frontend()
    peers.straight("write", size=BLOB, threads=4, key="straight/read")
    rate = BLOB / MIB

    def ours() -> float:
        digest = blobs.fresh()
        done = drive("read", address=reader.address, digest=digest, size=BLOB)
        return rate / float(done["seconds"])

    def theirs() -> float:
        done = peers.straight("read", size=BLOB, threads=8, key="straight/read")
        return rate / float(done["seconds"])

    figures = interleave(rounds, {"holdfast": ours, "boto3": theirs})
    target = Target(
        "cold read of 256 MiB, one stream", "boto3, 8 ranges, straight", "at least", 0.8, "MiB/s"
    )
    return compare("holdfast", {"boto3": target}, figures)


def together(peers: Peers, rounds: int) -> list[Measured]:
    """16 clients read one cold blob: what the backend sends, beside the blob's size."""
    blobs, reader = Blobs(peers.frontend(), BLOB), peers.frontend()
    size = float(BLOB) / MIB
    sent = []
    for _ in range(min(rounds, 3)):
        digest = blobs.fresh()
        before = peers.sent_by_backend()
        drive("read", address=reader.address, digest=digest, size=BLOB, clients=READERS)
        sent.append((peers.sent_by_backend() - before) / MIB)
    target = Target(
        "sent by the backend for 16 cold readers at once", "the blob", "at most", 1.05, "MiB"
    )
    return [Measured(target, tuple(sent), (size,) * len(sent))]


def unpacking(peers: Peers, rounds: int) -> list[Measured]:
    """Info, then one Read per 32 KiB: cold beside hot, hot beside containerd's own server."""
    blobs, reader = Blobs(peers.frontend(), HOT), peers.frontend()
    content = peers.content_server()
    held = drive("write", address=content, size=HOT)["digests"][0]

    def rate(address: str, digest: str) -> float:
        done = drive("unpack", address=address, digest=digest)
        return float(done["count"] / done["seconds"])

    colds: list[float] = []

    def ours() -> float:
        digest = blobs.fresh()
        colds.append(rate(reader.address, digest))
        return rate(reader.address, digest)

    figures = interleave(rounds, {"hot": ours, "containerd": lambda: rate(content, held)})
    figures["cold"] = colds[-rounds:]
    as_hot = Target("unpacking, cold", "the same, hot", "at least", 0.6, "Reads/s")
    as_theirs = Target("unpacking, hot", "containerd's server", "at least", 0.65, "Reads/s")
    return [
        *compare("cold", {"hot": as_hot}, figures),
        *compare("hot", {"containerd": as_theirs}, figures),
    ]


def infos(peers: Peers, rounds: int) -> list[Measured]:
    """Info, hot, 64 calls at once on one connection."""
    frontend, content, empty = peers.frontend(), peers.content_server(), peers.empty_server()
    digest = drive("write", address=frontend.address, size=4096, seed=SEED)["digests"][0]
    drive("write", address=content, size=4096, seed=SEED)

    def rate(address: str) -> float:
        done = drive(
            "info", address=address, digest=digest, clients=WORKERS, connections=1, count=INFOS
        )
        return float(done["count"] / done["seconds"])

    figures = interleave(
        rounds,
        {
            "holdfast": lambda: rate(frontend.address),
            "containerd": lambda: rate(content),
            "empty": lambda: rate(empty),
        },
    )
    name = "Info, hot, 64 at once"
    return compare(
        "holdfast",
        {
            "empty": Target(name, "an empty Python server", "at least", 0.5, "calls/s"),
            "containerd": Target(name, "containerd's server", "at least", 0.4, "calls/s"),
        },
        figures,
    )
