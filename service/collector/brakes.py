"""Brakes: findings that stop a run before it acts, unless an operator has accepted them.

A run looks at the whole store before it changes anything. It compares what it is about to do with
the store's size, and what it has listed with what the last run listed. If the store or this
machine errs, much seems to be gone at once. If an operator really has removed much, the same is
seen; then the operator says so with `--accept`, for one run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from holdfast.errors import HoldfastError
from holdfast.service.collector.census import Census


class BrakeReason(StrEnum):
    """The reasons for which a run stops."""

    CONDEMN = "condemn"
    DELETE = "delete"
    WITHOUT_CONTENT = "without-content"
    UNREADABLE = "unreadable"
    HOLDS = "holds"
    RECORDS = "records"
    ORDER = "order"


ACCEPTABLE: Final = frozenset(BrakeReason) - {BrakeReason.ORDER}
"""A listing that is out of order can't be used, even if an operator accepts it."""


@dataclass(frozen=True, slots=True)
class BrakeLimits:
    """How much is too much. Shares are fractions of 1.

    Attributes:
        share: largest share of the records or of the data that one run may remove. If a fleet
            replaces all its content every month, a run every six hours removes 1 %.
        few: records or data objects that it may always remove, so that it never stops for a
            laptop's store, in which one image is half of everything.
        few_bytes: the same for bytes.
        dead_share: largest share of the held digests that may have no content …
        dead_few: … and how many always may: each is a commit that died between two steps.
        holds_left: smallest share of the last run's holds that must still be listed: losing
            more within hours is more than scaling down for a night.
        records_left: the same for records, which go only as tombstones, long after their data.
        records_few: by how many records that listing may always be shorter.
        second_left: smallest share of the holds in a run's first listing that its second
            listing must have.
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
class CollectionPlan:
    """What a run has seen, and what it is about to do.

    Attributes:
        holds: listed holds.
        digests: digests that these holds name.
        records: listed records.
        data: listed data objects.
        data_bytes: their bytes.
        without_content: digests that are held and whose content isn't available.
        unreadable: records that can't be read.
        taken: records that would be condemned or buried.
        due: data objects that would be deleted.
        due_bytes: their bytes.
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
    """A brake that was tripped, and why."""

    brake: BrakeReason
    found: str
    accepted: bool = False

    def __str__(self) -> str:
        """Returns what was found, and how to continue."""
        if self.accepted:
            return f"{self.found}: accepted"
        advice = (
            f"if that is right, `holdfast gc --accept {self.brake}` accepts it for one run"
            if self.brake in ACCEPTABLE
            else "check the store, and what is in front of it, and run again"
        )
        return f"{self.found}: nothing was condemned or deleted; {advice}"

    def as_json(self) -> dict[str, Any]:
        """Returns the brake for a report."""
        return {"brake": self.brake.value, "found": self.found, "accepted": self.accepted}


class CollectionBraked(HoldfastError):  # noqa: N818 -- reads as the fact it is
    """A run has stopped at a brake; the report says why."""


def tripped(plan: CollectionPlan, last: Census | None, limits: BrakeLimits) -> Iterator[Tripped]:
    """Yields the brakes that a plan trips, compared with the last run's census."""
    if plan.unreadable:
        yield Tripped(
            BrakeReason.UNREADABLE,
            f"{plan.unreadable:,} records can't be read; 'holdfast scrub' names them, a newer "
            "version may read them, and a commit of the same content replaces a damaged one",
        )
    if plan.without_content > max(limits.dead_few, limits.dead_share * plan.digests):
        yield Tripped(
            BrakeReason.WITHOUT_CONTENT,
            f"{plan.without_content:,} of {plan.digests:,} digests held have no content",
        )
    if last is not None:
        if shorter(plan.holds, last.holds, limits.holds_left, limits.few):
            yield _missing(BrakeReason.HOLDS, plan.holds, last.holds)
        if shorter(plan.records, last.records, limits.records_left, limits.records_few):
            yield _missing(BrakeReason.RECORDS, plan.records, last.records)
    if plan.taken > max(limits.few, limits.share * plan.records):
        yield Tripped(
            BrakeReason.CONDEMN,
            f"{plan.taken:,} of {plan.records:,} records would be condemned or buried",
        )
    if plan.due > max(limits.few, limits.share * plan.data) or plan.due_bytes > max(
        limits.few_bytes, limits.share * plan.data_bytes
    ):
        yield Tripped(
            BrakeReason.DELETE,
            f"{plan.due:,} of {plan.data:,} data objects would be deleted, {plan.due_bytes:,} of "
            f"{plan.data_bytes:,} bytes",
        )


def shorter(listed: int, before: int, left: float, few: int) -> bool:
    """Returns whether a listing is shorter by more than `few`, and has less than a `left` share."""
    return listed < left * before and before - listed > few


def _missing(brake: BrakeReason, listed: int, before: int) -> Tripped:
    return Tripped(brake, f"{listed:,} {brake} are listed, and the last run has seen {before:,}")
