"""Damage that a process knows of: which bytes aren't counted on, for how long, and how many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.digests import Digest
from holdfast.storage.blocks import sums_of
from holdfast.storage.damage import REMEMBERED, REMEMBERED_FOR, KnownDamage
from holdfast.storage.records import Record, State


class Clock:
    """A clock that moves when it is told to."""

    time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def record(body: bytes = b"hello", key: str = "data/1") -> Record:
    """A live record."""
    return Record(Digest.of(body), State.LIVE, len(body), 0, key, sums_of(body), "nonce")


def test_only_those_bytes(clock: Clock) -> None:
    """The bytes that were found damaged aren't counted on, and other bytes of the digest are."""
    known, bad = KnownDamage(clock), record()
    assert not known.spoils(bad)
    known.note(bad)
    assert known.spoils(replace(bad, state=State.CONDEMNED, nonce="other"))
    assert not known.spoils(record(key="data/2"))
    assert known.concerns(bad.digest)
    assert not known.concerns(Digest.of(b"other"))


def test_marked(clock: Clock) -> None:
    """Once the record says so itself, only caches are doubted: it may be restored."""
    known, bad = KnownDamage(clock), record()
    known.note(bad)
    known.marked(bad)
    assert not known.spoils(bad)
    assert known.concerns(bad.digest)
    known.forget(record(key="data/2"))
    assert known.concerns(bad.digest)
    known.forget(bad)
    assert not known.concerns(bad.digest)


def test_for_a_while(clock: Clock) -> None:
    """After an hour it must be found again."""
    known = KnownDamage(clock)
    known.note(record())
    clock.time += REMEMBERED_FOR
    assert not known.spoils(record())
    assert len(known) == 0


def test_bounded(clock: Clock) -> None:
    """However much is damaged, only so much is remembered: what was found last."""
    known = KnownDamage(clock)
    for n in range(REMEMBERED + 5):
        known.note(record(b"%d" % n))
    assert len(known) == REMEMBERED
    assert not known.concerns(Digest.of(b"4"))
    assert known.concerns(Digest.of(b"5"))
