"""What lines mean for vCPUs: runs, loads and puts, guest entries and exits, and the guest's use of FP."""

from __future__ import annotations

from fpstate.jit import bare, inline
from fpstate.traces.machine import (
    ANY_RUN,
    BINDS,
    BINDS_TRACED,
    EXITS,
    IN_GUEST,
    LOADED,
    NOT_LOADED,
    PENDING,
    PUT,
    SYNCS,
    UNKNOWN_USE,
    Machine,
    Rows,
    emit,
    new_context,
    to_user,
)
from fpstate.traces.machine import KERNEL as IN_KERNEL
from fpstate.traces.trace import Kind
from fpstate.world.events import Event

UNUSED, USED, NOT_SEEN = range(3)
"""What the lines say about FP use in a guest run."""


@inline
def load(m: Machine, out: Rows, x: int) -> None:
    """Load the vCPU of thread `x`."""
    emit(m, out, Event.VCPU_LOAD, x, m.vcpu[x])
    m.load[x] = LOADED
    m.first[x] = 1


@inline
def put(m: Machine, out: Rows, x: int) -> None:
    """Put the vCPU of thread `x`."""
    emit(m, out, Event.VCPU_PUT, x, m.vcpu[x])
    m.load[x] = PUT


@bare
def begin_run(m: Machine, out: Rows, x: int) -> None:
    """Begin KVM_RUN; loading waits for a line that shows it, since the vCPU's mutex may be held by another."""
    if m.vcpu[x] < 0:
        v = new_context(m, Kind.VCPU, m.tid[x])
        m.owner[v] = x
        m.vcpu[x] = v
    emit(m, out, Event.RUN_ENTER, x, m.vcpu[x])
    m.run[x] = 1
    m.user[x] = 1
    m.load[x] = NOT_LOADED


@inline
def leave_guest(m: Machine, out: Rows, x: int, use: int) -> None:
    """End a guest run. FP use is certain the first time since a load; later the registers were still the guest's."""
    if use == USED and m.first[x]:
        emit(m, out, Event.GUEST_FP, x, m.vcpu[x])
        m.first[x] = 0
    elif use != UNUSED:
        emit(m, out, Event.GUEST_FP_MAYBE, x, m.vcpu[x])
        m.facts[UNKNOWN_USE] += use == NOT_SEEN
    emit(m, out, Event.GUEST_EXIT, x, m.vcpu[x])
    m.guest[x] = 0


@bare
def end_run(m: Machine, out: Rows, x: int, was_loaded: bool) -> None:
    """End KVM_RUN; `was_loaded` says that it was loaded even if no line showed it."""
    if m.guest[x]:
        leave_guest(m, out, x, NOT_SEEN)
    if m.load[x] == NOT_LOADED and was_loaded:
        load(m, out, x)
    if m.load[x] == LOADED:
        put(m, out, x)
    emit(m, out, Event.RUN_EXIT, x, m.vcpu[x])
    m.run[x] = 0
    m.load[x] = NOT_LOADED


@bare
def _was_running(m: Machine, out: Rows, x: int) -> None:
    """Begin the run of a thread that was already in it, or whose system calls are not recorded."""
    if m.mode[x] == PENDING:
        to_user(m, out, x)
    m.mode[x] = IN_KERNEL
    begin_run(m, out, x)


@inline
def enter_guest(m: Machine, out: Rows, x: int) -> None:
    """kvm_entry."""
    if not m.run[x]:
        _was_running(m, out, x)
    if m.guest[x]:
        leave_guest(m, out, x, NOT_SEEN)
    if m.load[x] != LOADED:
        load(m, out, x)
    emit(m, out, Event.GUEST_ENTER, x, m.vcpu[x])
    m.facts[ANY_RUN] += 1
    m.guest[x] = 1


@inline
def guest_stopped(m: Machine, out: Rows, c: int, x: int) -> None:
    """kvm_arch_vcpu_ctxsync_fp: the guest stopped; the next line on this CPU tells whether it used FP."""
    m.facts[SYNCS] = 1
    if not m.guest[x]:
        m.facts[IN_GUEST] += 1
        enter_guest(m, out, x)
    m.leaving[c] = x


@inline
def decide_use(m: Machine, out: Rows, c: int, x: int, is_bind: bool) -> None:
    """Finish what `guest_stopped` began, by the line that follows."""
    left = m.leaving[c]
    m.leaving[c] = -1
    if not m.guest[left]:
        return
    if is_bind and left == x:
        leave_guest(m, out, left, USED)
    else:
        leave_guest(m, out, left, UNUSED if m.facts[BINDS] or m.facts[BINDS_TRACED] else NOT_SEEN)


@inline
def exit_guest(m: Machine, out: Rows, x: int) -> None:
    """kvm_exit: it comes late where ctxsync is traced, and then says nothing new."""
    if not m.guest[x] and m.run[x] and m.facts[SYNCS]:
        return
    if not m.guest[x]:
        m.facts[IN_GUEST] += 1
        enter_guest(m, out, x)
    leave_guest(m, out, x, NOT_SEEN)


@inline
def leave_run(m: Machine, out: Rows, x: int) -> None:
    """kvm_userspace_exit."""
    m.facts[EXITS] = 1
    if not m.run[x]:
        m.facts[IN_GUEST] += 1
        _was_running(m, out, x)
    end_run(m, out, x, True)
