"""How results look in a notebook: an HTML table, and a data frame of Polars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from fpstate.errors import FpstateError

if TYPE_CHECKING:
    import polars

TEXT_COLUMNS = {"policy", "event", "the policy does", "fields after it", "what the kernel did"}
"""Columns that stand to the left; those of registers do, too."""


def html_table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    styles: Mapping[int, str] | None = None,
    above: Iterable[str] = (),
    below: Iterable[str] = (),
) -> str:
    """Return a table with a title, and sentences above and below it. All is text: none of it is read as markup.

    `styles` are CSS declarations of rows by number.
    """
    side = ["left" if h in TEXT_COLUMNS or h.endswith("registers") else "right" for h in heads]
    head = "".join(f'<th style="text-align:{s}">{escape(h)}</th>' for h, s in zip(heads, side, strict=True))
    body = []
    for i, row in enumerate(rows):
        cells = (f'<td style="text-align:{s}">{escape(cell)}</td>' for cell, s in zip(row, side, strict=True))
        style = f' style="{escape(styles[i])}"' if styles and i in styles else ""
        body.append(f"<tr{style}>{''.join(cells)}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>" if rows else ""
    before = [f"<p><b>{escape(title)}</b></p>", *(f"<p>{escape(sentence)}</p>" for sentence in above)]
    after = [f"<p>{escape(sentence)}</p>" for sentence in below]
    return f'<div class="fpstate">{"".join(before)}{table}{"".join(after)}</div>'


def frame(rows: Sequence[Mapping[str, Any]], types: Mapping[str, Any] | None = None) -> polars.DataFrame:
    """Return rows as a data frame; `types` has the Python type of each column, where there may be no rows.

    Raise FpstateError if Polars is not installed.
    """
    try:
        import polars
    except ImportError as error:
        hint = "pip install polars"
        raise FpstateError("Polars is not installed", expected="Polars, for a data frame", hint=hint) from error
    return polars.DataFrame([dict(row) for row in rows], schema=types, infer_schema_length=None)
