"""The figure of docs/adaptive.md: its tables of costs as bars, `docs/pictures/adaptive.svg`.

Run: python docs/figure.py. A test holds the picture against the tables.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
LINE = re.compile(
    r"^(?P<name>[\w.-]+)\s+(?P<transfers>[\d,]+)\s+(?P<other>[\w.-]+)\s+(?P<best>[\d.]+)\s+(?P<plain>[\d.]+)\*?\s+"
    r"\S+\s+(?P<dirty>[\d.]+)\*?\s+[\d.]+$",
    re.MULTILINE,
)
LEFT, RIGHT, HIGH, TOP = 150, 640, 30, 62
MOST = 8.0  # times the bound, at the right end
MIN_TRANSFERS = 100  # where the bound has fewer, a ratio says little


def picture(page: str) -> str:
    """Return the figure of the tables on a page."""
    found = [m for m in LINE.finditer(page) if int(m["transfers"].replace(",", "")) > MIN_TRANSFERS]
    parts = []
    for i, m in enumerate(found):
        y = TOP + i * HIGH
        parts.append(_text(LEFT - 8, y + 15, m["name"], "end"))
        for row, (colour, key) in enumerate((("#8a9099", "best"), ("#1f5fce", "dirty"))):
            times = float(m[key])
            x, top = _x(times), y + 2 + row * 12
            parts.append(f'<rect x="{LEFT}" y="{top}" width="{x - LEFT:.0f}" height="10" fill="{colour}"/>')
            more = f"{times:g}" + (f" ({m['other']})" if key == "best" else "")
            parts.append(_text(min(x, _x(MOST)) + 4, top + 9, more, "start"))
    bottom = TOP + len(found) * HIGH
    lines = [f'<path d="M{_x(n):.0f} {TOP - 6}V{bottom}" stroke="#c8ccd2"/>' for n in range(2, int(MOST) + 1, 2)]
    lines.append(f'<path d="M{_x(1):.0f} {TOP - 6}V{bottom}" stroke="#c0392b" stroke-width="1.5"/>')
    scale = [_text(_x(n), TOP - 12, f"{n}", "middle") for n in (1, 2, 4, 6, 8)]
    key = [_text(LEFT, 18, "Cycles as a multiple of the fewest transfers there can be (red)", "start")]
    for x, colour, what in ((LEFT, "#8a9099", "best that does not learn"), (LEFT + 190, "#1f5fce", "adaptive-dirty")):
        key.append(f'<rect x="{x}" y="27" width="10" height="10" fill="{colour}"/>{_text(x + 16, 36, what, "start")}')
    label = "Cycles of adaptive-dirty and of the best other policy by recording; the tables below have the figures"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {bottom + 10}" font-family="sans-serif" '
        f'font-size="11" role="img" aria-label="{label}"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join([*lines, *scale, *key, *parts])}</svg>\n"
    )


def _x(times: float) -> float:
    return LEFT + (RIGHT - LEFT) * min(times, MOST) / MOST


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'


if __name__ == "__main__":
    (HERE / "pictures/adaptive.svg").write_text(picture((HERE / "adaptive.md").read_text()))
