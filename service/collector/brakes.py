"""Brakes: what a run has found that it doesn't act on, unless somebody has looked at it.

A run looks at the whole store before it changes anything. What it is about to do is held
against the store's size, and what it was told against what the last run was told. A lie of
the store, or of this machine, looks like much that is gone at once; so does an order of
somebody who means it, who says so with `--accept`, for one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from holdfast.errors import HoldfastError
from holdfast.service.collector.census import Census


class Brake(StrEnum):
    """What a run stops for."""

    CONDEMN = "condemn"
    DELETE = "delete"
    WITHOUT_CONTENT = "without-content"
    UNREADABLE = "unreadable"
    HOLDS = "holds"
    RECORDS = "records"
    ORDER = "order"


ACCEPTABLE: Final = frozenset(Brake) - {Brake.ORDER}
"""A listing out of order can't be worked with, whoever says so."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is much. Shares are parts of 1.

    Attributes:
        share: of the records or of the data that one run may take. A fleet that replaces
            all its content every month, collected every six hours, takes 1 %.
        few: records or data objects that it may take in any case: a store of a
            laptop, where one image is half of all, never stops.
        few_bytes: the same for bytes.
        dead_share: of the digests held that may be without content …
        dead_few: … and how many in any case: each is a commit that died in between.
        holds_left: of the holds that the last run has listed, at least: to give up more
            within hours is more than a night's scaling down.
        records_left: of the records; they go as tombstones only, long after their data.
        records_few: by how many that listing may be shorter in any case.
        second_left: of the holds in the first of one run's two listings.
    """

    share: float = 0.05
    few: int = 1000
    few_bytes: int = 64 * 2**30
    dead_share: float = 0.01
    dead_few: int = 10
    holds_left: float = 0.5
    records_left: float = 0.9
    records_few: int = 10
    second_left: float = 0.9


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has seen, and what it is about to do.

    Attributes:
        holds: listed.
        digests: that they name.
        records: listed.
        data: objects listed.
        data_bytes: of them.
        without_content: digests that are held, and have no content to be had.
        unreadable: records that can't be read.
        taken: records that would be condemned or buried.
        due: data objects that would be deleted.
        due_bytes: of them.
    """

    holds: int = 0
    digests: int = 0
    records: int = 0
    data: int = 0
    data_bytes: int = 0
    without_content: int = 0
    unreadable: int = 0
    taken: int = 0
    due: int = 0
    due_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Tripped:
    """A brake, and what it has seen."""

    brake: Brake
    found: str
    accepted: bool = False

    def __str__(self) -> str:
        """What was found, and how to go on."""
        if self.accepted:
            return f"{self.found}: accepted"
        advice = (
            f"if that is meant, `holdfast gc --accept {self.brake}` takes it, once"
            if self.brake in ACCEPTABLE
            else "look at the store, or at what stands in front of it, and run again"
        )
        return f"{self.found}: nothing was condemned or deleted; {advice}"

    def as_json(self) -> dict[str, Any]:
        """For a report."""
        return {"brake": self.brake.value, "found": self.found, "accepted": self.accepted}


class Braked(HoldfastError):  # noqa: N818 -- reads as the fact it is
    """A run has stopped before it changed anything; the report says why."""


def tripped(plan: Plan, last: Census | None, limits: Limits) -> Iterator[Tripped]:
    """The brakes that a plan trips, held against the last run's census."""
    if plan.unreadable:
        yield Tripped(
            Brake.UNREADABLE,
            f"{plan.unreadable:,} records can't be read; 'holdfast scrub' tells which, a newer "
            "version may read them, and a commit of the same content replaces a damaged one",
        )
    if plan.without_content > max(limits.dead_few, limits.dead_share * plan.digests):
        yield Tripped(
            Brake.WITHOUT_CONTENT,
            f"{plan.without_content:,} of {plan.digests:,} digests held have no content",
        )
    if last is not None:
        if shorter(plan.holds, last.holds, limits.holds_left, limits.few):
            yield _missing(Brake.HOLDS, plan.holds, last.holds)
        if shorter(plan.records, last.records, limits.records_left, limits.records_few):
            yield _missing(Brake.RECORDS, plan.records, last.records)
    if plan.taken > max(limits.few, limits.share * plan.records):
        yield Tripped(
            Brake.CONDEMN,
            f"{plan.taken:,} of {plan.records:,} records would be condemned or buried",
        )
    if plan.due > max(limits.few, limits.share * plan.data) or plan.due_bytes > max(
        limits.few_bytes, limits.share * plan.data_bytes
    ):
        yield Tripped(
            Brake.DELETE,
            f"{plan.due:,} of {plan.data:,} data objects would be deleted, {plan.due_bytes:,} of "
            f"{plan.data_bytes:,} bytes",
        )


def shorter(listed: int, before: int, left: float, few: int) -> bool:
    """Whether a listing is much shorter than one before: by more than `few`, and `left` of it."""
    return listed < left * before and before - listed > few


def _missing(brake: Brake, listed: int, before: int) -> Tripped:
    return Tripped(brake, f"{listed:,} {brake} are listed, and the last run has seen {before:,}")
