"""A policy drawn: who runs on a CPU and whose values its registers hold, and the events that lead from one to the next.

All orders of events of one task and one vCPU on one CPU are walked on the policy's own rows; worlds that look alike at
that distance are one state of the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from fpstate.check.worlds import Worlds
from fpstate.paths.order import GUEST, RUN, RUN_NEON, RUN_OUT, RUN_OUT_NEON, USER
from fpstate.paths.scope import KIND_NAMES, Scope
from fpstate.policies.base import Policy
from fpstate.rows.handlers import EVENTS
from fpstate.rows.learn import Rows
from fpstate.world.operations import N_LOAD_HOST, N_LOAD_KERNEL, N_SAVE_HOST, N_SAVE_KERNEL
from fpstate.world.state import (
    CURRENT,
    GUEST_FP_TRAP,
    IMAGE,
    LATEST,
    MODE,
    REGISTERS,
    SOFTIRQS,
    USER_FP_TRAP,
    WORD,
    World,
    context_of,
    copy_of,
    owner_of,
)

ROWS = ("user mode, trap armed", "user mode", "kernel", "KVM_RUN", "guest, trap armed", "guest")
"""Who runs: the lines of the drawing. The idle thread is in the kernel."""
COLUMNS = ("the task's", "the vCPU's", "the kernel's", "nobody's")
"""Whose values the registers hold: its columns."""
COLOURS = ("#1f5fce", "#a8590f", "#7440b8", "#5f646c")
MOST = 20_000
"""Worlds looked at, breadth first. Of the package's policies only adaptive-dirty has more, by its counters."""
WHOSE = ("the task", "the vCPU", "the kernel's")

Node = tuple[int, int]  # row and column


@dataclass
class Drawing:
    """The states that come up, and which event leads from one to another with what work; `then` is in order."""

    nodes: set[Node] = field(default_factory=set)
    then: dict[tuple[Node, Node], dict[str, None]] = field(default_factory=dict)


def drawn(policy: type[Policy]) -> Drawing:
    """Return the drawing of a policy with FPSIMD alone."""
    guests = Rows(policy).handler(EVENTS["guest_enter"]) is not None
    scope = Scope(1, 1, int(guests), 0, ("base", *(["kvm"] if guests else []), "neon"))
    worlds, drawing = Worlds(Rows(policy), scope), Drawing()
    first = copy_of(worlds[0])
    for x in range(1, len(first.context) - 1):
        first.context[x, IMAGE] = first.context[x, LATEST]  # each has used FP before
    waiting = [worlds.number(first)]
    known = set(waiting)
    for number in waiting:
        for move in worlds.moves_of(number).values():
            event, work = KIND_NAMES[move.kind], _work(move.done)
            edge = (_node(worlds[number]), _node(worlds[move.after]))
            drawing.nodes |= set(edge)
            if edge[0] != edge[1] or work:
                drawing.then.setdefault(edge, {})[f"{event}: {work}" if work else event] = None
            if move.after not in known and len(known) < MOST:
                known.add(move.after)
                waiting.append(move.after)
    return drawing


def _work(done: Sequence[int]) -> str:
    parts = [
        f"{what} {WHOSE[i]}"
        for what, first, last in (("save", N_SAVE_HOST, N_SAVE_KERNEL), ("load", N_LOAD_HOST, N_LOAD_KERNEL))
        for i in range(last - first + 1)
        if done[first + i]
    ]
    return ", ".join(parts)


def _node(w: World) -> Node:
    thread, word = int(w.cpu[0, CURRENT]), int(w.cpu[0, WORD])
    mode = int(w.context[thread, MODE])
    row = 2
    if mode == USER:
        row = 0 if word & USER_FP_TRAP else 1
    elif mode == GUEST:
        row = 4 if word & GUEST_FP_TRAP else 5
    elif mode in (RUN, RUN_OUT, RUN_NEON, RUN_OUT_NEON):
        row = 3
    owner = owner_of(int(w.cpu[0, REGISTERS]))
    if owner == 0:
        return row, 3
    return row, 2 if owner == SOFTIRQS or owner & 1 else 0 if context_of(owner) == 1 else 1


# As a picture.

WIDE, HIGH, LEFT, TOP = 190, 74, 170, 46
BOX = (120, 34)


def picture(drawing: Drawing) -> tuple[str, list[tuple[str, str, str]]]:
    """Return the drawing as SVG, and its legend: number, from what to what, and the events with the work done there.

    Arrows on which registers are moved, or change hands, have a number; the others are thin.
    """
    rows = sorted({row for row, _ in drawing.nodes})
    columns = sorted({column for _, column in drawing.nodes})
    place = {(r, c): (LEFT + columns.index(c) * WIDE + BOX[0] / 2, TOP + rows.index(r) * HIGH + BOX[1] / 2)
             for r, c in drawing.nodes}  # fmt: skip
    parts, legend, marks = [], [], list[tuple[float, float]]()
    for (a, b), events in drawing.then.items():
        works = [event for event in events if ": " in event]
        if not works and a[1] == b[1]:
            parts.append(_arrow(_curve(place[a], place[b]), "thin"))
            continue
        number = str(len(legend) + 1)
        curve = _curve(place[a], place[b])
        marks.append(_free(curve, place.values(), marks))
        parts.append(_arrow(curve, "work"))
        legend.append((number, f"{_called(a)} → {_called(b)}", "; ".join(works or events)))
    boxes = [_box(node, place[node]) for node in sorted(drawing.nodes)]
    heads = [_text(LEFT + i * WIDE + BOX[0] / 2, 22, COLUMNS[c], "middle") for i, c in enumerate(columns)]
    names = [_text(LEFT - 22, TOP + i * HIGH + BOX[1] / 2 + 4, ROWS[r], "end") for i, r in enumerate(rows)]
    numbers = [_number(at, n) for n, at in enumerate(marks, 1)]
    size = LEFT + len(columns) * WIDE, TOP + len(rows) * HIGH
    label = "Who runs, whose values the registers hold, and what leads from one to the next; the legend has it in words"
    svg = (
        f'<svg class="states" viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{label}">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
        f"{''.join([*heads, *names, *parts, *boxes, *numbers])}</svg>"
    )
    return svg, legend


def _called(node: Node) -> str:
    return f"{ROWS[node[0]]}, {COLUMNS[node[1]]}"


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(node: Node, at: tuple[float, float]) -> str:
    x, y = at[0] - BOX[0] / 2, at[1] - BOX[1] / 2
    size = f'x="{x:.0f}" y="{y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="6"'
    text = _text(at[0], at[1] + 4, COLUMNS[node[1]], "middle")
    return f'<g class="state" fill="{COLOURS[node[1]]}"><rect {size}/>{text}</g>'


Point = tuple[float, float]
Curve = tuple[Point, Point, Point, Point]  # a cubic one, by its ends and the points between that bend it


def _curve(a: Point, b: Point) -> Curve:
    """Return the way of an arrow, bent to its right, so that the one back does not lie on it; or a loop."""
    if a == b:
        x, y = a[0] + BOX[0] / 2, a[1]
        return (x, y - 8), (x + 34, y - 22), (x + 34, y + 22), (x, y + 8)
    dx, dy = b[0] - a[0], b[1] - a[1]
    long = (dx * dx + dy * dy) ** 0.5
    bend = 14 + 0.10 * long
    middle = (a[0] + b[0]) / 2 - dy / long * bend, (a[1] + b[1]) / 2 + dx / long * bend
    start, end = _edge(a, middle), _edge(b, middle)
    first, second = (tuple((p[i] + 2 * middle[i]) / 3 for i in (0, 1)) for p in (start, end))
    return start, (first[0], first[1]), (second[0], second[1]), end


def _at(curve: Curve, t: float) -> Point:
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    x, y = (sum(w * p[i] for w, p in zip(weights, curve, strict=True)) for i in (0, 1))
    return x, y


def _free(curve: Curve, boxes: Iterable[Point], marks: list[Point]) -> Point:
    """Return a place on an arrow for its number, beside all boxes and the numbers so far if there is one."""

    def crowded(at: Point) -> int:
        hidden = sum(abs(at[0] - x) < BOX[0] / 2 + 10 and abs(at[1] - y) < BOX[1] / 2 + 10 for x, y in boxes)
        return 10 * hidden + sum(abs(at[0] - x) < 21 and abs(at[1] - y) < 21 for x, y in marks)

    every = sorted((i / 40 for i in range(1, 40)), key=lambda t: abs(t - 0.5))
    boxes = list(boxes)
    return min((_at(curve, t) for t in every), key=crowded)


def _number(at: Point, number: int) -> str:
    mark = f'<circle cx="{at[0]:.0f}" cy="{at[1]:.0f}" r="10"/>'
    return f'<g class="number">{mark}{_text(at[0], at[1] + 4, str(number), "middle")}</g>'


def _arrow(curve: Curve, kind: str) -> str:
    places = [f"{x:.0f} {y:.0f}" for x, y in curve]
    return f'<path class="{kind}" d="M{places[0]}C{" ".join(places[1:])}" marker-end="url(#tip)"/>'


def _edge(centre: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Return where the line from a box's centre towards a point leaves the box."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    part = min(BOX[0] / 2 / abs(dx) if dx else 9e9, BOX[1] / 2 / abs(dy) if dy else 9e9, 1)
    return centre[0] + dx * part, centre[1] + dy * part
