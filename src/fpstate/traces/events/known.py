"""What is known while a trace is read: about each CPU, each thread and vCPU; and the events found so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline
from fpstate.structs import Struct
from fpstate.traces.events.rules import AT_START, Rules, new_rules
from fpstate.traces.holes import HOLES
from fpstate.traces.lines import codes
from fpstate.traces.trace import UNLESS_RELOADED, Kind
from fpstate.world.events import Event

UNKNOWN, KERNEL, PENDING, OFF, SECTION_ONLY = range(5)
"""Modes of a thread: not known; in a system call; on its way to user mode or there (which is not seen yet);
switched out on its way to user mode or there; not known but for the section of kernel NEON that it is in."""

NOT_LOADED, LOADED, PUT, DONE = range(4)
"""States of a vCPU in a run: not loaded in this run yet, loaded, put by the preempt notifier, put at
the end of the run."""

(
    CONTEXTS, ROWS, TIME, ON, LINE, SYSCALLS, MARKS, SYNCS, BINDS, BINDS_TRACED, EXITS, IN_GUEST, PLAIN_NEON,
    X86, DOWN, ANY_RUN, UNKNOWN_USE, SIGNALS, QUICKEST, USER_RUNS, GUEST_RUNS,
    RELOADS, LOADS, UPDATES, STEPS, TAKEN, SAVES, TASK_LOADS, STORES, SECTIONS, THREADED,
) = range(31)  # fmt: skip
"""Places in `Known.facts`: contexts and event rows in use; time, CPU and line of the row at hand; whether system
calls, fpsimd_preserve_current_state, ctxsync and bind lines were seen, and whether bind lines would have been;
whether kvm_userspace_exit was seen; guests already running at the start; neon lines without flags; x86 numbers; CPUs
taken down whose death was not seen yet; guest runs; guest runs with FP use unknown; signals; shortest time from a
line with need-resched set to the switch it led to; whether an emulator saw each return to user mode, and each guest
run, with the use of FP there; whether reloads on the way to user mode are recorded, loads of vCPUs
(kvm_arch_vcpu_load), and what sigreturn does (fpsimd_update_current_state); rows of the path in use, and how many
were taken before; whether saves are recorded, and task_fpsimd_load; whether sigreturn gives up the
registers first (v6.16); whether sections of kernel NEON can be preempted, and those of softirqs too,
which threads serve (PREEMPT_RT)."""
FACTS = 31

GUESS = 10_000  # ns: what QUICKEST is before it was seen

(
    KIND, TID, OWNER, PARENT, NAME, USER, MODE, SINCE, RESCHED, CHILD, FLUSHED, VCPU, RUN, LOAD, GUEST, FIRST,
    SVE, SEEN, TRAP_ROW, RELOADED, DEAD, FIRST_SEEN, STATE, PLACE, ACTED, MAYBE_USER, INTERRUPTED,
    ALMOST, ALMOST_AT, BEGUN, BEGUN_AT, AGAIN, AGAIN_WITH, LEFT_SECTION, WENT_ON, ASKED_LENGTH,
) = range(36)  # fmt: skip
"""Columns of `Known.context`: IDLE, USER (any thread) or VCPU; thread id; owner; who forked it, or -1; number of its
comm, or -1; it did what only a user task does (1), or what only a kernel thread does (KTHREAD_FOR_SURE); one of the
modes; when it became PENDING; it became so on a line with need-resched set (1), or by being switched to (2); a fork
that began, or -1; EXEC was already seen for the exec under way; its vCPU, or -1; in KVM_RUN; NOT_LOADED, LOADED or
PUT; in the guest; guest FP use seen next is certain, since it did not own the registers; it trapped for SVE (2: and
was switched out since), and uses it as soon as it is back in user mode; what an emulator saw of the guest run under
way: 0 nothing yet, 1 no use of FP, 2 use, 3 use of SVE; where in the rows its last SVE trap is; since it became
PENDING its registers were reloaded; it is dead; the first thing seen of it was that it entered a system call
(ENTERED), or something else it did in the kernel (INSIDE), or nothing yet (0). The rest is of `path`: its state
there; the CPU it runs on, AWAY or NEVER; it has done something; a possible return to user mode was its last event;
the row of the path, from 1 and with those taken, where it last left user mode without a line of its own. (LEFT_SECTION
is of `path` too: it was preempted, or interrupted by a softirq's use of FP, in a section of kernel NEON.) Then where in
the rows, from 1, it was almost in user mode, less than 0 once it was switched out after it, and when that was; WENT_ON:
it is on its way there again since it was switched in; ASKED_LENGTH: the vector length it asked for last, in bytes, or
0. BEGUN and three more: where in the rows, from 1, is what the line of a function it called has brought, if that line
was its last, and when that was; such an event that happens only once it runs again, or 0, and its object."""
_CONTEXT_COLUMNS = 36

ENTERED, INSIDE = 1, 2
KTHREAD_FOR_SURE = 2
SEEN_THERE = 255
"""An event's number that is no event: its subject was seen to run on its CPU. It does not become part of a path."""
AWAY, NEVER = -1, -2
"""Places of a thread that runs nowhere: it is switched out, or was never met."""

CURRENT, PREVIOUS, SWITCHED, LEAVING, IDLE, DYING, HERE, IS_OFF, SECTION = range(9)
_CPU_COLUMNS = 9
"""Columns of `Known.cpu`: the context that runs, or -1; the one switched away from, while its lines may still come,
or -1; sched_switch seen since the last fpsimd_thread_switch; the context whose guest stopped (the next line tells if
it used FP), or -1; the context of its idle thread, or -1; 1 + the context that takes it down, while its death was not
seen, or 0. The rest is of `path`: the thread that runs there, or -1; it is down; 1 + the thread in whose time a softirq
uses FP now, or 0."""

ROOM = 24  # rows one line may add at most
STEP_ROOM = 64  # rows of the path one row may become at most
CONTEXT_ROOM = 6  # contexts one line, or one row on its way to the path, may add at most


class Rows(NamedTuple):
    """Columns of events, as in `Trace`."""

    time: NDArray[np.int64]
    cpu: NDArray[np.uint16]
    event: NDArray[np.uint8]
    subject: NDArray[np.int32]
    object: NDArray[np.int32]
    line: NDArray[np.uint32]


_ROW_TYPES = (np.int64, np.uint16, np.uint8, np.int32, np.int32, np.uint32)


@dataclass(frozen=True, eq=False)
class Known(Struct):
    """All state. Few arrays, all of one type: each array and type a function is handed costs compile time."""

    facts: NDArray[np.int64]
    by_tid: NDArray[np.int32]  # context of a thread id, -1 when not seen
    context: NDArray[np.int64]  # [context, column]
    cpu: NDArray[np.int64]  # [cpu, column]
    rows: NDArray[np.int64]  # [column of `Rows`, row]: the events found, which are no path yet
    steps: NDArray[np.int64]  # [column of `Rows`, row]: the path they make, not taken yet
    holes: NDArray[np.int64]  # [kind, HOW_OFTEN and FIRST_LINE]
    rules: Rules


def new_known(contexts: int = 4096, rows: int = 1 << 18) -> Known:
    """Return the state before the first line, with room for `contexts` contexts and `rows` events."""
    facts = np.zeros(FACTS, np.int64)
    facts[QUICKEST] = GUESS
    cpu = np.full((codes.MAX_CPU + 1, _CPU_COLUMNS), -1, np.int64)
    cpu[:, SWITCHED] = 1
    cpu[:, [DYING, IS_OFF, SECTION]] = 0
    return Known(
        facts,
        np.full(codes.MAX_TID + 1, -1, np.int32),
        np.zeros((contexts, _CONTEXT_COLUMNS), np.int64),
        cpu,
        np.empty((len(_ROW_TYPES), rows), np.int64),
        np.empty((len(_ROW_TYPES), 2 * rows), np.int64),
        np.zeros((len(HOLES), 2), np.int64),
        new_rules(),
    )


def with_room(m: Known) -> Known:
    """Return the state with room for more contexts, twice as many when it was nearly full."""
    if m.facts[CONTEXTS] + CONTEXT_ROOM <= len(m.context):
        return m
    return m.but(context=np.concatenate([m.context] * 2))


def take_steps(m: Known) -> Rows:
    """Return the path as far as it goes, and begin anew."""
    n = int(m.facts[STEPS])
    m.facts[STEPS] = 0
    m.facts[TAKEN] += n
    columns: list[Any] = [column[:n].astype(t) for column, t in zip(m.steps, _ROW_TYPES, strict=True)]
    return Rows(*columns)


@inline
def emit_on(m: Known, cpu: int, event: int, subject: int, obj: int) -> None:
    """Add an event on a CPU, at the time and line of the row at hand."""
    n = m.facts[ROWS]
    m.rows[0, n] = m.facts[TIME]
    m.rows[1, n] = cpu
    m.rows[2, n] = event
    m.rows[3, n] = subject
    m.rows[4, n] = obj
    m.rows[5, n] = m.facts[LINE]
    m.facts[ROWS] = n + 1


@inline
def emit(m: Known, event: int, subject: int, obj: int) -> None:
    """Add an event on the CPU of the row at hand."""
    emit_on(m, m.facts[ON], event, subject, obj)


@inline
def new_context(m: Known, kind: int, tid: int) -> int:
    """Return a new context that nothing is known about."""
    x = m.facts[CONTEXTS]
    m.facts[CONTEXTS] = x + 1
    m.context[x, :] = 0
    m.context[x, KIND] = kind
    m.context[x, TID] = tid
    for column in (OWNER, PARENT, NAME, CHILD, VCPU):
        m.context[x, column] = -1
    m.context[x, MODE] = UNKNOWN
    m.context[x, LOAD] = NOT_LOADED
    m.context[x, STATE] = AT_START
    m.context[x, PLACE] = NEVER
    return int(x)


@inline
def vcpu_of(m: Known, x: int) -> int:
    """Return the vCPU of thread `x`, a new one if it has none."""
    if m.context[x, VCPU] < 0:
        v = new_context(m, Kind.VCPU, m.context[x, TID])
        m.context[v, OWNER] = x
        m.context[x, VCPU] = v
    return int(m.context[x, VCPU])


@inline
def context_of(m: Known, tid: int, cpu: int) -> int:
    """Return the context of a thread id; thread 0 is the idle thread of the CPU."""
    if tid == 0:
        if m.cpu[cpu, IDLE] < 0:
            m.cpu[cpu, IDLE] = new_context(m, Kind.IDLE, 0)
        return int(m.cpu[cpu, IDLE])
    if m.by_tid[tid] < 0:
        m.by_tid[tid] = new_context(m, Kind.USER, tid)
    return int(m.by_tid[tid])


@inline
def first_seen(m: Known, x: int, doing: int) -> None:
    """Note what `x` was first seen to do."""
    if m.context[x, FIRST_SEEN] == 0:
        m.context[x, FIRST_SEEN] = doing


@inline
def to_user(m: Known, x: int) -> None:
    """Add the return of `x` to user mode, and its possible use of FP there, unless an emulator saw all returns.

    Where reloads are recorded and none was, the return happened only if no reload was due.
    """
    if m.facts[USER_RUNS]:
        return
    unseen = m.facts[RELOADS] and not m.context[x, RELOADED]
    emit(m, Event.RET_TO_USER, x, UNLESS_RELOADED if unseen else -1)
    if m.context[x, SVE]:
        m.context[x, SVE] = 0
        emit(m, Event.USER_SVE, x, -1)
    emit(m, Event.USER_FP_MAYBE, x, -1)


@inline
def make_pending(m: Known, x: int, resched: int) -> None:
    """Note that `x` is now on its way to user mode; `resched` as in `Known`."""
    if m.facts[SYSCALLS]:
        m.context[x, MODE] = PENDING
        m.context[x, SINCE] = m.facts[TIME]
        m.context[x, RESCHED] = resched
        m.context[x, RELOADED] = 0
