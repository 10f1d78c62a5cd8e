"""What is known while a trace is read: about each CPU, each thread and vCPU; and the events found so far."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline
from fpstate.traces import codes
from fpstate.traces.trace import Kind
from fpstate.world.events import Event

UNKNOWN, KERNEL, PENDING, OFF = range(4)
"""Modes of a thread: not known; in a system call; on its way to user mode or there (which is not seen yet);
switched out on its way to user mode or there."""

NOT_LOADED, LOADED, PUT = range(3)
"""States of a vCPU in a run: not loaded in this run yet, loaded, put by the preempt notifier."""

(
    CONTEXTS, ROWS, TIME, ON, LINE, MISSED, SYSCALLS, MARKS, SYNCS, BINDS, BINDS_TRACED, EXITS, IN_GUEST, PLAIN_NEON,
    X86, DOWN, ANY_RUN, UNKNOWN_USE, SIGNALS, QUICKEST,
) = range(20)  # fmt: skip
"""Places in `Machine.facts`: contexts and event rows in use; time, CPU and line of the row at hand; switches that
were not in the trace; whether system calls, fpsimd_preserve_current_state, ctxsync and bind lines were seen, and
whether bind lines would have been; whether kvm_userspace_exit was seen; guests already running at the start;
neon lines without flags; x86 numbers; CPUs taken down whose death was not seen yet; guest runs; guest runs with FP
use unknown; signals; shortest time from a line with need-resched set to the switch it led to."""
FACTS = 20

GUESS = 10_000  # ns: what QUICKEST is before it was seen

ROOM = 16  # rows one line may add at most
CONTEXT_ROOM = 4  # contexts one line may add at most
_CPUS = codes.MAX_CPU + 1


class Rows(NamedTuple):
    """Columns of events, as in `Trace`."""

    time: NDArray[np.int64]
    cpu: NDArray[np.uint16]
    event: NDArray[np.uint8]
    subject: NDArray[np.int32]
    object: NDArray[np.int32]
    line: NDArray[np.uint32]


class Machine(NamedTuple):
    """All state as arrays: by thread id, by context, by CPU."""

    facts: NDArray[np.int64]
    by_tid: NDArray[np.int32]  # context of a thread id, -1 when not seen
    # by context
    kind: NDArray[np.uint8]  # IDLE, USER (any thread) or VCPU
    tid: NDArray[np.int32]
    owner: NDArray[np.int32]
    parent: NDArray[np.int32]  # who forked it, or -1
    name: NDArray[np.int32]  # number of its comm, or -1
    user: NDArray[np.uint8]  # it did what only a user task does
    mode: NDArray[np.uint8]
    since: NDArray[np.int64]  # when it became PENDING
    resched: NDArray[np.uint8]  # it became so on a line with need-resched set (1), or by being switched to (2)
    child: NDArray[np.int32]  # a fork that began, or -1
    flushed: NDArray[np.uint8]  # EXEC was already seen for the exec under way
    vcpu: NDArray[np.int32]
    run: NDArray[np.uint8]  # in KVM_RUN
    load: NDArray[np.uint8]  # NOT_LOADED, LOADED or PUT
    guest: NDArray[np.uint8]  # in the guest
    first: NDArray[np.uint8]  # guest FP use seen next is certain: it did not own the registers
    # by CPU
    current: NDArray[np.int32]  # context that runs, or -1
    previous: NDArray[np.int32]  # the one switched away from, while its lines may still come
    switched: NDArray[np.uint8]  # sched_switch seen since the last fpsimd_thread_switch
    leaving: NDArray[np.int32]  # context whose guest stopped; the next line tells if it used FP
    idle: NDArray[np.int32]  # context of its idle thread, or -1
    down: NDArray[np.int32]  # 1 + the context that takes it down, while its death was not seen


_BY_CONTEXT = [
    "kind", "tid", "owner", "parent", "name", "user", "mode", "since", "resched",
    "child", "flushed", "vcpu", "run", "load", "guest", "first",
]  # fmt: skip
_TYPES = {"since": np.int64} | dict.fromkeys(["tid", "owner", "parent", "name", "child", "vcpu"], np.int32)


def new_rows(rows: int) -> Rows:
    """Return event columns with room for `rows` rows."""
    types = (np.int64, np.uint16, np.uint8, np.int32, np.int32, np.uint32)
    columns: list[Any] = [np.empty(rows, t) for t in types]
    return Rows(*columns)


def new_machine(contexts: int = 4096) -> Machine:
    """Return the state before the first line, with room for `contexts` contexts."""
    by_context: dict[str, Any] = {name: np.zeros(contexts, _TYPES.get(name, np.uint8)) for name in _BY_CONTEXT}
    return Machine(
        facts=_first_facts(),
        by_tid=np.full(codes.MAX_TID + 1, -1, np.int32),
        current=np.full(_CPUS, -1, np.int32),
        previous=np.full(_CPUS, -1, np.int32),
        switched=np.ones(_CPUS, np.uint8),
        leaving=np.full(_CPUS, -1, np.int32),
        idle=np.full(_CPUS, -1, np.int32),
        down=np.zeros(_CPUS, np.int32),
        **by_context,
    )


def _first_facts() -> NDArray[np.int64]:
    facts = np.zeros(FACTS, np.int64)
    facts[QUICKEST] = GUESS
    return facts


def with_room(m: Machine) -> Machine:
    """Return the state with room for more contexts, twice as many when it was nearly full."""
    size = len(m.tid)
    if m.facts[CONTEXTS] + CONTEXT_ROOM <= size:
        return m
    return m._replace(**{name: np.concatenate([getattr(m, name)] * 2) for name in _BY_CONTEXT})


@inline
def emit_on(m: Machine, out: Rows, cpu: int, event: int, subject: int, obj: int) -> None:
    """Add an event on a CPU, at the time and line of the row at hand."""
    n = m.facts[ROWS]
    out.time[n] = m.facts[TIME]
    out.cpu[n] = cpu
    out.event[n] = event
    out.subject[n] = subject
    out.object[n] = obj
    out.line[n] = m.facts[LINE]
    m.facts[ROWS] = n + 1


@inline
def emit(m: Machine, out: Rows, event: int, subject: int, obj: int) -> None:
    """Add an event on the CPU of the row at hand."""
    emit_on(m, out, m.facts[ON], event, subject, obj)


@inline
def new_context(m: Machine, kind: int, tid: int) -> int:
    """Return a new context that nothing is known about."""
    x = m.facts[CONTEXTS]
    m.facts[CONTEXTS] = x + 1
    m.kind[x] = kind
    m.tid[x] = tid
    m.owner[x] = m.parent[x] = m.name[x] = m.child[x] = m.vcpu[x] = -1
    m.user[x] = m.resched[x] = m.flushed[x] = m.run[x] = m.guest[x] = m.first[x] = 0
    m.mode[x] = UNKNOWN
    m.load[x] = NOT_LOADED
    m.since[x] = 0
    return int(x)


@inline
def context_of(m: Machine, tid: int, cpu: int) -> int:
    """Return the context of a thread id; thread 0 is the idle thread of the CPU."""
    if tid == 0:
        if m.idle[cpu] < 0:
            m.idle[cpu] = new_context(m, Kind.IDLE, 0)
        return int(m.idle[cpu])
    if m.by_tid[tid] < 0:
        m.by_tid[tid] = new_context(m, Kind.USER, tid)
    return int(m.by_tid[tid])


@inline
def to_user(m: Machine, out: Rows, x: int) -> None:
    """Add the return of `x` to user mode, and its possible use of FP there."""
    emit(m, out, Event.RET_TO_USER, x, -1)
    emit(m, out, Event.USER_FP_MAYBE, x, -1)


@inline
def make_pending(m: Machine, x: int, resched: int) -> None:
    """Note that `x` is now on its way to user mode; `resched` as in `Machine`."""
    if m.facts[SYSCALLS]:
        m.mode[x] = PENDING
        m.since[x] = m.facts[TIME]
        m.resched[x] = resched
