"""Tables for a screen of any width: lines that never wrap, whatever the cells contain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

GAP = 2
"""Columns between two cells."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        width: columns of the terminal that it takes; 0: it takes all that others leave.
        least: columns that the terminal must have for this one to be shown.
        right: whether cells end together, as numbers do.
    """

    name: str
    width: int
    least: int = 0
    right: bool = True


def fitted(text: str, width: int, *, right: bool = False) -> str:
    """Returns a text of exactly `width` columns: padded, or cut with an ellipsis."""
    if cell_len(text) > width:
        text = f"{set_cell_size(text, max(0, width - 1)).rstrip()}…" if width else ""
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, styles: Sequence[str] = ()
) -> list[Text]:
    """Returns a heading and the rows, each a line of at most `width` columns.

    Args:
        columns: of which those that don't fit are left out.
        rows: cells, each of a single line.
        width: of the terminal.
        styles: of the rows, in rich's words; missing ones are plain.
    """
    shown = [at for at, column in enumerate(columns) if column.least <= width]
    taken = sum(columns[at].width for at in shown) + GAP * (len(shown) - 1)
    widths = [columns[at].width or max(0, width - taken) for at in shown]

    def line(cells: Sequence[str]) -> str:
        placed = [
            fitted(cells[at], wide, right=columns[at].right)
            for at, wide in zip(shown, widths, strict=True)
        ]
        return fitted((" " * GAP).join(placed).rstrip(), width).rstrip()

    heading = Text(line([column.name for column in columns]), style="bold")
    styled = [*styles, *[""] * (len(rows) - len(styles))]
    return [
        heading,
        *(Text(line(row), style=style) for row, style in zip(rows, styled, strict=True)),
    ]


def shared(height: int, wanted: Sequence[int]) -> list[int]:
    """Returns how many lines each of several sections gets, out of `height`.

    A section that wants few gets all it wants; the others get as much as one another.
    """
    given = [0] * len(wanted)
    left = max(0, height)
    while left:
        open_ = [at for at, want in enumerate(wanted) if given[at] < want]
        if not open_:
            break
        for at in open_[:left]:
            given[at] += 1
        left -= min(left, len(open_))
    return given
