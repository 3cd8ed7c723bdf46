"""Reads: cold and sequential, by many at once, as containerd unpacks; and Info."""

from __future__ import annotations

from bench import load
from bench.compare import loads
from bench.compare.loads import BLOB, HOT, MIB, WORKERS, Done
from bench.compare.pairs import Measured, Ran, Run, Target, compare, interleave, with_limit
from bench.compare.peers import TENANT, Frontend, Peers, drive
from bench.compare.writing import CONTAINERD, EMPTY
from bench.cpu import per_unit

READERS = 16
SEED = 7
LONG_ENOUGH = "6s"
"""How long ghz asks: shorter runs measure how it starts."""


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
    blobs, reader, empty = Blobs(peers.frontend(), BLOB), peers.frontend(), peers.empty_server(BLOB)
    peers.straight("write", size=BLOB, threads=4, key="straight/read")

    def theirs() -> Ran:
        done = peers.straight("read", size=BLOB, threads=8, key="straight/read")
        return Done.of(BLOB / MIB, done).ran

    runs = interleave(
        rounds,
        {
            "holdfast": lambda: loads.read(reader.address, blobs.fresh()).ran,
            "boto3": theirs,
            "empty": lambda: loads.read(empty, "sha256:any").ran,
        },
    )
    target = Target("cold read of 256 MiB, one stream", "boto3, 8 ranges, straight", "MiB/s", 0.6)
    return with_limit(target, "boto3", "empty", EMPTY, runs)


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
        "sent by the backend for 16 cold readers at once", "the blob", "MiB", 1.05, "at most"
    )
    return [Measured(target, tuple(sent), (size,) * len(sent))]


def unpacking(peers: Peers, rounds: int) -> list[Measured]:
    """Info, then one Read per 32 KiB: cold beside hot, hot beside containerd's own server."""
    blobs, reader, empty = Blobs(peers.frontend(), HOT), peers.frontend(), peers.empty_server(HOT)
    content = peers.content_server()
    held = drive("write", address=content, size=HOT)["digests"][0]
    colds: list[Ran] = []

    def ours() -> Ran:
        digest = blobs.fresh()
        colds.append(loads.unpack(reader.address, digest).ran)
        return loads.unpack(reader.address, digest).ran

    runs = interleave(
        rounds,
        {
            "holdfast": ours,
            "containerd": lambda: loads.unpack(content, held).ran,
            "empty": lambda: loads.unpack(empty, held).ran,
        },
    )
    runs["cold"] = colds[-rounds:]
    as_hot = Target("unpacking, cold", "the same, hot", "Reads/s", 0.8)
    as_theirs = Target("unpacking, hot", CONTAINERD, "Reads/s", 1.0)
    return [
        *compare("cold", {"holdfast": as_hot}, runs),
        *with_limit(as_theirs, "containerd", "empty", EMPTY, runs),
    ]


def infos(peers: Peers, rounds: int) -> list[Measured]:
    """Info, hot, 64 calls at once on one connection: by ghz, and by the client in Go."""
    frontend, content, empty = (
        peers.frontend().address,
        peers.content_server(),
        peers.empty_server(),
    )
    digest = drive("write", address=frontend, size=4096, seed=SEED)["digests"][0]
    drive("write", address=content, size=4096, seed=SEED)
    servers = {"holdfast": frontend, "containerd": content, "empty": empty}
    by_ghz = interleave(rounds, {name: _ghz(at, digest) for name, at in servers.items()})
    by_client = interleave(rounds, {name: _client(at, digest) for name, at in servers.items()})
    name, other = "Info, hot, 64 at once", "Info, hot, 64 at once, the Go client"
    beside_empty = Target(name, EMPTY, "calls/s", 1.5)
    beside_containerd = Target(name, CONTAINERD, "calls/s", 0.4)
    possible = Target(name, CONTAINERD, "calls/s", ours=EMPTY)
    return [
        *compare("holdfast", {"empty": beside_empty, "containerd": beside_containerd}, by_ghz),
        *compare("empty", {"containerd": possible}, by_ghz),
        *compare(
            "holdfast",
            {
                "empty": Target(other, EMPTY, "calls/s"),
                "containerd": Target(other, CONTAINERD, "calls/s"),
            },
            by_client,
        ),
    ]


def _ghz(address: str, digest: str) -> Run:
    def run() -> Ran:
        filled = {"@DIGEST@": digest, "@TENANT@": TENANT}
        found = load.ghz(
            "info",
            address,
            filled,
            total=None,
            duration=LONG_ENOUGH,
            concurrency=WORKERS,
            connections=1,
            **{"duration-stop": "wait"},
        )
        if set(found.codes) != {"OK"}:
            raise SystemExit(f"ghz on Info at {address}: {found.codes}")
        return Ran(found.rate, per_unit(found.cpu, found.codes["OK"]))

    return run


def _client(address: str, digest: str) -> Run:
    return lambda: loads.infos(address, digest).ran
