"""What py-spy sampled, read back from its flame graph: stacks, and where they were most.

The picture has every frame as a box (`<rect fg:x fg:w>` with a `<title>`, as inferno
writes it), one sample per unit of width. Reading it back gives picture and text of the
very same samples.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

SVG: Final = "{http://www.w3.org/2000/svg}"
INFERNO: Final = "{http://github.com/jonhoo/inferno}"
ROOT: Final = "all"
TITLE: Final = re.compile(r"(?P<name>.*) \([\d,]+ samples, [\d.]+%\)", re.DOTALL)
THREAD: Final = re.compile(r"thread \((?P<number>\d+)\)(?:: (?P<name>.*))?")
PYTHON: Final = re.compile(r".*\(.*\.py:\d+\)")
WAITS: Final = re.compile(
    r"(epoll_p?wait|p?poll|select|syscall|_PollLikeSelector\.select) \(|PyThread_acquire_lock_timed"
)
"""What a thread is in while it has nothing to do."""
RESTS: Final = re.compile(r"(_worker \(concurrent/futures|Thread\.run \(threading)")
"""The same, where C isn't shown: the last line of Python before a wait."""
TAKES: Final = "pthread_cond_timedwait (libc"
"""What CPython waits in for its lock, and nothing else of it does."""
INTERPRETER: Final = "(waits for the interpreter)"
EVERYWHERE: Final = 0.9
"""Of all samples: a function in more of them is what calls the rest."""

Stack = tuple[str, ...]
"""Frames as `function (file:line)`, the outermost first."""


@dataclass(frozen=True, slots=True)
class _Box:
    name: str
    level: float
    left: int
    width: int

    def holds(self, other: _Box) -> bool:
        return self.left <= other.left and other.left + other.width <= self.left + self.width


def stacks(picture: str) -> Counter[Stack]:
    """Samples by stack; only those that ended in its last frame.

    Raises:
        ValueError: it isn't a flame graph as inferno draws it.
    """
    boxes = [_box(group) for group in ET.fromstring(picture).iter(f"{SVG}g")]  # noqa: S314 -- ours
    found = [box for box in boxes if box is not None]
    root = max((box for box in found if box.name == ROOT), key=lambda box: box.width, default=None)
    if root is None:
        raise ValueError("no frames in this flame graph: another version of py-spy?")
    # Levels grow away from the outermost frame, up or down.
    levels: dict[float, list[_Box]] = {}
    for box in found:
        levels.setdefault(abs(box.level - root.level), []).append(box)
    counted: Counter[Stack] = Counter()
    above: list[tuple[_Box, Stack]] = []
    for level in sorted(levels):
        here = []
        for box in levels[level]:
            around = next((path for parent, path in above if parent.holds(box)), ())
            path = (*around, box.name)
            here.append((box, path))
            counted[path] += box.width
            if around:
                counted[around] -= box.width
        above = here
    return Counter({path[1:]: width for path, width in counted.items() if width and path[1:]})


def _box(group: ET.Element) -> _Box | None:
    title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
    if title is None or rect is None or f"{INFERNO}w" not in rect.attrib:
        return None
    named = TITLE.fullmatch(title.text or "")
    return _Box(
        named["name"] if named else title.text or "",
        float(rect.attrib["y"]),
        int(rect.attrib[f"{INFERNO}x"]),
        int(rect.attrib[f"{INFERNO}w"]),
    )


def by_self(samples: Mapping[Stack, int]) -> Counter[str]:
    """Samples by the frame that ran."""
    found: Counter[str] = Counter()
    for stack, number in samples.items():
        found[stack[-1]] += number
    return found


def by_total(samples: Mapping[Stack, int]) -> Counter[str]:
    """Samples by function, in which it ran or waited for what it had called."""
    found: Counter[str] = Counter()
    for stack, number in samples.items():
        for name in {function(frame) for frame in stack}:
            found[name] += number
    return found


def function(frame: str) -> str:
    """A frame without its line."""
    return re.sub(r":\d+\)$", ")", frame)


def by_thread(samples: Mapping[Stack, int]) -> dict[str, Counter[Stack]]:
    """Samples by pool of threads, the busiest first; threads of a pool differ in a number."""
    found: dict[str, Counter[Stack]] = {}
    for stack, number in samples.items():
        if (thread := THREAD.fullmatch(stack[0])) and len(stack) > 1:
            found.setdefault(pool(thread["name"] or ""), Counter())[stack[1:]] += number
    return dict(sorted(found.items(), key=lambda one: -one[1].total()))


def thread_names(samples: Mapping[Stack, int]) -> dict[int, str]:
    """The pool of each thread that was seen, by the number that the kernel gave it."""
    threads = (THREAD.fullmatch(stack[0]) for stack in samples)
    return {int(one["number"]): pool(one["name"] or "") for one in threads if one}


def without_threads(samples: Mapping[Stack, int]) -> Counter[Stack]:
    """Samples of all threads together."""
    found: Counter[Stack] = Counter()
    for pooled in by_thread(samples).values():
        found.update(pooled)
    return found


def pool(thread: str) -> str:
    """A thread's name without what tells it from others of its pool."""
    unnamed = re.fullmatch(r"Thread-\d+ \((.+)\)", thread)
    return unnamed[1] if unnamed else re.sub(r"[-_ ]?\d+$", "", thread) or "unnamed"


def busy(samples: Mapping[Stack, int]) -> Counter[Stack]:
    """Samples in which a thread did something, or waited for the interpreter."""
    found: Counter[Stack] = Counter()
    for stack, number in samples.items():
        takes = next((at for at, frame in enumerate(stack) if frame.startswith(TAKES)), None)
        if takes is not None:
            found[(*stack[:takes], INTERPRETER)] += number
        elif not (RESTS.match(stack[-1]) or any(map(WAITS.match, stack[-4:]))):
            found[stack] += number
    return found


def by_python(samples: Mapping[Stack, int]) -> Counter[str]:
    """Samples by the last line of Python, with all that C did for it."""
    found: Counter[str] = Counter()
    for stack, number in samples.items():
        lines = (frame for frame in reversed(stack) if PYTHON.fullmatch(frame))
        found[next(lines, stack[0])] += number
    return found


def table(samples: Mapping[Stack, int], top: int, *, native: bool = False) -> list[str]:
    """The hottest frames and functions, with their shares of what a thread wasn't idle in."""
    active, whole = busy(samples), sum(samples.values())
    shares = active.total() or 1
    functions = Counter(
        {
            name: number
            for name, number in by_total(active).items()
            if number < EVERYWHERE * shares and not name.startswith("0x")
        }
    )
    views = {"self": by_self(active)}
    if native:
        views["self, by line of Python"] = by_python(active)
    views["total, by function"] = functions
    lines = [f"waited in {1 - active.total() / whole:.0%} of {whole} samples; of the others:"]
    for title, found in views.items():
        lines += ["", f"{'':7}  {title}"]
        lines += [f"{number / shares:7.1%}  {name}" for name, number in found.most_common(top)]
    return lines
