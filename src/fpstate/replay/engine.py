"""Run the events of a trace through a policy's rows, counting operations and watching every value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, inline
from fpstate.rows import Rows, features_of
from fpstate.traces.trace import UNLESS_RELOADED, Kind, Trace
from fpstate.world import step as S
from fpstate.world import wide as W
from fpstate.world.events import MAYBE, Event
from fpstate.world.state import C_REGS, C_SIZE, World, new_world

_USER_FP: Final = int(Event.USER_FP)
_GUEST_FP: Final = int(Event.GUEST_FP)
_USER_SVE: Final = int(Event.USER_SVE)
_GUEST_SVE: Final = int(Event.GUEST_SVE)
_RET_TO_USER: Final = int(Event.RET_TO_USER)
_RET_MAYBE: Final = int(Event.RET_TO_USER_MAYBE)
_USER_MAYBE: Final = int(Event.USER_FP_MAYBE)
_GUEST_MAYBE: Final = int(Event.GUEST_FP_MAYBE)
_DOWN: Final = int(Event.CPU_DOWN)
_UP: Final = int(Event.CPU_UP)
_TRUTH: Final = 64

assert all(maybe - 1 == sure for maybe, sure in MAYBE.items()), "an uncertain event is its certain one plus 1"

# Where a replay stands, kept between calls of `replay_events`.
P_NEXT: Final = 0  # next event
P_WRONG: Final = 1  # how many things went wrong
P_FIRST: Final = 2  # event of the first, its verdict, and whose value was found instead
P_VERDICT: Final = 3
P_FOUND: Final = 4
P_SIZE: Final = 5


@inline
def reloads(
    w: World, handlers: S.Ints, index: S.Ints, table: S.Ints, c: int, t: int, cpus: int, n: int, asked: S.Counts
) -> bool:
    """Tell whether the policy would do anything to registers if thread `t` now returned to user mode on CPU `c`."""
    r = S.find_row(w, handlers, index, _RET_TO_USER, c, t, n, cpus, n, asked)
    return bool(r >= 0 and table[r, S.R_OPS] > 0)


@bare
def replay_events(
    event: NDArray[np.uint8],
    cpu: NDArray[np.uint16],
    subject: NDArray[np.int32],
    object_: NDArray[np.int32],
    maybe: bool,
    w: World,
    handlers: S.Ints,
    index: S.Ints,
    table: S.Ints,
    cpus: int,
    n: int,
    counts: S.Counts,
    asked: S.Counts,
    place: S.Counts,
    used: S.Ints,
    strict: bool,
) -> bool:
    """Replay from `place[P_NEXT]` on; return False when a row is needed, True at the end.

    `asked` gets what `step` puts there. `maybe` says whether what the recorder could not see happened. If `used` is not
    empty it gets, for each event, the row it used (-1: none). `strict`: a return to user mode before which a reload
    would have been recorded, and was not, did not happen if the policy would reload.
    """
    wide = handlers[0, S.H_FEATURES] != 0
    for i in range(place[P_NEXT], len(event)):
        e = int(event[i])
        if e >= _TRUTH:
            continue
        if e == _RET_MAYBE or e == _USER_MAYBE or e == _GUEST_MAYBE:
            if not maybe:
                continue
            e -= 1
        if e >= _USER_SVE and not wide:
            e = _USER_FP if e == _USER_SVE else _GUEST_FP if e == _GUEST_SVE else e
        if not wide and S.ignored(handlers, e):
            continue
        c = int(cpu[i])
        t = int(subject[i])
        s = int(object_[i])
        if s < 0:
            if (
                strict
                and s == UNLESS_RELOADED
                and e == _RET_TO_USER
                and reloads(w, handlers, index, table, c, t, cpus, n, asked)
            ):
                continue
            s = n
        regs = c * C_SIZE + C_REGS
        found = w[regs]
        if wide and W.USES >> e & 1:
            verdict = S.use_wide(w, handlers, index, table, e, c, t, s, cpus, n, counts, asked)
        elif e == _USER_FP or e == _GUEST_FP:
            verdict = S.use(w, handlers, index, table, e == _GUEST_FP, c, t, s, cpus, n, counts, asked)
        else:
            verdict = S.step(w, handlers, index, table, e, c, t, s, cpus, n, counts, asked, wide)
        if verdict == S.NO_ROW:
            place[P_NEXT] = i
            return False
        if verdict != S.OK:
            if place[P_WRONG] == 0:
                place[P_FIRST] = i
                place[P_VERDICT] = verdict
                place[P_FOUND] = found
            place[P_WRONG] += 1
        if len(used):
            used[i] = asked[2]
    place[P_NEXT] = len(event)
    return True


@dataclass
class Outcome:
    """What one replay found."""

    counts: NDArray[np.int64]  # by S.N_*
    wrong: int = 0  # how many reads, traps or frames went wrong
    first: int = -1  # index of the event at which the first did
    verdict: int = S.OK  # what went wrong there
    found: int = 0  # owner number of what was in the registers
    used: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))


def features_in(trace: Trace) -> frozenset[str]:
    """Return the features beside FPSIMD that a trace shows in use."""
    if (trace.event == Event.GUEST_SVE).any():
        return frozenset({"sve", "guest-sve"})
    return frozenset({"sve"} if (trace.event == Event.USER_SVE).any() else ())


def start_of(trace: Trace, rows: Rows) -> tuple[World, int]:
    """Return the world at the start of a trace and the number of its CPUs."""
    kinds = trace.contexts.kind
    cpus = max(trace.header.cpus, int(trace.cpu.max(initial=0)) + 1)
    world = new_world(cpus, kinds == Kind.VCPU, rows.fields.words, features_of(rows.policy))
    rows.clear_mm(world, cpus, (kinds == Kind.IDLE) | (kinds == Kind.KTHREAD))
    with_sve = np.zeros(len(kinds), bool)
    with_sve[trace.object[trace.event == Event.GUEST_SVE]] = True
    rows.without_sve(world, cpus, (kinds == Kind.VCPU) & ~with_sve)
    first = np.full(cpus, -1, np.int32)
    first_threads(trace.event, trace.cpu, trace.subject, first)
    for c, x in enumerate(first.tolist()):
        if x >= 0 and kinds[x] == Kind.USER:  # the registers may well be its own: nothing says that they are not
            world[c * C_SIZE + C_REGS : c * C_SIZE + C_REGS + 2] = x + 1, 1
    return world, cpus


@bare
def first_threads(
    event: NDArray[np.uint8], cpu: NDArray[np.uint16], subject: NDArray[np.int32], first: NDArray[np.int32]
) -> None:
    """Write the thread of each CPU's first event into `first`, which starts as -1: it ran there as the trace began."""
    missing = len(first)
    for i in range(len(event)):
        c = int(cpu[i])
        if first[c] < 0 and event[i] != _DOWN and event[i] != _UP:
            first[c] = subject[i]
            missing -= 1
            if missing == 0:
                return


def replay(trace: Trace, rows: Rows, *, maybe: bool, keep_rows: bool = False, strict: bool = False) -> Outcome:
    """Replay `trace` under the policy of `rows`, learning rows as they come up.

    `maybe`: whether uses the trace does not show are taken to have happened (the high figure) or not (the low one).
    `strict`: returns to user mode that would have left a trace of a reload, and have not, did not happen.
    `keep_rows`: also return the row each event used.
    """
    world, cpus = start_of(trace, rows)
    counts = np.zeros(S.N_COUNTS, np.int64)
    asked = np.zeros(4, np.int64)
    place = np.zeros(P_SIZE, np.int64)
    used = np.full(len(trace) if keep_rows else 0, -1, np.int32)
    while not replay_events(
        trace.event,
        trace.cpu,
        trace.subject,
        trace.object,
        maybe,
        world,
        rows.handlers,
        rows.index,
        rows.table,
        cpus,
        len(trace.contexts),
        counts,
        asked,
        place,
        used,
        strict,
    ):
        rows.learn(int(asked[0]), int(asked[1]))
    outcome = Outcome(counts, int(place[P_WRONG]), used=used)
    if outcome.wrong:
        outcome.first, outcome.verdict = int(place[P_FIRST]), int(place[P_VERDICT])
        outcome.found = int(place[P_FOUND])
    return outcome
