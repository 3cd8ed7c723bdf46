"""Flame graphs, read back as stacks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.profile import stacks

MAIN, HASH = "thread (11): MainThread", "thread (12): hash_0"
Box = tuple[str, int, int, int]
BOXES: list[Box] = [
    ("all", 0, 0, 10),
    (MAIN, 1, 0, 7),
    ("serve (a.py:1)", 2, 0, 7),
    ("send (b.py:5)", 3, 0, 4),
    ("send (b.py:6)", 3, 4, 1),
    (HASH, 1, 7, 2),
    ("update (h.py:3)", 2, 7, 2),
    ("thread (13): hash_1", 1, 9, 1),
    ("update (h.py:3)", 2, 9, 1),
]
"""Name, depth, left edge and width in samples."""


def picture(boxes: Sequence[Box], step: int = 16) -> str:
    """A flame graph as inferno writes it: depth grows downwards, or upwards where `step` < 0."""
    drawn = "".join(
        f"<g><title>{name} ({width} samples, {10 * width:.2f}%)</title>"
        f'<rect x="0%" y="{500 + depth * step}" fg:x="{left}" fg:w="{width}"/></g>'
        for name, depth, left, width in boxes
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:fg="http://github.com/jonhoo/inferno">'
        f"<g><title>Reset</title></g>{drawn}</svg>"
    )


@pytest.mark.parametrize("step", [16, -16])
def test_stacks_are_read_back(step: int) -> None:
    """Each stack has the samples that ended in its last frame, whichever way the graph grows."""
    assert stacks.stacks(picture(BOXES, step)) == {
        (MAIN, "serve (a.py:1)"): 2,
        (MAIN, "serve (a.py:1)", "send (b.py:5)"): 4,
        (MAIN, "serve (a.py:1)", "send (b.py:6)"): 1,
        (HASH, "update (h.py:3)"): 2,
        ("thread (13): hash_1", "update (h.py:3)"): 1,
    }


def test_a_single_stack() -> None:
    """A frame as wide as the whole isn't taken for the outermost one."""
    assert stacks.stacks(picture([("f (a.py:1)", 1, 0, 3), ("all", 0, 0, 3)])) == {
        ("f (a.py:1)",): 3
    }


def test_another_picture_is_refused() -> None:
    """A picture without frames is an error, not a profile without samples."""
    with pytest.raises(ValueError, match="no frames"):
        stacks.stacks('<svg xmlns="http://www.w3.org/2000/svg"/>')


def test_self_is_by_line_and_total_by_function() -> None:
    """Lines count what ran in them, functions what they waited for as well."""
    together = stacks.without_threads(stacks.stacks(picture(BOXES)))
    assert stacks.by_self(together) == {
        "send (b.py:5)": 4,
        "update (h.py:3)": 3,
        "serve (a.py:1)": 2,
        "send (b.py:6)": 1,
    }
    assert stacks.by_total(together) == {
        "serve (a.py)": 7,
        "send (b.py)": 5,
        "update (h.py)": 3,
    }


def test_recursion_counts_once() -> None:
    """A function that calls itself isn't counted twice in one sample."""
    assert stacks.by_total({("f (a.py:1)", "f (a.py:2)"): 3}) == {"f (a.py)": 3}


def test_threads_of_a_pool_are_one() -> None:
    """Samples are told apart by pools of threads, the busiest first."""
    found = stacks.by_thread(stacks.stacks(picture(BOXES)))
    assert {name: samples.total() for name, samples in found.items()} == {
        "MainThread": 7,
        "hash": 3,
    }
    assert list(found) == ["MainThread", "hash"]
    assert stacks.thread_names(stacks.stacks(picture(BOXES))) == {
        11: "MainThread",
        12: "hash",
        13: "hash",
    }


@pytest.mark.parametrize(
    ("thread", "pool"),
    [
        ("holdfast-store_12", "holdfast-store"),
        ("Thread-3 (_poll_wrapper)", "_poll_wrapper"),
        ("MainThread", "MainThread"),
        ("", "unnamed"),
    ],
)
def test_pools_are_named(thread: str, pool: str) -> None:
    """The number that tells threads of a pool apart isn't part of the pool's name."""
    assert stacks.pool(thread) == pool


@pytest.mark.parametrize(
    "stack",
    [
        ("run (a.py:1)", "_worker (concurrent/futures/thread.py:81)"),
        ("run (a.py:1)", "_PollLikeSelector.select (selectors.py:415)"),
        ("run (a.py:1)", "uv__io_poll (linux.c:9)", "epoll_pwait (libc.so.6)"),
        ("get (q.c:1)", "PyThread_acquire_lock_timed (libpython.so)", "0x7f (libc.so.6)"),
    ],
)
def test_waits_are_left_out(stack: stacks.Stack) -> None:
    """A thread that has nothing to do isn't taken for one that is busy."""
    busy = ("run (a.py:1)", "poll_results (b.py:3)")
    assert stacks.busy({stack: 5, busy: 2}) == {busy: 2}


def test_waiting_for_the_interpreter_is_told() -> None:
    """A thread that waits for the interpreter's lock isn't idle, and is told as such."""
    stack = ("read (s.py:1)", "sock_recv (s.c:2)", f"{stacks.TAKES}.so.6)", "0x7f (libc.so.6)")
    assert stacks.busy({stack: 5}) == {
        ("read (s.py:1)", "sock_recv (s.c:2)", stacks.INTERPRETER): 5
    }


def test_what_c_does_counts_for_its_line() -> None:
    """A line of Python has what C did for it, and a stack without Python its outermost frame."""
    samples = {("f (a.py:1)", "g (b.c:2)", "h (libc.so.6)"): 2, ("start (x.c:1)", "y (x.c:2)"): 1}
    assert stacks.by_python(samples) == {"f (a.py:1)": 2, "start (x.c:1)": 1}


def test_the_table_has_shares() -> None:
    """Frames and functions are told with their shares, but not what calls all the rest."""
    together = stacks.without_threads(stacks.stacks(picture(BOXES)))
    idle = ("_worker (concurrent/futures/thread.py:81)",)
    assert stacks.table({**together, idle: 10}, top=1, native=True) == [
        "waited in 50% of 20 samples; of the others:",
        "",
        "         self",
        "  40.0%  send (b.py:5)",
        "",
        "         self, by line of Python",
        "  40.0%  send (b.py:5)",
        "",
        "         total, by function",
        "  70.0%  serve (a.py)",
    ]
