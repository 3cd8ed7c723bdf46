"""Redis as a fleet runs it: a Cluster of three masters, or a master with sentinels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from tests.servers.process import PORTS, free_port, is_free, listens, started, wait_until
from tests.servers.redis import RedisServer, binary

SLOTS = 16384
NODES = 3
SERVICE = "fleet"
BUS = 10_000
"""The difference between a node's bus port and its port."""


def admin(port: int) -> Any:
    """A plain client of one server, with which tests look behind the scenes."""
    return redis.Redis(port=port, socket_timeout=5.0, protocol=2)


def port_of(url: str) -> int:
    """The port that a URL of one server names."""
    port = urlsplit(url).port
    assert port is not None
    return port


def _cluster_port() -> int:
    """A free port whose bus port is free too."""
    while True:
        port = free_port()
        if port + BUS in PORTS and is_free(port + BUS):
            return port


@dataclass(frozen=True)
class Cluster:
    """A Redis Cluster of three masters on loopback."""

    ports: tuple[int, ...]
    servers: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        """A URL that names two of the three."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports[:2])

    def move_slot(self, slot: int) -> None:
        """Moves an empty slot to another node, so that clients get MOVED."""
        owner = next(n for n, port in enumerate(self.ports) if slot in _slots(port, self))
        target = admin(self.ports[(owner + 1) % NODES]).execute_command("CLUSTER MYID").decode()
        order = [(owner + 1) % NODES, owner, (owner + 2) % NODES]
        for node in order:
            admin(self.ports[node]).execute_command("CLUSTER SETSLOT", slot, "NODE", target)

    @contextmanager
    def moving_slot(self, slot: int) -> Iterator[None]:
        """Lets an empty slot be on its way to another node, so that clients get ASK."""
        owner = next(n for n, port in enumerate(self.ports) if slot in _slots(port, self))
        ends = (owner, "MIGRATING", (owner + 1) % NODES), ((owner + 1) % NODES, "IMPORTING", owner)
        try:
            for node, way, other in reversed(ends):
                name = admin(self.ports[other]).execute_command("CLUSTER MYID").decode()
                admin(self.ports[node]).execute_command("CLUSTER SETSLOT", slot, way, name)
            yield
        finally:
            for node, _, _ in ends:
                admin(self.ports[node]).execute_command("CLUSTER SETSLOT", slot, "STABLE")


def _slots(port: int, cluster: Cluster) -> range:
    share = SLOTS // NODES + 1
    first = cluster.ports.index(port) * share
    return range(first, min(first + share, SLOTS))


@contextmanager
def redis_cluster(folder: Path) -> Iterator[Cluster]:
    """Three masters that share the slots."""
    with ExitStack() as stack:
        ports, servers = [], []
        for number in range(NODES):
            port, home = _cluster_port(), folder / str(number)
            home.mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "60000")
            servers.append(stack.enter_context(RedisServer(home, port, *options)))
            ports.append(port)
        cluster = Cluster(tuple(ports), tuple(servers))
        for number, port in enumerate(ports):
            client = admin(port)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER ADDSLOTS", *_slots(port, cluster))
        for port in ports[1:]:
            admin(ports[0]).execute_command("CLUSTER MEET", "127.0.0.1", port)

        def joined(port: int) -> bool:
            info = admin(port).execute_command("CLUSTER INFO")
            known: str = info["cluster_known_nodes"]
            return info["cluster_state"] == "ok" and known == str(NODES)

        wait_until(lambda: all(joined(port) for port in ports), "the cluster")
        yield cluster


@dataclass(frozen=True)
class Watched:
    """A master and a replica that a sentinel watches."""

    servers: tuple[RedisServer, RedisServer]
    sentinel: int

    @property
    def url(self) -> str:
        """A URL that names a missing sentinel first, and then the real one."""
        return f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.sentinel}/{SERVICE}"

    def master(self) -> int:
        """The port of the current master."""
        return int(admin(self.sentinel).sentinel_get_master_addr_by_name(SERVICE)[1])

    def fail_over(self) -> None:
        """Promotes the replica, and waits until the sentinel reports it."""
        before = self.master()
        admin(self.sentinel).execute_command("SENTINEL FAILOVER", SERVICE)
        wait_until(lambda: self.master() != before, "the failover")
        wait_until(lambda: admin(before).info("replication")["role"] == "slave", "the demotion")

    def in_sync(self) -> bool:
        """Whether the replica follows the master, and the sentinel knows it."""
        replicas = admin(self.sentinel).sentinel_slaves(SERVICE)
        info = admin(self.master()).info("replication")
        return info["connected_slaves"] == 1 and any(
            not replica["is_disconnected"] and not replica["is_sdown"] for replica in replicas
        )


@contextmanager
def watched_redis(folder: Path) -> Iterator[Watched]:
    """A master, its replica, and one sentinel."""
    with ExitStack() as stack:
        ports, servers = (free_port(), free_port()), []
        for number, port in enumerate(ports):
            home = folder / str(number)
            home.mkdir()
            options = ("--repl-diskless-sync-delay", "0")
            replica = ("--replicaof", "127.0.0.1", str(ports[0])) if number else ()
            servers.append(stack.enter_context(RedisServer(home, port, *options, *replica)))

        def linked() -> bool:
            return bool(admin(ports[1]).info("replication")["master_link_status"] == "up")

        wait_until(linked, "the replica")
        sentinel, config = free_port(), folder / "sentinel.conf"
        config.write_text(
            f"port {sentinel}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {ports[0]} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 60000\n"
        )
        command = [binary(), str(config), "--sentinel"]
        stack.enter_context(started(command, folder / "sentinel.log", lambda: listens(sentinel)))
        watched = Watched((servers[0], servers[1]), sentinel)
        wait_until(watched.in_sync, "the sentinel")
        yield watched
