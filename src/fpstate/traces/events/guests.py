"""What lines mean for vCPUs: runs, loads and puts, guest entries and exits, and the guest's use of FP."""

from __future__ import annotations

from typing import Final

from fpstate.jit import inline
from fpstate.traces.events.known import (
    ANY_RUN,
    BINDS,
    BINDS_TRACED,
    DONE,
    EXITS,
    FIRST,
    GUEST,
    GUEST_RUNS,
    IN_GUEST,
    INSIDE,
    LEAVING,
    LOAD,
    LOADED,
    LOADS,
    MODE,
    NOT_LOADED,
    PENDING,
    PUT,
    RUN,
    SEEN,
    SYNCS,
    SYSCALLS,
    UNKNOWN_USE,
    USER,
    VCPU,
    Known,
    emit,
    first_seen,
    to_user,
    vcpu_of,
)
from fpstate.traces.events.known import KERNEL as IN_KERNEL
from fpstate.traces.lines import codes
from fpstate.world.events import Event, Truth

TRAP: Final = int(Truth.GUEST_FP_TRAP)
UNUSED, USED, NOT_SEEN = range(3)
"""What the lines say about FP use in a guest run."""


@inline
def load(m: Known, x: int) -> None:
    """Load the vCPU of thread `x`."""
    emit(m, Event.VCPU_LOAD, x, m.context[x, VCPU])
    m.context[x, LOAD] = LOADED
    m.context[x, FIRST] = 1


@inline
def put(m: Known, x: int) -> None:
    """Put the vCPU of thread `x`."""
    emit(m, Event.VCPU_PUT, x, m.context[x, VCPU])
    m.context[x, LOAD] = PUT


@inline
def begin_run(m: Known, x: int) -> None:
    """Begin KVM_RUN; loading waits for a line that shows it, since the vCPU's mutex may be held by another."""
    emit(m, Event.RUN_ENTER, x, vcpu_of(m, x))
    m.context[x, RUN] = 1
    m.context[x, USER] = 1
    m.context[x, LOAD] = NOT_LOADED


@inline
def saw_load(m: Known, x: int) -> None:
    """kvm_arch_vcpu_load: at once after a switch it says nothing new; outside KVM_RUN it is no load for a run.

    A vCPU that was put in its run and is loaded again (kvm_reset_vcpu) is in that run still.
    """
    m.facts[LOADS] = 1
    if not m.context[x, RUN] and m.context[x, LOAD] == DONE:
        begin_run(m, x)
    if m.context[x, RUN] and m.context[x, LOAD] != LOADED:
        load(m, x)


@inline
def leave_guest(m: Known, x: int, use: int) -> None:
    """End a guest run. FP use is certain the first time since a load; later the registers were still the guest's.

    What an emulator saw is always certain. It sees nothing of a run that an interrupt ended before the guest began.
    """
    if m.facts[GUEST_RUNS]:
        if m.context[x, SEEN] >= 2:
            use_seen = Event.GUEST_SVE if m.context[x, SEEN] == 3 else Event.GUEST_FP
            emit(m, use_seen, x, m.context[x, VCPU])
        m.context[x, SEEN] = 0
    elif use == USED and m.context[x, FIRST]:
        emit(m, Event.GUEST_FP, x, m.context[x, VCPU])
        m.context[x, FIRST] = 0
    elif use != UNUSED:
        emit(m, Event.GUEST_FP_MAYBE, x, m.context[x, VCPU])
        m.facts[UNKNOWN_USE] += use == NOT_SEEN
    emit(m, Event.GUEST_EXIT, x, m.context[x, VCPU])
    m.context[x, GUEST] = 0


@inline
def end_run(m: Known, x: int, was_loaded: bool) -> None:
    """End KVM_RUN; `was_loaded` says that it was loaded even if no line showed it."""
    if m.context[x, GUEST]:
        leave_guest(m, x, NOT_SEEN)
    if m.context[x, LOAD] == NOT_LOADED and was_loaded:
        load(m, x)
    if m.context[x, LOAD] == LOADED:
        put(m, x)
    emit(m, Event.RUN_EXIT, x, m.context[x, VCPU])
    m.context[x, RUN] = 0
    m.context[x, LOAD] = NOT_LOADED


@inline
def saw_put(m: Known, x: int) -> None:
    """kvm_arch_vcpu_put: after a switch it says nothing new; else the run ends here, said or not."""
    if m.context[x, RUN] and m.context[x, LOAD] == LOADED:
        end_run(m, x, True)
        m.context[x, LOAD] = DONE


@inline
def _was_running(m: Known, x: int) -> None:
    """Begin the run of a thread that was already in it, or whose system calls are not recorded."""
    if m.context[x, MODE] == PENDING:
        to_user(m, x)
    m.context[x, MODE] = IN_KERNEL
    if m.facts[SYSCALLS]:
        first_seen(m, x, INSIDE)
    begin_run(m, x)


@inline
def enter_guest(m: Known, x: int) -> None:
    """kvm_entry."""
    if not m.context[x, RUN]:
        _was_running(m, x)
    if m.context[x, GUEST]:
        leave_guest(m, x, NOT_SEEN)
    if m.context[x, LOAD] != LOADED:
        load(m, x)
    emit(m, Event.GUEST_ENTER, x, m.context[x, VCPU])
    m.facts[ANY_RUN] += 1
    m.context[x, GUEST] = 1


@inline
def guest_stopped(m: Known, c: int, x: int) -> None:
    """kvm_arch_vcpu_ctxsync_fp: the guest stopped; the next line on this CPU tells whether it used FP."""
    m.facts[SYNCS] = 1
    if not m.context[x, GUEST]:
        m.facts[IN_GUEST] += 1
        enter_guest(m, x)
    m.cpu[c, LEAVING] = x


@inline
def decide_use(m: Known, c: int, x: int, is_bind: bool) -> None:
    """Finish what `guest_stopped` began, by the line that follows."""
    left = m.cpu[c, LEAVING]
    m.cpu[c, LEAVING] = -1
    if not m.context[left, GUEST]:
        return
    if is_bind and left == x:
        leave_guest(m, left, USED)
    else:
        leave_guest(m, left, UNUSED if m.facts[BINDS] or m.facts[BINDS_TRACED] else NOT_SEEN)


@inline
def saw_guest(m: Known, x: int, used: int, traps: int) -> None:
    """guest_run: the guest of `x` has run and is about to stop."""
    if not m.context[x, GUEST]:
        m.facts[IN_GUEST] += 1
        enter_guest(m, x)
    m.context[x, SEEN] = 3 if used & codes.RUN_SVE else 2 if used else 1
    for _ in range(traps):
        emit(m, TRAP, x, -1)


@inline
def exit_guest(m: Known, x: int) -> None:
    """kvm_exit: it comes late where ctxsync is traced, and then says nothing new."""
    if not m.context[x, GUEST] and m.context[x, RUN] and m.facts[SYNCS]:
        return
    if not m.context[x, GUEST]:
        m.facts[IN_GUEST] += 1
        enter_guest(m, x)
    leave_guest(m, x, NOT_SEEN)


@inline
def leave_run(m: Known, x: int) -> None:
    """kvm_userspace_exit."""
    m.facts[EXITS] = 1
    if m.context[x, LOAD] == DONE:
        m.context[x, LOAD] = NOT_LOADED
        return
    if not m.context[x, RUN]:
        m.facts[IN_GUEST] += 1
        _was_running(m, x)
    end_run(m, x, True)
