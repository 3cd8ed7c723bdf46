"""The processes in model A: small casts that together cover every pair of operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tests.model.collector_programs import collect, collect_data, sweep_marks, sweep_store
from tests.model.commit_programs import commit, redrive
from tests.model.programs import Call
from tests.model.protocol import Faults, Slot
from tests.model.storage_model import OLD, Frozen, StorageModel, World
from tests.model.storage_programs import compact, delete, info, remembered, warm
from tests.model.storage_rules import (
    AGED,
    CONDEMNED,
    FRESH,
    GONE,
    LIVE,
    TOMBSTONE,
    Record,
    Rules,
)

A, B = "a", "b"
HELD = World(record=Record(LIVE, "d", "n"), holds=frozenset({(A, "old")}), data=frozenset({"d"}))
"""One tenant holds the digest, and an answer has said so."""
HELD = HELD._replace(acknowledged=frozenset({A}))
CONDEMNED_OLD = World(
    record=Record(CONDEMNED, "d", "n"), data=frozenset({"d"}), ages=frozenset({("d", OLD)})
)
"""Nobody holds the digest any more, and its data is older than G."""


def client(
    rules: Rules, tenant: str, name: str, operations: int, choice: str, kind: str = "single"
) -> Slot:
    """A tenant's client; `choice` contains i(nfo), d(elete), c(ommit), r(emembered)."""

    def menu(world: Any, left: int) -> Iterable[tuple[str, Call]]:
        fresh = f"{name}{left}"
        if "i" in choice:
            yield "info", Call(info, (rules, tenant, fresh))
        if "r" in choice and tenant in world.acknowledged:
            yield "held", Call(remembered, (rules, tenant, fresh))
        if "d" in choice:
            yield "delete", Call(delete, (rules, tenant, fresh))
        if "c" in choice:
            frozen = dict(world.frozen).get(tenant)
            if frozen is None:
                yield "commit", Call(commit, (rules, tenant, fresh, kind))
            else:
                arguments = (rules, tenant, fresh, frozen.record, frozen.kind)
                yield "the frozen commit", Call(redrive, arguments)

    return Slot(f"{tenant}/{name}", operations, menu, tenant)


def collector(rules: Rules, name: str = "x", passes: int = 1) -> Slot:
    """A collector of records and holds."""
    made: Callable[[int], Call] = lambda left: Call(  # noqa: E731
        collect, (rules, (A, B), f"{name}{left}")
    )
    return Slot(f"collector {name}", passes, lambda _world, left: [("a pass", made(left))])


def data_collector(rules: Rules, passes: int = 1, lie: str = "") -> Slot:
    """Consecutive runs of a collector of data objects; one run may be given a `lie`."""
    return Slot(
        f"data collector {lie}".strip(),
        passes,
        lambda _world, left: [("a pass", Call(collect_data, (rules, f"{left}", lie)))],
    )


def sweeper(rules: Rules, tenant: str) -> Slot:
    """A collector of marks without holds."""
    return Slot(
        "sweeper", 1, lambda _world, _left: [("a pass", Call(sweep_marks, (rules, tenant, "s")))]
    )


def sweep(rules: Rules, *lies: str) -> Slot:
    """Consecutive whole runs of a collector; each of them may be given a lie.

    They are so far apart that each buries only what an earlier one has condemned.
    """
    return Slot(
        "collector",
        len(lies),
        lambda _world, left: [
            ("a run", Call(sweep_store, (rules, A, f"s{left}", lies[-left], True)))
        ],
    )


def warmer(rules: Rules, times: int = 1) -> Slot:
    """Somebody who has the digest retained anew."""
    return Slot(
        "warmer", times, lambda _world, left: [("warm", Call(warm, (rules, A, f"w{left}")))], A
    )


def compactor(rules: Rules, name: str) -> Slot:
    """A frontend that has found many holds."""
    return Slot(
        f"compactor {name}", 1, lambda _world, _left: [("a pass", Call(compact, (rules, A, name)))]
    )


def adopting(rules: Rules, faults: Faults) -> StorageModel:
    """One tenant asks and deletes, another takes the digest over, a collector passes."""
    cast = [client(rules, A, "1", 2, "id"), client(rules, B, "2", 1, "i"), collector(rules)]
    return StorageModel(rules, cast, faults, HELD)


def committing(rules: Rules, faults: Faults, kind: str = "inline") -> StorageModel:
    """Two tenants commit one digest, one of them deletes it, a collector passes."""
    cast = [client(rules, A, "1", 2, "cd", kind), client(rules, B, "2", 1, "c", kind)]
    return StorageModel(rules, [*cast, collector(rules)], faults)


def redriving(rules: Rules, faults: Faults, kind: str = "single") -> StorageModel:
    """A commit is left, two frontends carry it out, its tenant deletes, a collector passes."""
    cast = [
        client(rules, A, "1", 1, "c", kind),
        client(rules, A, "2", 1, "c", kind),
        client(rules, A, "3", 1, "d"),
    ]
    return StorageModel(rules, [*cast, collector(rules)], faults)


def aging(rules: Rules, faults: Faults, kind: str = "single") -> StorageModel:
    """A commit is carried out by one or two frontends while time passes and data is collected."""
    cast = [
        client(rules, A, "1", 1, "c", kind),
        client(rules, A, "2", 1, "c", kind),
        data_collector(rules),
    ]
    return StorageModel(rules, cast, faults, ages=True)


def taking(rules: Rules, faults: Faults, kind: str = "early") -> StorageModel:
    """A commit is carried out by one or two frontends, and its data is taken before its record."""
    cast = [client(rules, A, "1", 1, "c", kind), client(rules, A, "2", 1, "c", kind)]
    return StorageModel(rules, cast, faults, wrong_clocks=True)


def burying(rules: Rules, faults: Faults) -> StorageModel:
    """A commit is carried out by two frontends, deleted, buried, and its data collected."""
    cast = [
        client(rules, A, "1", 1, "c"),
        client(rules, A, "2", 1, "c"),
        client(rules, A, "3", 1, "d"),
        collector(rules),
        data_collector(rules),
    ]
    return StorageModel(rules, cast, faults, ages=True)


def returning(rules: Rules, faults: Faults) -> StorageModel:
    """A condemned digest is buried or adopted, and its data collected, while it comes back."""
    cast = [
        client(rules, A, "1", 1, "i"),
        client(rules, A, "2", 1, "i"),
        client(rules, B, "3", 1, "c", "inline"),
        collector(rules),
    ]
    return StorageModel(rules, cast, faults, CONDEMNED_OLD)


def collecting(rules: Rules, faults: Faults) -> StorageModel:
    """Two record collectors and a data collector meet a tenant that adopts a condemned digest."""
    cast = [
        client(rules, A, "1", 1, "i"),
        collector(rules, "x"),
        collector(rules, "y"),
        data_collector(rules),
    ]
    return StorageModel(rules, cast, faults, CONDEMNED_OLD)


def renaming(rules: Rules, faults: Faults) -> StorageModel:
    """A commit is left and carried out while its tenant deletes twice."""
    cast = [client(rules, A, "1", 2, "c", "inline"), client(rules, A, "2", 2, "d")]
    return StorageModel(rules, cast, faults)


def deleting(rules: Rules, faults: Faults) -> StorageModel:
    """A tenant asks and deletes repeatedly; what its deletes leave is swept."""
    cast = [client(rules, A, "1", 3, "id"), collector(rules), sweeper(rules, A)]
    return StorageModel(rules, cast, faults, HELD)


def compacting(rules: Rules, faults: Faults) -> StorageModel:
    """A tenant deletes and commits while its holds are compacted and its marks swept."""
    cast = [
        client(rules, A, "1", 2, "idc", "inline"),
        compactor(rules, "c"),
        sweeper(rules, A),
    ]
    return StorageModel(rules, cast, faults, HELD)


def compacting_twice(rules: Rules, faults: Faults) -> StorageModel:
    """Two frontends compact concurrently while a tenant asks for more holds than exist."""
    start = HELD._replace(holds=frozenset({(A, "old"), (A, "older")}))
    cast = [
        client(rules, A, "1", 1, "ic", "inline"),
        compactor(rules, "c"),
        compactor(rules, "e"),
        collector(rules),
    ]
    return StorageModel(rules, cast, faults, start)


def healing(rules: Rules, faults: Faults, damage: str = GONE) -> StorageModel:
    """Bytes were damaged; one tenant remembers its hold, both have the bytes."""
    record = Record(LIVE, "d", "n", damage)
    start = HELD._replace(record=record, data=frozenset() if damage == GONE else HELD.data)
    cast = [client(rules, A, "1", 2, "rcd", "inline"), client(rules, B, "2", 1, "c", "inline")]
    return StorageModel(rules, [*cast, collector(rules)], faults, start)


def doubting(rules: Rules, faults: Faults, lie: str = "record") -> StorageModel:
    """A data collector is given a lie, others before and after it aren't; a tenant commits."""
    start = HELD._replace(doomed=(), ages=frozenset({("d", OLD)}))
    if lie == "clock":
        start = World(doomed=())  # what is in flight is young
    cast = [
        client(rules, A, "1", 1, "i"),
        client(rules, B, "2", 1, "c"),
        data_collector(rules, 1, lie),
        data_collector(rules, 2),
    ]
    return StorageModel(rules, cast, faults, start)


def removing(rules: Rules, faults: Faults) -> StorageModel:
    """A tombstone is removed while its tenant commits the digest again, asks and deletes."""
    dead = Record(TOMBSTONE, "d", "n")
    start = World(dead, ages=frozenset({("d", OLD)}), known=(dead, 1))
    cast = [
        client(rules, A, "1", 1, "icd", "inline"),
        client(rules, A, "2", 1, "c"),
        sweep(rules, "", ""),
    ]
    return StorageModel(rules, cast, faults, start)


def removing_behind(rules: Rules, faults: Faults) -> StorageModel:
    """A tombstone and its data are removed while a frozen commit of that data is repeated."""
    dead, own = Record(TOMBSTONE, "d", "n"), Record(LIVE, "d", "o")
    frozen = frozenset({(A, Frozen(own, "single"))})
    start = World(dead, data=frozenset({"d"}), frozen=frozen, known=(dead, 1))
    cast = [client(rules, A, "1", 1, "c"), client(rules, A, "2", 1, "ci"), sweep(rules, "", "")]
    return StorageModel(rules, cast, faults, start, ages=True)


def misreading(rules: Rules, faults: Faults) -> StorageModel:
    """One of three runs misreads a live record as a tombstone without data."""
    record = HELD.record
    assert record is not None
    start = World(
        record, data=HELD.data, ages=frozenset({("d", OLD)}), doomed=(), known=(record, 1)
    )
    cast = [client(rules, A, "1", 1, "i"), sweep(rules, "tombstone", "", "")]
    return StorageModel(rules, cast, faults, start)


def pardoning(rules: Rules, faults: Faults, between: tuple[str, ...] = ("",)) -> StorageModel:
    """Listings of holds come back empty in two runs, with correct ones between; no data is old.

    The tenant that holds the digest asks for it.
    """
    record = HELD.record
    assert record is not None
    cast = [client(rules, A, "1", 1, "i"), sweep(rules, "holds", *between, "holds")]
    return StorageModel(rules, cast, faults, HELD._replace(known=(record, 2)))


def retaining(rules: Rules, faults: Faults, lies: tuple[str, ...] = ("", "holds")) -> StorageModel:
    """An old marker is left over on a digest whose tenant holds it; one listing comes back empty.

    The tenant asks for the digest, or deletes it.
    """
    record = HELD.record
    assert record is not None
    cast = [client(rules, A, "1", 1, "id"), sweep(rules, *lies)]
    return StorageModel(rules, cast, faults, HELD._replace(known=(record, 2), marker=AGED))


def giving_up(rules: Rules, faults: Faults) -> StorageModel:
    """A digest that nobody holds is retained, then goes, while a tenant asks and deletes again."""
    record = HELD.record
    assert record is not None
    start = World(record, data=HELD.data, known=(record, 2), marker=FRESH)
    cast = [client(rules, A, "1", 2, "id"), sweep(rules, "", "", "")]
    return StorageModel(rules, cast, faults, start)


def warming(rules: Rules, faults: Faults, marker: str = AGED) -> StorageModel:
    """A digest that nobody holds, and whose marker is old, is warmed while runs look at it."""
    record = HELD.record
    assert record is not None
    start = World(record, data=HELD.data, known=(record, 2), marker=marker)
    return StorageModel(rules, [warmer(rules), sweep(rules, "", "", "")], faults, start)
