"""Pieces of HTML: text that can't be anything else, figures in words, tables, bars and curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
STEP: Final = 1024
WIDE, HIGH = 240, 48
"""The units of a curve's picture, which is as wide as its place."""


def text(value: object) -> str:
    """Returns a text as HTML. What isn't printed, or turns the direction, is shown as its code."""
    return escape("".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in str(value)))


def count(value: float) -> str:
    """Returns a number in few digits."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"  # noqa: PLR2004 -- the next digit says nothing


def size(value: float) -> str:
    """Returns bytes."""
    for unit in UNITS:
        if value < STEP or unit == UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= STEP
    raise AssertionError


def rate(value: float) -> str:
    """Returns bytes per second."""
    return f"{size(value)}/s"


def milliseconds(seconds: float) -> str:
    """Returns a duration of some ms; a dash if there was none."""
    return f"{seconds * 1000:.1f} ms" if seconds else "–"  # noqa: RUF001 -- a dash in a table


def share(value: float) -> str:
    """Returns a share as a percentage."""
    return f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """Returns a duration in one unit."""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def table(name: str, headings: Sequence[str], rows: Iterable[Sequence[str]], none: str) -> str:
    """Returns a table that can be scrolled by keys if it is too wide; a sentence if it is empty.

    Args:
        name: what it shows, for those who can't see it.
        headings: of the columns, as text.
        rows: cells as HTML; the first one of each names the row.
        none: what is said if there are no rows.
    """
    lines = [_row(cells) for cells in rows]
    if not lines:
        return f"<p>{text(none)}</p>"
    head = "".join(f'<th scope="col">{text(one)}</th>' for one in headings)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{one}</td>" for one in others)}</tr>'


def bar(at: float, whole: float, label: str) -> str:
    """Returns how far something has come; only its bytes if the whole isn't known."""
    if not whole:
        return size(at)
    part = min(at / whole, 1.0)
    return (
        f'<progress max="1" value="{part:.4f}" aria-label="{text(label)}"></progress> '
        f'<span class="quiet">{share(part)} of {size(whole)}</span>'
    )


def curve(
    title: str, values: Sequence[float], pieces: Sequence[Sequence[float]], shown: Sequence[str]
) -> str:
    """Returns a figure's course as a picture, with what it says in words.

    Args:
        title: of the figure.
        values: from the oldest on.
        pieces: where each of them is, from 0 to 1, in pieces that aren't joined.
        shown: the latest and the greatest value, in words.
    """
    latest, most = shown
    top = max(values, default=0.0) or 1.0
    heights = (HIGH - 2 - (HIGH - 6) * value / top for value in values)
    lines = "".join(
        '<polyline points="'
        + " ".join(f"{WIDE * at:.1f},{next(heights):.1f}" for at in piece)
        + '"/>'
        for piece in pieces
    )
    words = f"{title}: {latest} now, {most} at most"
    return (
        f"<figure><figcaption><span>{text(title)}</span> <b>{text(latest)}</b></figcaption>"
        f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" role="img" '
        f'aria-label="{text(words)}">{lines}</svg>'
        f'<p class="quiet">at most {text(most)}</p></figure>'
    )
