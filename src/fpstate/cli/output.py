"""What commands share in printing: JSON, and text and tables that fit any width, without a name or figure cut."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 80
"""Columns of what is written into a pipe or file, if COLUMNS does not say otherwise."""
NARROWEST = 20
COMFORTABLE = 12  # a column of text is not made narrower, unless all it holds is
LONG_WORD = 24  # a longer one, an address, may be broken at some marks too, in a cell
GAPS = (2, 1)  # blanks between columns: fewer if room is short


def print_json(schema: str, content: dict[str, Any]) -> None:
    """Print one JSON document with its schema's name and version first."""
    sys.stdout.write(json.dumps({"schema": schema, **content}, indent=2, ensure_ascii=False) + "\n")


@functools.cache
def console() -> Console:
    """Return where human output goes: as wide as COLUMNS says, else the terminal, else 80; text is never markup."""
    from rich.console import Console

    said = os.environ.get("COLUMNS", "")
    width = int(said) if said.isdecimal() and int(said) else None if sys.stdout.isatty() else PIPE_WIDTH
    width = None if width is None else max(width, NARROWEST)
    return Console(width=width, markup=False, highlight=False, emoji=False, soft_wrap=True)


def plain(text: str) -> str:
    """Return text with `?` for each control character but line ends: what a file says is shown, not obeyed."""
    return "".join(ch if ch == "\n" or ch.isprintable() or ch == "\u00a0" else "?" for ch in text)


def say(text: str, style: str = "", *, whole: bool = False) -> None:
    """Print sentences, broken between words where a line ends; with `whole`, as they are, to be copied."""
    out = console()
    lines = plain(text).split("\n")
    if not whole:
        lines = [part for line in lines for part in wrapped(line, out.width)]
    for line in lines:
        out.print(line, style=style)


def wrapped(text: str, width: int, *, cell: bool = False) -> list[str]:
    """Return text in lines of at most `width` where it can be broken: after blanks, in a `cell` after / , -> too."""
    from rich.cells import cell_len

    lines, line = [], ""
    for piece in _pieces(text, cell=cell):
        if line and cell_len(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return [*lines, line.rstrip()]


def _pieces(text: str, *, cell: bool) -> list[str]:
    """Return the parts of a text that are never broken, each with the blanks after it."""
    at = r"(?<=\S\s)(?=\S)|(?<=[/;])(?=\w)|(?<=,)(?=[^\s\d])|(?<=->)(?=\w)" if cell else r"(?<=\S\s)(?=\S)"
    pieces = re.split(at, text)
    if not cell or max(map(len, pieces)) <= LONG_WORD:
        return pieces
    return [part for p in pieces for part in (re.split(r"(?<=[@.=-])", p) if len(p) > LONG_WORD else [p])]


@dataclass(frozen=True)
class Column:
    """A column of a table. A `number` stands to the right and is never broken; `spare` is left out if room is short."""

    name: str
    number: bool = False
    spare: bool = False


def show_table(
    columns: Sequence[Column | str],
    rows: Sequence[Sequence[str]],
    *,
    styles: Mapping[int, str] | None = None,
    sections: bool = False,
) -> None:
    """Print a table, and each row as a paragraph where not even its longest words find room side by side.

    `styles` are those of rows by number; with `sections`, a line is left free before each row that has a first cell.
    """
    heads = [Column(c) if isinstance(c, str) else c for c in columns]
    cells = [[plain(cell) for cell in row] for row in rows]
    width = console().width
    left_out: list[str] = []
    while (shape := fitted(heads, cells, width)) is None and any(c.spare for c in heads):
        last = max(i for i, c in enumerate(heads) if c.spare)
        left_out.insert(0, heads.pop(last).name)
        cells = [[cell for i, cell in enumerate(row) if i != last] for row in cells]
    _paint(heads, cells, shape, styles or {}, sections=sections)
    if left_out:
        say(f"note: no room for {', '.join(left_out)} in {width} columns", "dim")


@dataclass(frozen=True)
class Shape:
    """How wide each column of a table is, and how many blanks stand between two."""

    widths: list[int]
    gap: int


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Shape | None:
    """Return the shape of a table, the widest text giving way first; None if the longest words need more room.

    Of those that there are, it is the one with the fewest lines, and the most blanks.
    """
    from rich.cells import cell_len

    least, wanted = [], []
    for i, column in enumerate(columns):
        texts = [column.name, *(line for row in rows for line in row[i].split("\n"))]
        full = max(map(cell_len, texts))
        words = [cell_len(p.rstrip()) for t in texts for p in _pieces(t, cell=True)]
        least.append(full if column.number else max(*words, min(full, COMFORTABLE)))
        wanted.append(full)
    shapes = []
    for gap in GAPS:
        room, widths = width - gap * (len(columns) - 1), list(wanted)
        if sum(least) <= room:
            while sum(widths) > room:
                widths[max(range(len(widths)), key=lambda i: (widths[i] > least[i], widths[i]))] -= 1
            shapes.append(Shape(widths, gap))
    return min(shapes, key=lambda shape: sum(1 for row in rows for _ in _lines(columns, row, shape)), default=None)


def _paint(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    shape: Shape | None,
    styles: Mapping[int, str],
    *,
    sections: bool,
) -> None:
    out = console()
    if shape is None:
        for i, row in enumerate(rows):
            for line in _paragraph(columns, row, out.width):
                out.print(line, style=styles.get(i, ""))
        return
    for line in _lines(columns, [c.name for c in columns], shape):
        out.print(line, style="bold")
    length = sum(shape.widths) + shape.gap * (len(columns) - 1)
    out.print(("─" if out.encoding.startswith("utf") else "-") * length)
    for i, row in enumerate(rows):
        if sections and i and row[0]:
            out.print()
        for line in _lines(columns, row, shape):
            out.print(line, style=styles.get(i, ""))


def _lines(columns: Sequence[Column], row: Sequence[str], shape: Shape) -> Iterator[str]:
    """Yield the lines of one row of a table, without blanks at their ends."""
    from rich.cells import cell_len

    texts = [
        [part for line in cell.split("\n") for part in ([line] if c.number else wrapped(line, w, cell=True))]
        for c, cell, w in zip(columns, row, shape.widths, strict=True)
    ]
    for n in range(max(map(len, texts))):
        line = ""
        for c, lines, w in zip(columns, texts, shape.widths, strict=True):
            text = lines[n] if n < len(lines) else ""
            blanks = " " * (w - cell_len(text))
            line += (blanks + text if c.number else text + blanks) + " " * shape.gap
        yield line.rstrip()


def _paragraph(columns: Sequence[Column], row: Sequence[str], width: int) -> Iterator[str]:
    """Yield a row as its first cell and, set in, the others with their names; figures share lines."""
    first = 1 if columns[0].name else 2
    yield from wrapped(" ".join(row[:first]), width)
    figures: list[str] = []
    for c, cell in zip(columns[first:], row[first:], strict=True):
        if c.number:
            figures.append(f"{c.name} {cell}")
            continue
        yield from _set_in(", ".join(figures), width)
        figures = []
        if cell:
            yield from _set_in(f"{c.name}: {cell}", width)
    yield from _set_in(", ".join(figures), width)


def _set_in(text: str, width: int) -> Iterator[str]:
    for line in text.split("\n") if text else []:
        yield from (f"  {part}" for part in wrapped(line, width - 2, cell=True))
