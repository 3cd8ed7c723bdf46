"""Faults of the disk and crashes of the process, at any file operation of this thread.

Python announces every file operation to audit hooks before it is carried out. One
hook, added once, raises there what a test asks for.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

OPERATIONS = frozenset(
    {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "os.listdir"}
)


class Crash(BaseException):
    """The process ends here: nothing it would still do to the disk happens."""


@dataclass
class Plan:
    """What happens at which operation, counted from 0."""

    at: int
    error: BaseException
    for_ever: bool
    seen: int = 0

    @property
    def happened(self) -> bool:
        return self.seen > self.at


_plans: dict[int, Plan] = {}


def _hook(event: str, _: tuple[object, ...]) -> None:
    if event not in OPERATIONS or (plan := _plans.get(threading.get_ident())) is None:
        return
    plan.seen += 1
    if plan.seen == plan.at + 1 or (plan.for_ever and plan.happened):
        raise plan.error


sys.addaudithook(_hook)


@contextmanager
def _planned(plan: Plan) -> Iterator[Plan]:
    _plans[threading.get_ident()] = plan
    try:
        yield plan
    finally:
        del _plans[threading.get_ident()]


@contextmanager
def crash(at: int) -> Iterator[Plan]:
    """From operation number `at` on this thread can do nothing any more."""
    try:
        with _planned(Plan(at, Crash(), for_ever=True)) as plan:
            yield plan
    except Crash:
        return


@contextmanager
def fails(at: int, number: int = errno.ENOSPC) -> Iterator[Plan]:
    """Operation number `at`, and no other, fails with an error of the operating system."""
    with _planned(Plan(at, OSError(number, os.strerror(number)), for_ever=False)) as plan:
        yield plan
