"""Which decision on a path made its last step go wrong."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from fpstate.paths.order import (
    ENTER,
    GUEST_FP,
    GUEST_SVCR,
    GUEST_SVE,
    LOAD,
    RESUME,
    RET,
    RUN_ENTER,
    SWITCH,
    cpu_of,
    kind_of,
)
from fpstate.paths.scope import KIND_NAMES
from fpstate.paths.walk import Walk, second_of
from fpstate.world import verdicts, wide
from fpstate.world.operations import N_COUNTS
from fpstate.world.state import (
    CLASSES_END,
    CURRENT,
    IMAGE,
    INITIAL,
    KERNEL_IMAGE,
    KERNEL_LATEST,
    LATEST,
    REGISTERS,
    STASH,
    SVE_IMAGE,
    V,
    World,
    copy_of,
)
from fpstate.world.table import R_OPS, new_report

OF_V = (
    verdicts.WRONG_VALUE, verdicts.STALE_FRAME, verdicts.LEAKING_FRAME, verdicts.STALE_READ, verdicts.LEAKING_READ,
)  # fmt: skip
"""Verdicts on a value of V."""
BRINGS_IN = (RET, RESUME, ENTER, LOAD, RUN_ENTER)
"""Steps that let a context run, beside traps: what they decide about registers is decided for it."""


@dataclass(frozen=True)
class Value:
    """What the last step should have found: the latest value of a register class of `owner`, or of its kernel code."""

    owner: int
    k: int
    kernel: bool
    label: int

    def kept(self, world: World) -> bool:
        """Tell whether any place of `world` holds it."""
        places = [world.cpu[:, [REGISTERS + self.k, STASH + self.k]], world.context[:-1, IMAGE + self.k]]
        if self.k == V:
            places.append(world.context[:-1, KERNEL_IMAGE])
            places += [world.context[:-1, SVE_IMAGE]] if world.features else []
        return any(bool((place == self.label).any()) for place in places)

    def on(self, world: World, cpu: int) -> bool:
        """Tell whether the registers of a CPU hold it."""
        return bool(world.cpu[cpu, REGISTERS + self.k] == self.label)


def blame(walk: Walk, victim: int, verdict: int) -> str:
    """Return step, file and line of the decision that made the last step go wrong; of both where two share the blame.

    If the value that should have been read was destroyed: what overwrote its last copy. Else what let its owner run
    without it, or took it away after that; and if its only copy was left behind in the registers of another CPU, the
    switch that left it there as well. Where the policy decided nothing, the event that it has no handler for.
    """
    last = len(walk.moves) - 1
    value = _wanted(walk, victim, verdict)
    if value is None:
        return next((_where(walk, i) for i in reversed(range(last + 1)) if walk.used[i]), "")
    zeros = walk.worlds[last].context[victim, INITIAL + value.k] == value.label and not value.kernel
    if not zeros and not value.kept(walk.worlds[last]):
        kept = [i for i in range(last) if value.kept(walk.worlds[i])]
        return _where_destroyed(walk, value, kept[-1]) if kept else _where(walk, _made(walk, value))
    steps = [_let_in(walk, value)]
    left = _left_behind(walk, value, cpu_of(walk.moves[last]))
    if left is not None:
        steps.insert(0, left)
    return " and ".join(_where(walk, i) for i in sorted(set(steps)))


def _wanted(walk: Walk, victim: int, verdict: int) -> Value | None:
    """Return the value that the last step should have found, if it is a value that was wrong there."""
    world = walk.worlds[-2]
    if verdict == verdicts.KERNEL_VALUE_LOST:
        return Value(victim, V, True, int(world.context[victim, KERNEL_LATEST]))
    if verdict in OF_V:
        k = V
    elif verdicts.CLASS_WRONG <= verdict < verdicts.CLASS_LEAKS:
        k = verdict - verdicts.CLASS_WRONG
    elif verdicts.CLASS_LEAKS <= verdict < verdicts.CLASS_LEAKS + CLASSES_END:
        k = verdict - verdicts.CLASS_LEAKS
    else:
        return None
    return Value(victim, k, False, int(world.context[victim, LATEST + k]))


def _where_destroyed(walk: Walk, value: Value, i: int) -> str:
    """Return which decision of step `i`, before which the last copy was there, overwrote it."""
    world, c = copy_of(walk.worlds[i]), int(cpu_of(walk.moves[i]))
    t = int(world.cpu[c, CURRENT])
    s = second_of(walk.worlds[i], walk.moves[i])
    for r in walk.used[i]:
        wide.run_row(world, walk.rows.table, new_report(N_COUNTS), r, c, t, s)
        if not value.kept(world):
            return f"step {i + 1}, {walk.rows.where[r]}"
    return _where(walk, i)  # the event did, after its first handler


def _made(walk: Walk, value: Value) -> int:
    """Return the step at which a value that no place ever held became its owner's latest."""
    column = KERNEL_LATEST if value.kernel else LATEST + value.k
    latest = [int(w.context[value.owner, column]) for w in walk.worlds]
    return max(0, latest.index(value.label) - 1)


def _let_in(walk: Walk, value: Value) -> int:
    """Return the step that let the victim run without its value, or took it away after that."""
    last, cpu = len(walk.moves) - 1, cpu_of(walk.moves[-1])
    guest = kind_of(walk.moves[last]) in (GUEST_FP, GUEST_SVE, GUEST_SVCR)
    if walk.used[last] and not guest:
        return last  # kernel code read it
    entered = last
    for i in reversed(range(last)):
        if cpu_of(walk.moves[i]) != cpu:
            continue
        kind = kind_of(walk.moves[i])
        trap = wide.USES >> kind & 1 == 1
        before, after = (value.on(w, cpu) for w in walk.worlds[i : i + 2])
        if before and not after:
            return i
        if walk.used[i] and (kind in BRINGS_IN or trap):
            return i
        entered = i
        if kind == SWITCH or (guest and kind == ENTER and not walk.used[i] and _no_more(walk, i, cpu)):
            return i
    return entered


def _no_more(walk: Walk, i: int, cpu: int) -> bool:
    """Tell whether no step before `i` on `cpu`, back to the last switch there, decided anything."""
    for j in reversed(range(i)):
        if cpu_of(walk.moves[j]) == cpu:
            if walk.used[j] and kind_of(walk.moves[j]) in BRINGS_IN:
                return False
            if kind_of(walk.moves[j]) == SWITCH:
                return not walk.used[j]
    return True


def _left_behind(walk: Walk, value: Value, cpu: int) -> int | None:
    """Return the last switch on a CPU other than `cpu` that still holds the only copy of the value, if one does."""
    world = walk.worlds[-2]
    holders = [c for c in range(walk.cpus) if c != cpu and value.on(world, c)]
    in_memory = np.isin(value.label, world.context[:-1, IMAGE + value.k])
    if not holders or in_memory or value.on(world, int(cpu)):
        return None
    moves = enumerate(walk.moves[:-1])
    return max((i for i, m in moves if kind_of(m) == SWITCH and cpu_of(m) == holders[0]), default=None)


def _where(walk: Walk, i: int) -> str:
    """Return where the policy decided about step `i`, or that it did not."""
    acting = [r for r in walk.used[i] if walk.rows.table.rows[r, R_OPS]]
    if walk.used[i]:
        return f"step {i + 1}, {walk.rows.where[(acting or walk.used[i])[0]]}"
    event = KIND_NAMES[kind_of(walk.moves[i])]
    return f"step {i + 1}: {walk.rows.policy.name} has no handler '{event}'"


def shortened(where: str) -> str:
    """Return what `blame` says without the folders its files are installed in."""
    if " and step " in where:  # two share the blame
        return " and ".join(shortened(w if w.startswith("step") else f"step {w}") for w in where.split(" and step "))
    step, comma, place = where.partition(", ")
    return f"{step}, {short_place(place)}" if comma else where


def ending(wrong: str, blame: str) -> list[str]:
    """Return what went wrong and where it was decided, if that is known, as sentences; none if nothing went wrong."""
    said = [wrong] if wrong else []
    return said + ([f"decided at {shortened(blame)}"] if wrong and blame else [])


def short_place(place: str) -> str:
    """Return a file and line without the folders it is installed in, of a notebook's cell the line; else as it is."""
    _, package, inside = place.rpartition("/fpstate/policies/")
    if package:
        return f"fpstate/policies/{inside}"
    if "/ipykernel_" in place:
        return f"line {place.rpartition(':')[2]} of a cell"
    return os.path.relpath(place) if place.startswith("/") else place
