"""A profile as a picture: each function is a bar above its caller, as wide as the CPU time it used.

The picture is a plain SVG without a script: a bar's title, which browsers show when it is pointed
at, has the function and its share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Final

from holdfast.service.web.profile import Stack

WIDTH: Final = 1200.0
ROW: Final = 18
NARROWEST: Final = 0.3
"""Pixels below which a bar is left out."""
LETTER: Final = 6.6
"""Pixels of a letter."""
COLOURS: Final = ("#e4743b", "#e98f3e", "#eba94a", "#e0863f", "#d9653a", "#efb75a")
STYLE: Final = "text{font:11px monospace;fill:#111}"


@dataclass(slots=True)
class Bar:
    """A function, as one caller calls it."""

    name: str
    used: int = 0
    callees: dict[str, Bar] = field(default_factory=dict)

    def add(self, stack: Stack, used: int) -> None:
        """Adds what a stack that begins here has used, in µs."""
        bar = self
        bar.used += used
        for name in stack:
            bar = bar.callees.setdefault(name, Bar(name))
            bar.used += used

    @property
    def depth(self) -> int:
        """How many bars are on top of one another, this one included."""
        deepest, row = 0, [self]
        while row:
            deepest += 1
            row = [callee for bar in row for callee in bar.callees.values()]
        return deepest


def flame(used: Mapping[Stack, int], title: str) -> str:
    """Returns the picture of a profile."""
    root = Bar("all")
    for stack, amount in used.items():
        root.add(stack, amount)
    height = (root.depth + 2) * ROW
    bars = "".join(_drawn(root, 0.0, height - ROW, max(root.used, 1)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height}" '
        f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="4" y="13">{escape(title)}</text>{bars}</svg>\n'
    )


def _drawn(root: Bar, left: float, bottom: int, all_used: int) -> Iterator[str]:
    """Yields the bars, without recursion: stacks are deep."""
    pending = [(root, left, bottom)]
    while pending:
        bar, x, y = pending.pop()
        width = WIDTH * bar.used / all_used
        if width < NARROWEST:
            continue
        yield _rectangle(bar, x, y, width, all_used)
        for callee in sorted(bar.callees.values(), key=lambda one: one.name):
            pending.append((callee, x, y - ROW))
            x += WIDTH * callee.used / all_used


def _rectangle(bar: Bar, x: float, y: int, width: float, all_used: int) -> str:
    letters = int((width - 4) / LETTER)
    text = bar.name if len(bar.name) <= letters else bar.name[: max(letters - 1, 0)] + "…"
    label = f'<text x="{x + 3:.1f}" y="{y + 13}">{escape(text)}</text>' if letters > 2 else ""  # noqa: PLR2004 -- less says nothing
    colour = COLOURS[sum(map(ord, bar.name)) % len(COLOURS)]
    return (
        f"<g><title>{escape(bar.name)}: {bar.used / 1000:.0f} ms, "
        f"{100 * bar.used / all_used:.1f} %</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{colour}"/>'
        f"{label}</g>"
    )
