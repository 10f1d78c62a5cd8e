"""How a wrong value came about: the events from its owner's last use to the wrong read, as `check` tells a path."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from fpstate.check import path as P
from fpstate.jit import bare
from fpstate.machine.host import Host
from fpstate.machine.twin import Wrong
from fpstate.rows import Rows
from fpstate.world import order as O
from fpstate.world import step as S
from fpstate.world.events import Event
from fpstate.world.state import C_REGS, C_SIZE, C_WORD, GUEST_TRAP, USER_TRAP, World, context_base

SHOWN = 24  # steps at most; what lies between the first ones and the last ones is left out
_USES = (int(Event.USER_FP), int(Event.GUEST_FP))
_TRAPS = {_USES[0]: (USER_TRAP, O.USER_TRAPS), _USES[1]: (GUEST_TRAP, O.GUEST_TRAPS)}
_TRUTH = 64


@bare
def _happen(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, e: int, c: int, t: int, s: int, cpus: int, n: int,
    counts: S.Counts, asked: S.Counts, use: bool, guest: bool,
) -> int:  # fmt: skip
    if use:
        return S.use(w, handlers, index, rows, guest, c, t, s, cpus, n, counts, asked)
    return S.step(w, handlers, index, rows, e, c, t, s, cpus, n, counts, asked, False)


class Teller(P.Walker):
    """A world that goes through a run's log again, keeping the steps that are to be told."""

    def __init__(self, rows: Rows, start: World, names: list[str], cpus: int, vcpus: int) -> None:
        self.rows, self.names = rows, names
        self.scope = SimpleNamespace(cpus=cpus, vcpus=vcpus)  # type: ignore[assignment]
        self.n, self.base = len(names), context_base(cpus)
        self.world = start
        self.worlds, self.used, self.moves = [], [], []
        self.counts = np.zeros(S.N_COUNTS, np.int64)
        self.asked = np.zeros(4, np.int64)

    def happen(self, e: int, c: int, t: int, s: int) -> int:
        """Let a logged event happen again; return its row."""
        rows = self.rows
        verdict = _happen(
            self.world, rows.handlers, rows.index, rows.table, e, c, t, s if s >= 0 else self.n, self.scope.cpus,
            self.n, self.counts, self.asked, e in _USES, e == _USES[1],
        )  # fmt: skip
        assert verdict != S.NO_ROW, "the run has learned all rows of its log"
        return int(self.asked[2])


def story(host: Host, wrong: Wrong) -> tuple[list[P.Step], str]:
    """Return the steps that led to a wrong value, and where the policy decided wrongly; nothing in worlds with SVE."""
    if host.twin.features:
        return [], ""  # told for V only
    log, x = host.twin.log, wrong.context
    _, last_cpu, *_ = log[wrong.at]
    mine = [
        i for i in range(wrong.at) if log[i][2] in _USES and x == (log[i][4] if log[i][2] == _USES[1] else log[i][3])
    ]
    first = mine[-1] if mine else 0
    cpus = {last_cpu, log[first][1]}
    told = [
        i
        for i in range(first, wrong.at + 1)
        if log[i][2] < _TRUTH and (log[i][1] in cpus or x in (log[i][3], log[i][4]))
    ]
    shown = set(told)
    teller = Teller(host.rows, host.twin.start.copy(), host.names, host.settings.cpus, len(host.vcpus))
    steps: list[P.Step] = []  # numbered by all that happened since, for now
    for i in range(wrong.at + 1):
        _, c, e, t, s = log[i]
        if e >= _TRUTH:
            continue
        trapped = e in _USES and teller.world[c * C_SIZE + C_WORD] & _TRAPS[e][0]
        for event in (_TRAPS[e][1], e) if trapped else (e,):
            before = teller.world.copy() if i >= first else teller.world
            r = teller.happen(event, c, t, s)
            if i < first:
                continue
            teller.worlds = teller.worlds or [before]
            teller.worlds.append(teller.world.copy())
            teller.moves.append(event << 12 | c << 8)
            teller.used.append([r] if r >= 0 else [])
            if i in shown:
                steps.append(_step(teller, before, event, c, t, s, r, len(teller.moves)))
    return _abridged(steps, P._blame(teller, x, S.WRONG_VALUE))


def _abridged(steps: list[P.Step], blame: str) -> tuple[list[P.Step], str]:
    """Leave out the middle of a long story, but not the step that is to blame, and number what is left."""
    found = re.match(r"step (\d+)", blame)
    blamed = int(found[1]) if found else 0
    kept = steps[:4] + [s for s in steps[4 : 4 - SHOWN] if s.number == blamed] + steps[max(4, len(steps) + 4 - SHOWN) :]
    number = next((k for k, s in enumerate(kept, 1) if s.number == blamed), 0)
    told = [replace(s, number=k) for k, s in enumerate(kept, 1)]
    return told, re.sub(r"^step \d+", f"step {number}", blame) if number else blame.partition(", ")[2]


def _step(teller: Teller, before: World, e: int, c: int, t: int, s: int, r: int, number: int) -> P.Step:
    """Return one event in the form in which `check` tells it."""
    after = teller.world
    who, other = teller.names[t], teller.names[s] if s >= 0 else ""
    seen = before if e in _USES else after  # a use is shown with what it reads
    cpus = range(teller.scope.cpus)
    return P.Step(
        number,
        0,
        Event(e).name.lower(),
        c,
        who,
        other,
        P._operations(teller, r, who, other) if r >= 0 else [],
        [P._value(teller, seen, d * C_SIZE + C_REGS) for d in cpus],
        [" ".join(P._fields(teller, after, "Cpu", d)) if d == c else "" for d in cpus],
        P._changes(teller, before, after),
    )
