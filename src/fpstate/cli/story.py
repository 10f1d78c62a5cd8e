"""Whose values each CPU's registers hold, one line per CPU: blocks of colour with a letter, letters alone without."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from string import ascii_letters

NO_COLOUR = {"nobody's": ".", "nobody": ".", "zeros": "0", "down": "x"}
SIGNS = {**NO_COLOUR, "softirq's": "#", "a softirq": "#"}
"""Holders that have a sign of their own; those that are nobody have no colour."""
COLOURS = ("red", "blue", "green", "magenta", "cyan", "yellow")
NOT_LATEST = re.compile(r" \((old|predecessor's)\)$")


def letters_of(holders: Sequence[str]) -> dict[str, str]:
    """Return a letter for each holder, one of its name if it is free; values that are not the latest share its own."""
    found: dict[str, str] = {}
    for holder in dict.fromkeys(NOT_LATEST.sub("", h) for h in holders):
        fit = [ch for ch in holder if ch.isascii() and ch.isalpha() and ch != "x"]
        free = (ch for ch in [*fit, *ascii_letters] if ch != "x" and ch not in found.values())
        found[holder] = SIGNS.get(holder) or next(free, "?")
    return found


def show_story(lanes: Mapping[str, Sequence[str]], heads: Sequence[str], wide: int) -> None:
    """Print a line for each lane, with its holders as blocks of `wide` columns below `heads`, and what letters mean.

    Where the lanes are longer than the terminal is wide, they go on below.
    """
    from rich.text import Text

    from fpstate.cli.output import console, say

    out = console()
    letters = letters_of([holder for lane in lanes.values() for holder in lane])
    label = max(map(len, lanes)) + 1
    most = max(1, (out.width - label) // wide)
    for begin in range(0, len(heads), most):
        if any(heads):
            out.print(
                (" " * label + "".join(f"{h:^{wide}}" for h in heads[begin : begin + most])).rstrip(), style="dim"
            )
        for name, lane in lanes.items():
            line = Text(f"{name:<{label}}")
            for holder in lane[begin : begin + most]:
                line.append(*_block(holder, letters, wide))
            if out.no_color or not out.color_system:
                line.rstrip()
            out.print(line)
    meant = [f"{letter} {holder}" for holder, letter in letters.items() if letter not in (holder, "?")]
    others = sum(letter == "?" for letter in letters.values())
    meant += [f"? {others} others"] if others else []
    meant += ["' not the latest"] if any(NOT_LATEST.search(h) for lane in lanes.values() for h in lane) else []
    if meant:
        say(f"registers: {', '.join(meant)}", "dim")


def _block(holder: str, letters: Mapping[str, str], wide: int) -> tuple[str, str]:
    """Return the text and style of one block."""
    plain = NOT_LATEST.sub("", holder)
    text = letters[plain] + ("'" if plain != holder else "")
    if plain in NO_COLOUR:
        return f"{text:^{wide}}", "dim"
    coloured = [h for h in letters if h not in NO_COLOUR]
    return f"{text:^{wide}}", f"black on bright_{COLOURS[coloured.index(plain) % len(COLOURS)]}"
