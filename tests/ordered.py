"""Walk a trace as the checker would: event by event, asking the order itself what may happen, in a world of its size.

This knows nothing of the table that the importer goes by (`traces.events.rules`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare
from fpstate.paths import order
from fpstate.traces.trace import Kind, Trace
from fpstate.world import wide
from fpstate.world.events import MAYBE, N_EVENTS, Event
from fpstate.world.state import CURRENT, F_GUEST_SVE, F_SVE, FREE, IN_SYSCALL, MODE, Ints, World, new_world
from fpstate.world.table import H_COLUMNS, NOT_HANDLED, R_COLUMNS, Table

PUT_BY_SWITCH: Final = 99  # what `walk` takes a VCPU_PUT to be that a thread switch follows: it is part of the switch
_RET_MAYBE: Final = int(Event.RET_TO_USER_MAYBE)
_FP_MAYBE: Final = int(Event.USER_FP_MAYBE)
_IS_MAYBE: Final = sum(1 << e for e in MAYBE)
_CPU_EVENTS: Final = 1 << order.DOWN | 1 << order.UP
_NAMES_OTHER: Final = sum(1 << e for e in (order.SWITCH, order.FORK, order.PTRACE_WRITE, order.RUN_ENTER))


@bare
def walk(events: Ints, w: World, table: Table, bounds: order.Bounds, moves: Ints, maybe: bool) -> int:
    """Return the first row (see `_columns`) that the order does not allow, or the number of rows.

    `maybe`: events that only may have happened did; each such stay in user mode ends by a system call. And each use of
    SVE traps: the interrupt that follows it in a trace is that.
    """
    softirqs = 0  # bit for each CPU where one uses FP
    for i in range(len(events)):
        c, e, t, s = events[i, 0], events[i, 1], events[i, 2], events[i, 3]
        if e == PUT_BY_SWITCH or e == order.SVE_TRAPS:  # a trap that is served is part of the use that trapped
            continue
        if softirqs >> c & 1:
            if e != order.SOFTIRQ_END:
                return i
            softirqs ^= 1 << c
            continue
        if e < 64 and _IS_MAYBE >> e & 1:
            if not maybe or e != _RET_MAYBE:
                continue  # uses change nothing that the order knows
            e = order.RET
        if maybe and w.context[t, MODE] == order.USER and events[i, 4]:
            w.context[t, MODE] = order.KERNEL  # a stay that may have been has ended in a way that was not recorded
            w.context[t, IN_SYSCALL] = 1
        if maybe and events[i, 5]:
            continue  # the trap has entered the kernel
        named = s if _NAMES_OTHER >> e & 1 else 0
        wanted = e << 12 | c << 8 | named
        found = e == order.RUN_EXIT and w.context[t, MODE] == order.KERNEL  # PUT has done all
        for k in range(order.enabled_on(w, bounds, moves, 0, c)):
            found = found or moves[k] == wanted
        if not found or (not _CPU_EVENTS >> e & 1 and w.cpu[c, CURRENT] != t):
            return i
        if e == order.SWITCH:
            mode = w.context[t, MODE]
            w.context[t, MODE] = order.RUN_OUT if mode == order.RUN else FREE if mode == order.DYING else mode
            w.cpu[c, CURRENT] = s
        elif e == order.SOFTIRQ:
            softirqs |= 1 << c
        elif e != order.RUN_EXIT:
            order.set_out(w, e, c, t, s)
            if maybe and e == order.USER_SVE:
                w.context[t, MODE] = order.KERNEL
                w.context[t, IN_SYSCALL] = 0
            if not _CPU_EVENTS >> e & 1:
                wide.wide_before(w, e, t, s)
                order.arrive(w, table, bounds, e, t, s)
                if e == order.FORK:
                    w.context[s, IN_SYSCALL] = 1
    return len(events)


def first_not_allowed(trace: Trace, *, maybe: bool) -> int:
    """Return the row of a trace that no path of the checker's has there, -1 if the whole trace is one."""
    cpus = max(trace.header.cpus, int(trace.cpu.max(initial=0)) + 1, 2)
    kinds = trace.contexts.kind
    ranks = np.array([0, 2, 1, 3])[kinds]  # the order has idle threads, tasks, kernel threads, vCPUs
    place = np.empty(len(kinds), np.int64)
    spare = cpus - int((kinds == Kind.IDLE).sum())
    place[np.argsort(ranks, kind="stable")] = np.arange(len(kinds))
    place[kinds != Kind.IDLE] += spare
    total = len(kinds) + spare
    assert total < 256, "more contexts than a move can name"
    assert cpus <= 16, "more CPUs than a move can name"
    tasks, kthreads, vcpus = (int((kinds == kind).sum()) for kind in (Kind.USER, Kind.KTHREAD, Kind.VCPU))
    bounds = order.Bounds(
        cpus, tasks, kthreads, vcpus, events=(1 << 62) - 1, vcpu_mutex=True, preempt_neon=False,
        task_word=0, vcpu_word=0, foreign=0, tif_sve=0, timer=0, coin=0, falls=1,
    )  # fmt: skip
    w = new_world(cpus, np.arange(total) >= total - vcpus, (0, 0, 0), F_SVE | F_GUEST_SVE)
    order.start(w)
    rows = np.flatnonzero(trace.event < N_EVENTS)
    events = _columns(trace, rows, place)
    _begin(events, w, bounds)
    nothing = Table(
        np.full((2 * N_EVENTS, H_COLUMNS), NOT_HANDLED, np.int64), np.zeros(1, np.int32),
        np.zeros((1, R_COLUMNS), np.int64), np.zeros(1, np.int64),
    )  # fmt: skip
    stopped = walk(events, w, nothing, bounds, np.zeros(4096, np.int64), maybe)
    return -1 if stopped == len(events) else int(rows[stopped])


def _columns(trace: Trace, rows: NDArray[np.int64], place: NDArray[np.int64]) -> Ints:
    """Return six columns.

    CPU, event, subject, object; whether the last return of the subject is one that only may have been; and whether this
    is the interrupt after its use of SVE.
    """
    subject, obj = place[trace.subject[rows]], trace.object[rows]
    second = np.where(obj >= 0, place[obj], 0)
    events = np.stack([trace.cpu[rows], trace.event[rows], subject, second, *np.zeros((2, len(rows)))], 1).astype(
        np.int64
    )
    last: dict[int, tuple[int, int]] = {}  # by CPU: row and event
    perhaps: dict[int, bool] = {}
    by: dict[int, int] = {}  # by subject: event
    for i, (c, e, t) in enumerate(events[:, :3].tolist()):
        before = last.get(c)
        if e == Event.THREAD_SWITCH and before and before[1] == Event.VCPU_PUT:
            events[before[0], 1] = PUT_BY_SWITCH
        last[c] = i, e
        events[i, 4] = perhaps.get(t, False)
        events[i, 5] = e == Event.INTERRUPT and by.get(t) == Event.USER_SVE
        by[t] = e
        if e in (Event.RET_TO_USER, Event.RET_TO_USER_MAYBE):
            perhaps[t] = e == Event.RET_TO_USER_MAYBE
    return events


def _begin(events: Ints, w: World, bounds: order.Bounds) -> None:
    """Put on each CPU the thread of its first event; contexts that a fork makes do not exist yet."""
    for c in range(len(w.cpu)):
        here = np.flatnonzero((events[:, 0] == c) & ~np.isin(events[:, 1], (order.DOWN, order.UP)))
        if len(here):
            w.cpu[c, CURRENT] = events[here[0], 2]
    w.context[events[events[:, 1] == order.FORK, 3], MODE] = FREE
