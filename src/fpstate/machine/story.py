"""How a wrong value came about: the events from its owner's last use to the wrong read, as `check` tells a path."""

from __future__ import annotations

import re
from dataclasses import replace

from fpstate.jit import bare
from fpstate.machine.host import Host
from fpstate.machine.twin import Wrong
from fpstate.paths.blame import blame
from fpstate.paths.order import GUEST_FP, USER_FP
from fpstate.paths.tell import Step, changes, fields, operations, registers
from fpstate.paths.walk import Walk
from fpstate.world.events import Event, Truth
from fpstate.world.state import World, copy_of
from fpstate.world.step import step, touch, trap_of
from fpstate.world.table import A_ROW, Report, Table
from fpstate.world.verdicts import NO_ROW, WRONG_VALUE

SHOWN = 24  # steps at most; what lies between the first ones and the last ones is left out
_USES = (USER_FP, GUEST_FP)


@bare
def happen(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Let an event, a trap or a use of its own happen; return the verdict."""
    if e == USER_FP or e == GUEST_FP:
        report.asked[A_ROW] = -1
        return touch(w, s if e == GUEST_FP else t, c)
    return step(w, table, report, e, c, t, s)


class Teller(Walk):
    """A world that goes through a run's log again, keeping the steps that are to be told."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.rows, host.names, host.twin.start)
        self.now = copy_of(host.twin.start)

    def happen(self, e: int, c: int, t: int, s: int) -> int:
        """Let a logged event happen again; return its row."""
        second = s if s >= 0 else len(self.names)
        verdict = happen(self.now, self.rows.table, self.report, e, c, t, second)
        assert verdict != NO_ROW, "the run has learned all rows of its log"
        return int(self.report.asked[A_ROW])

    def keep(self, e: int, c: int, r: int) -> None:
        """Keep the event that has just happened as a step."""
        self.add(e << 12 | c << 8, copy_of(self.now), [r] if r >= 0 else [])


def story(host: Host, wrong: Wrong) -> tuple[list[Step], str]:
    """Return the steps that led to a wrong value, and where the policy decided wrongly; nothing in worlds with SVE."""
    if host.twin.features:
        return [], ""  # told for V only
    log, x = host.twin.log, wrong.context
    _, last_cpu, *_ = log[wrong.at]
    mine = [i for i in range(wrong.at) if log[i][2] in _USES and x == log[i][4 if log[i][2] == GUEST_FP else 3]]
    first = mine[-1] if mine else 0
    cpus = {last_cpu, log[first][1]}
    shown = {
        i
        for i in range(first, wrong.at + 1)
        if log[i][2] < min(Truth) and (log[i][1] in cpus or x in (log[i][3], log[i][4]))
    }
    teller = Teller(host)
    steps: list[Step] = []  # numbered by all that happened since, for now
    for i in range(wrong.at + 1):
        _, c, e, t, s = log[i]
        if e >= min(Truth):
            continue
        if i == first:
            teller.worlds = [copy_of(teller.now)]
        trap = int(trap_of(teller.now, e, c)) if e in _USES else 0
        for event in (trap, e) if trap else (e,):
            r = teller.happen(event, c, t, s)
            if i >= first:
                teller.keep(event, c, r)
                if i in shown:
                    steps.append(_step(teller, event, c, t, s))
    return _abridged(steps, blame(teller, x, WRONG_VALUE))


def _abridged(steps: list[Step], blame: str) -> tuple[list[Step], str]:
    """Leave out the middle of a long story, but no step that is to blame, and number what is left."""
    blamed = {int(number) for number in re.findall(r"step (\d+)", blame)}
    kept = [
        *steps[:4],
        *(s for s in steps[4 : 4 - SHOWN] if s.number in blamed),
        *steps[max(4, len(steps) + 4 - SHOWN) :],
    ]
    numbers = {s.number: k for k, s in enumerate(kept, 1)}
    told = [replace(s, number=k) for k, s in enumerate(kept, 1)]
    if not blamed <= set(numbers):
        return told, blame.partition(", ")[2]
    return told, re.sub(r"step (\d+)", lambda found: f"step {numbers[int(found[1])]}", blame)


def _step(teller: Teller, e: int, c: int, t: int, s: int) -> Step:
    """Return the step kept last in the form in which `check` tells it."""
    before, after = teller.worlds[-2:]
    who, other = teller.names[t], teller.names[s] if s >= 0 else ""
    seen = before if e in _USES else after  # a use is shown with what it reads
    cpus = range(teller.cpus)
    return Step(
        len(teller.moves),
        0,
        Event(e).name.lower(),
        c,
        who,
        other,
        [op for r in teller.used[-1] for op in operations(teller, r, who, other)],
        [registers(teller, seen, d) for d in cpus],
        [" ".join(fields(teller, after, "Cpu", d)) if d == c else "" for d in cpus],
        changes(teller, before, after),
        [teller.rows.where[r] for r in teller.used[-1]],
    )
