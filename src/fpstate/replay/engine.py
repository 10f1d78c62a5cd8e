"""Run the events of a trace through a policy's rows, counting operations and watching every value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, inline
from fpstate.policies.base import Policy
from fpstate.rows.fields import features_of
from fpstate.rows.learn import Rows
from fpstate.structs import Struct
from fpstate.traces.trace import IF_PREEMPTIBLE, UNLESS_PREEMPTIBLE, UNLESS_RELOADED, Kind, Trace
from fpstate.world import step as plain
from fpstate.world import wide
from fpstate.world.events import MAYBE, N_EVENTS, Event, Truth
from fpstate.world.operations import N_COUNTS
from fpstate.world.state import F_GUEST_SVE, F_SVE, IS_VCPU, LATEST, REGISTERS, WORD, Ints, World, new_world
from fpstate.world.table import A_EVENT, A_KEY, A_ROW, R_OPS, Report, Table, find_row, new_report
from fpstate.world.verdicts import NO_ROW, OK

_USER_FP: Final = int(Event.USER_FP)
_GUEST_FP: Final = int(Event.GUEST_FP)
_USER_SVE: Final = int(Event.USER_SVE)
_GUEST_SVE: Final = int(Event.GUEST_SVE)
_SVE_TRAP: Final = int(Event.SVE_TRAP)
_RET_TO_USER: Final = int(Event.RET_TO_USER)
_DOWN: Final = int(Event.CPU_DOWN)
_UP: Final = int(Event.CPU_UP)
_CHUNK: Final = 1 << 16  # events looked at together
_UNLESS_RELOADED: Final = int(UNLESS_RELOADED)
_UNLESS_PREEMPTIBLE: Final = int(UNLESS_PREEMPTIBLE)
_IF_PREEMPTIBLE: Final = int(IF_PREEMPTIBLE)

# What `Replay.place` holds: where a replay stands, kept between calls of the loop.
P_NEXT: Final = 0  # next event
P_WRONG: Final = 1  # how many things went wrong
P_FIRST: Final = 2  # event of the first, its verdict, and the label of what was in the registers
P_VERDICT: Final = 3
P_FOUND: Final = 4
P_SIZE: Final = 5

NONE: Final = -1


@dataclass(frozen=True, eq=False)
class Replay(Struct):
    """A trace on its way through the engine. The columns are those of `Trace`, one entry for each event."""

    event: NDArray[np.uint8]
    cpu: NDArray[np.uint16]
    subject: NDArray[np.int32]
    object: NDArray[np.int32]
    taken_as: NDArray[np.int8]  # [event] what each number in `event` is taken to be, NONE: nothing that happened
    preemptible: int  # 1: sections of kernel NEON can be preempted, and softirqs use it inside them
    strict: int  # 1: a return to user mode that would have left a trace of a reload, and has not, did not happen
    place: Ints  # [P_*]
    used: NDArray[np.int32]  # gets the row each event used, -1 none; empty if nobody asks
    held: Ints  # gets the label of what the CPU's registers hold after each event; this and the next the same
    done: NDArray[np.uint8]  # [event, N_*] gets the operations carried out at each event
    before: Ints  # [N_*] operations carried out before the event at hand
    time: Ints  # [event] nanoseconds; empty if the policy has no timer
    timer: int  # the bit of a task's word that the clock sets, 0 if there is none
    timeout: int  # nanoseconds after which it does


@inline
def second_at(events: Replay, i: int, w: World, table: Table, report: Report) -> int:
    """Return the second participant at row `i`, the number of contexts for nobody, or NONE: it did not happen."""
    s = int(events.object[i])
    if s >= 0:
        return s
    n = len(w.context) - 1
    if s == (_UNLESS_PREEMPTIBLE if events.preemptible else _IF_PREEMPTIBLE):
        return NONE
    if events.strict and s == _UNLESS_RELOADED and events.event[i] == _RET_TO_USER:
        r = find_row(w, table, report, _RET_TO_USER, int(events.cpu[i]), int(events.subject[i]), n)
        if r >= 0 and table.rows[r, R_OPS] > 0:
            return NONE
    return n


@inline
def look_at_clock(events: Replay, w: World, report: Report, x: int) -> None:
    """Set the bit of thread `x` if its timer is over by now."""
    over = report.clock[0] - report.clock[1 + x] > events.timeout
    if over and x < len(w.context) - 1 and not w.context[x, IS_VCPU]:
        w.context[x, WORD] |= events.timer


@inline
def let_time_pass(events: Replay, i: int, w: World, report: Report, t: int, s: int) -> None:
    """Let it be the time of the event at row `i`, for the threads in view."""
    report.clock[0] = events.time[i]
    look_at_clock(events, w, report, t)
    look_at_clock(events, w, report, s)


@inline
def note(events: Replay, i: int, w: World, report: Report, verdict: int, found: int) -> None:
    """Write down what came of the event at row `i`."""
    if verdict != OK:
        if events.place[P_WRONG] == 0:
            events.place[P_FIRST] = i
            events.place[P_VERDICT] = verdict
            events.place[P_FOUND] = found
        events.place[P_WRONG] += 1
    if len(events.used):
        events.used[i] = report.asked[A_ROW]
    if len(events.held):
        events.held[i] = w.cpu[int(events.cpu[i]), REGISTERS]
        for k in range(N_COUNTS):
            events.done[i, k] = report.counts[k] - events.before[k]
            events.before[k] = report.counts[k]


@bare
def replay_plain(events: Replay, w: World, table: Table, report: Report) -> bool:
    """Replay from `place[P_NEXT]` on, where there is V alone; return False when a row is needed, True at the end."""
    for i in range(events.place[P_NEXT], len(events.event)):
        e = int(events.taken_as[events.event[i]])
        if e == NONE:
            continue
        c, t = int(events.cpu[i]), int(events.subject[i])
        s = second_at(events, i, w, table, report)
        if s == NONE:
            continue
        found = w.cpu[c, REGISTERS]
        if events.timer:
            let_time_pass(events, i, w, report, t, s)
        verdict = plain.happen(w, table, report, e, c, t, s)
        if verdict == NO_ROW:
            events.place[P_NEXT] = i
            return False
        note(events, i, w, report, verdict, found)
    return True


@bare
def replay_wide(events: Replay, w: World, table: Table, report: Report) -> bool:
    """Do the same in a world of any features."""
    for i in range(events.place[P_NEXT], len(events.event)):
        e = int(events.taken_as[events.event[i]])
        if e == NONE:
            continue
        c, t = int(events.cpu[i]), int(events.subject[i])
        s = second_at(events, i, w, table, report)
        if s == NONE:
            continue
        found = w.cpu[c, REGISTERS]
        if events.timer:
            let_time_pass(events, i, w, report, t, s)
        if wide.USES >> e & 1:
            verdict = wide.use(w, table, report, e, c, t, s)
        else:
            verdict = wide.step(w, table, report, e, c, t, s)
        if verdict == NO_ROW:
            events.place[P_NEXT] = i
            return False
        note(events, i, w, report, verdict, found)
    return True


@dataclass
class Outcome:
    """What one replay found."""

    counts: Ints  # [N_*]
    wrong: int = 0  # how many reads, traps or frames went wrong
    first: int = -1  # index of the event at which the first did
    verdict: int = OK  # what went wrong there
    found: int = 0  # label of what was in the registers
    used: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))  # [event] -1: none; with keep_rows
    held: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # [event] NONE: not happened; with keep_done
    done: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, N_COUNTS), np.uint8))  # [event, N_*]


def features_in(trace: Trace) -> frozenset[str]:
    """Return the features beside FPSIMD that a trace shows in use."""
    if with_sve(trace).any():
        return frozenset({"sve", "guest-sve"})
    return frozenset({"sve"} if (trace.event == Event.USER_SVE).any() else ())


def features_for(policy: type[Policy], trace: Trace) -> frozenset[str]:
    """Return the features of a trace's world that a policy knows: those in use, and a host below its hypervisor."""
    mode = frozenset({"nvhe"} if trace.header.mode in ("nvhe", "hvhe") else ())
    return (features_in(trace) | mode) & policy.supports


def start_of(trace: Trace, rows: Rows) -> World:
    """Return the world at the start of a trace."""
    kinds = trace.contexts.kind
    cpus = max(trace.header.cpus, int(trace.cpu.max(initial=0)) + 1)
    world = new_world(
        cpus, kinds == Kind.VCPU, rows.fields.words, features_of(rows.policy), dirty=rows.policy.dirty_bit
    )
    rows.clear_mm(world, (kinds == Kind.IDLE) | (kinds == Kind.KTHREAD))
    rows.without_sve(world, (kinds == Kind.VCPU) & ~with_sve(trace))
    for c, x in enumerate(first_threads(trace, cpus).tolist()):
        if x >= 0 and kinds[x] == Kind.USER:  # the registers may well be its own: nothing says that they are not
            world.cpu[c, REGISTERS] = world.context[x, LATEST]
    return world


def with_sve(trace: Trace) -> NDArray[np.bool_]:
    """Return which contexts are vCPUs that have SVE: they used it, or the kernel saved it as it put them.

    Having given up a vCPU, a thread has no registers of its own to save until it is back in user mode, or loads one.
    """
    found = np.zeros(len(trace.contexts.kind), bool)
    found[trace.object[trace.event == Event.GUEST_SVE]] = True
    saves = trace.event == Truth.HW_SVE_SAVE
    if saves.any():
        at = np.flatnonzero(saves | np.isin(trace.event, (Event.VCPU_PUT, Event.VCPU_LOAD, Event.RET_TO_USER)))
        at = at[np.argsort(trace.subject[at], kind="stable")]
        before = np.maximum.accumulate(np.where(saves[at], 0, np.arange(len(at))))  # of those, the last that is no save
        of, put = at[saves[at]], at[before[saves[at]]]
        gave_up = (trace.event[put] == Event.VCPU_PUT) & (trace.subject[put] == trace.subject[of])
        found[trace.object[put[gave_up]]] = True
    return found


def first_threads(trace: Trace, cpus: int) -> NDArray[np.int32]:
    """Return the thread of each CPU's first event, which ran there as the trace began; -1 where nothing happens."""
    first = np.full(cpus, NONE, np.int32)
    for start in range(0, len(trace), _CHUNK):
        part = slice(start, start + _CHUNK)
        event = trace.event[part]
        here = np.flatnonzero((event < N_EVENTS) & (event != _DOWN) & (event != _UP))
        cpu, subject = trace.cpu[part][here], trace.subject[part][here]
        for c in np.flatnonzero((np.bincount(cpu, minlength=cpus) > 0) & (first == NONE)).tolist():
            first[c] = subject[np.argmax(cpu == c)]
        if (first != NONE).all():
            break
    return first


def meanings(rows: Rows, *, maybe: bool, strict: bool = False) -> NDArray[np.int8]:
    """Return what each number that may stand for an event is taken to be, NONE for nothing.

    That is ground truth, what happened only `maybe`, and in a world with V alone what changes nothing there. A trap
    that the recorded kernel has served is no event but for a `strict` replay: others trap when they have armed it.
    """
    taken_as = np.full(256, NONE, np.int8)
    taken_as[:N_EVENTS] = np.arange(N_EVENTS)
    features = features_of(rows.policy)
    if not features & F_GUEST_SVE:  # its vCPUs have no SVE: their uses of it count as those of V
        taken_as[_GUEST_SVE] = _GUEST_FP
    if not features:
        taken_as[_USER_SVE] = _USER_FP
        for e in range(N_EVENTS):
            if plain.ignored(rows.table, int(taken_as[e])):
                taken_as[e] = NONE
    if not strict or not features & F_SVE:
        taken_as[_SVE_TRAP] = NONE
    for unsure, sure in MAYBE.items():
        taken_as[unsure] = taken_as[sure] if maybe else NONE
    return taken_as


def replay(
    trace: Trace, rows: Rows, *, maybe: bool, keep_rows: bool = False, keep_done: bool = False, strict: bool = False
) -> Outcome:
    """Replay `trace` under the policy of `rows`, learning rows as they come up.

    `maybe`: whether uses the trace does not show are taken to have happened (the high figure) or not (the low one).
    `strict`: returns to user mode that would have left a trace of a reload, and have not, did not happen.
    `keep_rows`: also return the row each event used.
    `keep_done`: also return what each event left in its CPU's registers, and what was carried out at it.
    """
    world = start_of(trace, rows)
    timer = rows.fields.timer
    report = new_report(N_COUNTS, len(world.context) if timer else 0)
    place = np.zeros(P_SIZE, np.int64)
    used = np.full(len(trace) if keep_rows else 0, NONE, np.int32)
    held = np.full(len(trace) if keep_done else 0, NONE, np.int64)
    done = np.zeros((len(held), N_COUNTS), np.uint8)
    events = Replay(
        trace.event,
        trace.cpu,
        trace.subject,
        trace.object,
        meanings(rows, maybe=maybe, strict=strict),
        rows.policy.preemptible_neon,
        strict,
        place,
        used,
        held,
        done,
        np.zeros(N_COUNTS, np.int64),
        trace.time if timer else np.empty(0, np.int64),
        timer,
        round(rows.policy.timeout * 1e9),
    )
    loop = replay_wide if world.features else replay_plain
    while not loop(events, world, rows.table, report):
        rows.learn(int(report.asked[A_EVENT]), int(report.asked[A_KEY]))
    outcome = Outcome(report.counts, int(place[P_WRONG]), used=used, held=held, done=done)
    if outcome.wrong:
        outcome.first, outcome.verdict = int(place[P_FIRST]), int(place[P_VERDICT])
        outcome.found = int(place[P_FOUND])
    return outcome
