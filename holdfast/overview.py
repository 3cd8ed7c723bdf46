"""What a fleet of frontends is doing, as `holdfast top` and the operator's page show it.

Each frontend takes figures of itself every few seconds, and announces them to the others. All
names in them that clients choose (tenants, refs) are text of bounded length, as it was sent: a
program that shows them must escape it. What is read is within bounds whatever was announced, so
that one frontend, ill or broken into, can't keep operators from seeing the others.

`fleet.proto` has the same fields, and is how figures travel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import isfinite
from typing import Any, Final, Self, TypeVar, get_args, get_origin, get_type_hints

from google.protobuf.message import DecodeError, Message

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.protos import fleet_pb2 as pb
from holdfast.values import Flight

NAME: Final = 200
"""Most characters of a ref, or of another text that a client has chosen."""
INGESTS: Final = 20
"""Most write streams of a frontend that are named."""
TENANTS: Final = 50
"""Most tenants of a frontend that are named."""
PROBLEMS: Final = 10
"""Most lines of a frontend's log."""
CLIENTS: Final = 8
"""Most programs of a frontend's clients that are named."""
AGENT: Final = "holdfast-agent/"
"""What the name of an agent among these begins with; its version follows."""
OTHER_CLIENTS: Final = ""
"""The name of all others."""
CODES: Final = 16
"""Most codes of errors: gRPC has 17, one of which is OK."""
FRONTENDS: Final = 500
"""Most frontends of a fleet that are named."""
VERSIONS: Final = (
    ("version", "version"),
    ("protocol", "protocol"),
    ("storage format", "storage_format"),
    ("ingest layout", "ingest_layout"),
)
"""What frontends of several releases may differ in, in words, and the figure that says it."""
UNKNOWN: Final = "unknown"
LONGEST_NUMBER: Final = 10
"""Digits that a number in a version may have, to be compared as one."""
LISTED: Final = 64
"""Most of anything that is read of a frontend's figures: more than any frontend announces."""
GREATEST: Final = 2.0**60
"""The greatest rate or time that is read: sums of thousands can still be shown."""
LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999: later ones are no dates."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CodeRate:
    """How many RPCs per second end with an error, by the name of its status code."""

    code: str
    rate: float


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """A cache of blocks: its bytes, and per second the blocks that were found in it, or weren't."""

    size: int = 0
    hits: float = 0.0
    misses: float = 0.0


@dataclass(frozen=True, slots=True)
class BackendFigures:
    """Redis, or the store, as a frontend sees it.

    Attributes:
        name: `redis` or `store`.
        up: False while it is known not to answer.
        requests: per second.
        failures: those among them without a good answer.
        seconds: that a request takes, on average; 0 if there was none.
    """

    name: str
    up: bool
    requests: float = 0.0
    failures: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class IngestFigures:
    """A write stream.

    Attributes:
        tenant: who writes.
        ref: what.
        offset: bytes received.
        total: bytes declared; 0 if unknown.
        rate: bytes per second.
        started_at: when it was first opened, in s since 1970.
    """

    tenant: str
    ref: str
    offset: int
    total: int
    rate: float
    started_at: float


@dataclass(frozen=True, slots=True)
class TenantFigures:
    """What a tenant has asked of a frontend; without a name, what all others have.

    Attributes:
        tenant: its name.
        calls: RPCs that began, per second.
        read: bytes per second that were sent to it.
        written: bytes per second that were received from it.
    """

    tenant: str
    calls: float
    read: float
    written: float

    @property
    def weight(self) -> tuple[float, float, str]:
        """By which tenants are ordered, the greatest first: bytes, then calls."""
        return self.read + self.written, self.calls, self.tenant

    def plus(self, other: TenantFigures) -> TenantFigures:
        """Returns both together."""
        return replace(
            self,
            calls=self.calls + other.calls,
            read=self.read + other.read,
            written=self.written + other.written,
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """A line of a frontend's log.

    Attributes:
        at: when, in s since 1970.
        level: `warning` or `error`.
        event: what happened.
        tenant: what it is about, as far as the line says; so for `ref`, `digest` and `reason`.
    """

    at: float
    level: str
    event: str
    tenant: str = ""
    ref: str = ""
    digest: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ClientFigures:
    """The connections of one program: its name and version, as it says; "" for all others."""

    name: str
    connections: int

    @property
    def is_agent(self) -> bool:
        """Whether it says that it is an agent."""
        return self.name.startswith(AGENT)


@dataclass(frozen=True, slots=True)
class FrontendFigures:
    """What one frontend is doing, and has done in a period. Rates are per second of that period.

    Attributes:
        name: host and process id.
        version: of Holdfast.
        started_at: when the process began, in s since 1970.
        at: when these figures were taken, in s since 1970 by its own clock.
        period: seconds over which the rates were measured; 0 if there are none yet.
        draining: whether it is about to end, and accepts no new streams.
        streams: write streams under way.
        reads: Reads under way.
        calls: other calls under way.
        waiting: streams that wait for room in the buffers, or to be read from.
        rpcs: RPCs that ended, of whatever outcome.
        errors: RPCs that ended with an error, the most frequent first.
        read: bytes sent to readers.
        written: bytes received from writers.
        stored: bytes sent to the store.
        buffered: bytes of the buffer budget that are in use.
        memory: the cache in memory.
        disk: the cache on disk; all 0 if there is none.
        backends: Redis and the store.
        ingests: the streams that receive most; `streams` says how many there are.
        tenants: those that move most; the others are one, without a name.
        tenant_count: how many tenants have made calls.
        problems: the latest lines of its log, the latest first.
        clients: its connections, by program; those that have most are named.
        protocol: version of what frontends and agents say to each other; 0 if it isn't known.
        storage_format: of documents in the store; so for `ingest_layout`, of ingests in Redis.
    """

    name: str
    version: str
    started_at: float
    at: float
    period: float
    draining: bool = False
    streams: int = 0
    reads: int = 0
    calls: int = 0
    waiting: int = 0
    rpcs: float = 0.0
    errors: tuple[CodeRate, ...] = ()
    read: float = 0.0
    written: float = 0.0
    stored: float = 0.0
    buffered: int = 0
    memory: CacheFigures = CacheFigures()
    disk: CacheFigures = CacheFigures()
    backends: tuple[BackendFigures, ...] = ()
    ingests: tuple[IngestFigures, ...] = ()
    tenants: tuple[TenantFigures, ...] = ()
    tenant_count: int = 0
    problems: tuple[Problem, ...] = ()
    clients: tuple[ClientFigures, ...] = ()
    protocol: int = 0
    storage_format: int = 0
    ingest_layout: int = 0

    @property
    def connections(self) -> int:
        """How many clients are connected that have made a call."""
        return sum(one.connections for one in self.clients)

    @property
    def agents(self) -> int:
        """How many of these say that they are agents."""
        return sum(one.connections for one in self.clients if one.is_agent)

    def encode(self) -> bytes:
        """Returns the form in which figures are announced."""
        return self.message().SerializeToString()

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Reads what `encode` has made, of whatever version: what it doesn't say is 0.

        Raises:
            DataLoss: it isn't such a thing.
        """
        try:
            return cls.of(pb.FrontendFigures.FromString(body))
        except DecodeError as error:
            raise DataLoss("a frontend has announced figures that can't be read") from error

    def message(self) -> pb.FrontendFigures:
        """Returns the same as a message."""
        return _message(pb.FrontendFigures, self)

    @classmethod
    def of(cls, message: pb.FrontendFigures) -> Self:
        """Returns what a message says."""
        found: Self = _value(cls, message)
        return found


@dataclass(frozen=True, slots=True)
class Overview:
    """What a fleet is doing.

    Attributes:
        at: when it was made, in s since 1970 by the clock of the frontend that answers.
        by: the name of that frontend.
        complete: False if Redis can't be asked: then only that frontend is in it, and no flight.
        frontends: by name.
        flights: the large blobs that are being written, and who waits for them.
    """

    at: float
    by: str
    complete: bool
    frontends: tuple[FrontendFigures, ...]
    flights: tuple[Flight, ...] = ()

    @property
    def ingests(self) -> list[tuple[str, IngestFigures]]:
        """The streams that receive most, each with its frontend, the fastest first."""
        found = [(one.name, ingest) for one in self.frontends for ingest in one.ingests]
        return sorted(found, key=lambda pair: (-pair[1].rate, pair[1].tenant, pair[1].ref))

    @property
    def tenants(self) -> list[TenantFigures]:
        """What tenants ask of all frontends, the largest first; those without a name are last."""
        together: dict[str, TenantFigures] = {}
        for one in (tenant for frontend in self.frontends for tenant in frontend.tenants):
            before = together.get(one.tenant)
            together[one.tenant] = one if before is None else before.plus(one)
        others = together.pop("", None)
        ordered = sorted(together.values(), key=lambda one: one.weight, reverse=True)
        return [*ordered, *([others] if others else [])]

    @property
    def clients(self) -> list[tuple[ClientFigures, int]]:
        """Programs of clients, with their connections and the number of frontends that have them.

        The most frequent come first, and those without a name are last.
        """
        together: dict[str, tuple[int, int]] = {}
        for one in (client for frontend in self.frontends for client in frontend.clients):
            connections, frontends = together.get(one.name, (0, 0))
            together[one.name] = connections + one.connections, frontends + 1
        ordered = sorted(together, key=lambda name: (not name, -together[name][0], name))
        return [(ClientFigures(name, together[name][0]), together[name][1]) for name in ordered]

    @property
    def mixed(self) -> list[tuple[str, list[tuple[str, int]]]]:
        """In what frontends differ: of which version, and how many each; the newest first.

        It is empty unless a fleet is being upgraded. What a frontend doesn't say is "unknown".
        """
        found = []
        for name, attribute in VERSIONS:
            counts = Counter(getattr(one, attribute) for one in self.frontends)
            if len(counts) > 1:
                ordered = sorted(counts.items(), key=lambda pair: _newest(pair[0]), reverse=True)
                found.append((name, [(str(one or UNKNOWN), many) for one, many in ordered]))
        return found

    @property
    def problems(self) -> list[tuple[str, Problem]]:
        """The latest lines of all logs, each with its frontend, the latest first."""
        found = [(one.name, problem) for one in self.frontends for problem in one.problems]
        return sorted(found, key=lambda pair: -pair[1].at)

    @classmethod
    def of(cls, message: pb.OverviewResponse) -> Self:
        """Returns what a message says."""
        return cls(
            at=_bounded("at", message.at),
            by=message.by,
            complete=message.complete,
            frontends=tuple(map(FrontendFigures.of, message.frontends)),
            flights=tuple(map(flight_of, message.flights)),
        )

    def as_json(self) -> dict[str, Any]:
        """Returns all of it for JSON."""
        flights = [{**asdict(one), "digest": str(one.digest)} for one in self.flights]
        return {**asdict(replace(self, flights=())), "flights": flights}


_NESTED: Final = (
    *(CodeRate, CacheFigures, BackendFigures),
    *(IngestFigures, TenantFigures, Problem, ClientFigures),
)


def total(frontends: Iterable[FrontendFigures], name: str) -> float:
    """Returns the sum of a figure over frontends."""
    return float(sum(getattr(one, name) for one in frontends))


def _newest(version: str | int) -> tuple[tuple[int, ...], str]:
    """By which versions are ordered: by their numbers, then as texts."""
    words = str(version).split(".")
    return tuple(
        int(word) for word in words if word.isdecimal() and len(word) <= LONGEST_NUMBER
    ), str(version)


def flight_message(flight: Flight) -> pb.Flight:
    """Returns a flight as a message."""
    return pb.Flight(
        digest=str(flight.digest),
        leader=flight.leader,
        offset=flight.offset,
        total=flight.total,
        waiting=flight.waiting,
        waiters=flight.waiters,
    )


def flight_of(message: pb.Flight) -> Flight:
    """Returns what the message of a flight says.

    Raises:
        InvalidArgument: its digest is malformed.
    """
    return Flight(
        Digest.parse(message.digest),
        message.leader,
        max(0, message.offset),
        max(0, message.total),
        max(0, message.waiting),
        tuple(message.waiters),
    )


@cache
def _kinds(kind: Hashable) -> dict[str, Any]:
    """Returns the types of a dataclass's fields."""
    return get_type_hints(kind)


def _value(kind: Any, message: Message) -> Any:  # noqa: ANN401 -- a dataclass, and one of these
    """Returns the value of a class whose fields a message has."""

    def read(name: str, wanted: Any, found: Any) -> Any:  # noqa: ANN401 -- a field's
        if get_origin(wanted) is tuple:
            return tuple(read(name, get_args(wanted)[0], one) for one in found[:LISTED])
        return _value(wanted, found) if wanted in _NESTED else _bounded(name, found)

    return kind(
        **{
            name: read(name, wanted, getattr(message, name))
            for name, wanted in _kinds(kind).items()
        }
    )


def _bounded(name: str, found: Any) -> Any:  # noqa: ANN401 -- a field's
    """Returns a figure that can be added up and shown: neither negative, nor without end."""
    if isinstance(found, float):
        most = LATEST if name in {"at", "started_at"} else GREATEST
        return min(max(0.0, found), most) if isfinite(found) else 0.0
    return max(0, found) if isinstance(found, int) and found < 0 else found


def _message(kind: type[Value], value: Any) -> Value:  # noqa: ANN401 -- a dataclass
    """Returns the message of a class that has a value's fields."""
    return kind(**asdict(value))
