"""Which event may follow which: threads, the scheduler, the KVM run loop, hotplug, life and death of contexts.

A move is an event with its CPU, second participant and coin, as one number. `enabled` lists the moves of a world in a
fixed order; `make_move` carries one out. Facts of Linux that are in here: kvm_sched_out runs vcpu_put before the thread
switch, in one go with it (interrupts are off); kvm_sched_in runs vcpu_load after it, and softirqs may come between;
softirqs and kernel NEON may come between guest runs; a thread in KVM_RUN can be preempted there; signals, exec, fork
and exit need the thread outside KVM_RUN; hotplug and PM find the CPU idle.

The contexts of a world lie in this order: one idle thread per CPU, tasks, kernel threads, vCPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fpstate.jit import inline
from fpstate.structs import Struct
from fpstate.world import events as world_events
from fpstate.world import wide
from fpstate.world.events import N_EVENTS, Event
from fpstate.world.operations import set_fields
from fpstate.world.state import (
    BIRTH,
    CURRENT,
    F_AARCH32,
    F_GUEST_SME,
    F_GUEST_SVE,
    F_SME,
    F_SVE,
    FRAME,
    FREE,
    IMAGE,
    IN_SYSCALL,
    INITIAL,
    IS_VCPU,
    KERNEL_IMAGE,
    KERNEL_LATEST,
    LATEST,
    MODE,
    OFF,
    PLAIN,
    POINT,
    POINTER,
    RUNS,
    SECOND,
    SVCR,
    VERSION,
    WORD,
    Ints,
    V,
    World,
    kernel_of,
    latest_label,
)
from fpstate.world.step import MIND_AFTER, MIND_BEFORE, after_row, before_row, copy_of_parent, touch
from fpstate.world.table import (
    A_FIRST,
    A_POINT,
    A_TRAPPED,
    A_USED,
    H_BASE,
    NO_HANDLER,
    NOT_HANDLED,
    NOT_LEARNED,
    R_NEXT,
    Report,
    Table,
    find_row,
)
from fpstate.world.verdicts import NO_ROW, OK, TRAP_NOT_SERVED, TRAPS_AGAIN, WRONG_MODE

# What a thread is doing (MODE). FREE (6) is in world.state.
KERNEL: Final = 0  # in the kernel, running or not
USER: Final = 1
RUN_OUT: Final = 2  # in KVM_RUN, its vCPU not loaded
RUN: Final = 3  # in KVM_RUN, vCPU loaded, between guest runs
GUEST: Final = 4
DYING: Final = 5  # has exited, not switched away yet
NEON: Final = 7  # in the kernel, in a kernel NEON section
RUN_NEON: Final = 8  # the same between guest runs
RUN_OUT_NEON: Final = 9  # the same, preempted in it: the vCPU is not loaded
RUN_OVER: Final = 10  # KVM_RUN has put the vCPU and has not returned; only where policies handle its end
OFFERED: Final = 11  # in a system call, its identity in user mode waiting for a worker to take it over
WORKER: Final = 12  # in the kernel, without such an identity

RESUME: Final = N_EVENTS  # a move that is no event: an interrupted handler goes on
EXPIRE: Final = int(Event.NONE)  # another: nothing happens but that a task's timer is over

SWITCH: Final = int(Event.THREAD_SWITCH)
RET: Final = int(Event.RET_TO_USER)
USER_FP: Final = int(Event.USER_FP)
SYSCALL: Final = int(Event.SYSCALL)
RUN_ENTER: Final = int(Event.RUN_ENTER)
LOAD: Final = int(Event.VCPU_LOAD)
ENTER: Final = int(Event.GUEST_ENTER)
GUEST_FP: Final = int(Event.GUEST_FP)
EXIT_GUEST: Final = int(Event.GUEST_EXIT)
PUT: Final = int(Event.VCPU_PUT)
RUN_EXIT: Final = int(Event.RUN_EXIT)
NEON_BEGIN: Final = int(Event.KERNEL_NEON_BEGIN)
NEON_END: Final = int(Event.KERNEL_NEON_END)
SOFTIRQ: Final = int(Event.SOFTIRQ_NEON_BEGIN)
SOFTIRQ_END: Final = int(Event.SOFTIRQ_NEON_END)
FORK: Final = int(Event.FORK)
EXEC: Final = int(Event.EXEC)
EXIT: Final = int(Event.EXIT)
SIGNAL: Final = int(Event.SIGNAL)
SIGRETURN: Final = int(Event.SIGRETURN)
PTRACE_WRITE: Final = int(Event.PTRACE_WRITE)
SETREG: Final = int(Event.VCPU_SETREG)
RESET: Final = int(Event.VCPU_RESET)
FREE_VCPU: Final = int(Event.VCPU_FREE)
DOWN: Final = int(Event.CPU_DOWN)
UP: Final = int(Event.CPU_UP)
PM_ENTER: Final = int(Event.CPU_PM_ENTER)
PM_EXIT: Final = int(Event.CPU_PM_EXIT)
USER_TRAPS: Final = int(Event.USER_FP_TRAP)
GUEST_TRAPS: Final = int(Event.GUEST_FP_TRAP)

USER_SVE: Final = int(Event.USER_SVE)
GUEST_SVE: Final = int(Event.GUEST_SVE)
GUEST_SVCR: Final = int(Event.GUEST_SVCR)
INTERRUPT: Final = int(Event.INTERRUPT)
VL_CHANGE: Final = int(Event.VL_CHANGE)
SIGRETURN_SVE: Final = int(Event.SIGRETURN_SVE)
SIGRETURN_ZA: Final = int(Event.SIGRETURN_ZA)
PTRACE_SVE: Final = int(Event.PTRACE_SVE)
PTRACE_STREAMING: Final = int(Event.PTRACE_STREAMING)
PTRACE_ZA: Final = int(Event.PTRACE_ZA)
SMCCC: Final = int(Event.SMCCC)
EFI: Final = int(Event.EFI_BEGIN)
EFI_END: Final = int(Event.EFI_END)
SMSTART: Final = int(Event.USER_SMSTART)
SMSTOP: Final = int(Event.USER_SMSTOP)
USER_ZA: Final = int(Event.USER_ZA)
SVE_TRAPS: Final = int(Event.SVE_TRAP)
SME_TRAPS: Final = int(Event.SME_TRAP)
GUEST_SVE_TRAPS: Final = int(Event.GUEST_SVE_TRAP)

PTRACE_READ: Final = int(Event.PTRACE_READ)
PTRACE_VL: Final = int(Event.PTRACE_VL)
GETREG: Final = int(Event.VCPU_GETREG)
UNBIND: Final = int(Event.VCPU_UNBIND)
GUEST_CONTROL: Final = int(Event.GUEST_CONTROL)
IPI: Final = int(Event.IPI)
NESTED_SWITCH: Final = int(Event.NESTED_SWITCH)
PREPARE: Final = int(Event.HANDOFF_PREPARE)
TAKE_OVER: Final = int(Event.HANDOFF_FINISH)

WIDE_MOVES: Final = {
    F_SVE: (USER_SVE, INTERRUPT, VL_CHANGE, SIGRETURN_SVE, PTRACE_SVE, SMCCC, EFI, PTRACE_VL),
    F_GUEST_SVE: (GUEST_SVE,),
    F_SME: (SMSTART, SMSTOP, USER_ZA, PTRACE_STREAMING, PTRACE_ZA, SIGRETURN_ZA),
    F_AARCH32: (GUEST_CONTROL,),
    F_GUEST_SME: (GUEST_SVCR,),
}
"""Kinds of moves that only worlds with a feature have."""

MOVES: Final = (
    SWITCH, RET, USER_FP, SYSCALL, RUN_ENTER, LOAD, ENTER, GUEST_FP, EXIT_GUEST, PUT, RUN_EXIT,
    NEON_BEGIN, NEON_END, SOFTIRQ, FORK, EXEC, EXIT, SIGNAL, SIGRETURN, PTRACE_WRITE, SETREG, RESET, FREE_VCPU,
    DOWN, UP, PM_ENTER, RESUME, PTRACE_READ, GETREG, UNBIND, IPI, NESTED_SWITCH,
    PREPARE, TAKE_OVER, EXPIRE,
    *(kind for kinds in WIDE_MOVES.values() for kind in kinds),
)  # fmt: skip
"""Kinds of moves: an event stands for itself; a softirq, a call to EFI and a PM event are done whole.

PUT ends KVM_RUN; what the scheduler puts is part of SWITCH. RUN_EXIT is a move of its own only for policies that
handle it."""

# Where a handler may be interrupted between its points.
PREEMPTIBLE: Final = sum(1 << e for e in world_events.PREEMPTIBLE)
SOFTIRQ_ONLY: Final = sum(1 << e for e in world_events.SOFTIRQ_ONLY)

OF_RUN: Final = sum(
    1 << e
    for e in (LOAD, ENTER, GUEST_FP, EXIT_GUEST, PUT, RUN_EXIT, GUEST_SVE, GUEST_SVCR, GUEST_CONTROL, NESTED_SWITCH)
)
"""Moves whose second participant is the vCPU that the thread has in KVM_RUN."""

IN_ONE_GO: Final = 1 << SWITCH | 1 << SOFTIRQ | 1 << PM_ENTER | 1 << EFI
"""Moves that may be two events."""

MOVES_AT_MOST: Final = 512  # of a world, but for how the coin falls
MOST_TRAPS: Final = 8  # of one use, one right after the other; there are three kinds of them


@dataclass(frozen=True, eq=False)
class Bounds(Struct):
    """The scope of a world, as compiled code takes it."""

    cpus: int
    tasks: int
    kthreads: int
    vcpus: int
    events: int  # bit per kind of move that may happen
    vcpu_mutex: bool  # the registers of a vCPU in KVM_RUN are out of other threads' reach
    preempt_neon: bool  # kernel NEON sections can be preempted, and softirqs use NEON inside them
    task_word: int  # words of a task and a vCPU that have just come into being
    vcpu_word: int
    foreign: int  # the bit of TIF_FOREIGN_FPSTATE in a task's word, 0 if the policy has no such flag
    tif_sve: int  # the bit of TIF_SVE in a task's word, 0 if the policy has no such flag
    timer: int  # the bit that the clock sets in a task's word, 0 if the policy has none
    coin: int  # the bits of a CPU's word that are as the coin falls before an event, 0 if the policy has none
    falls: int  # in how many ways it falls


# A move as a number.


@inline
def kind_of(move: int) -> int:
    """Return the kind of a move, one of MOVES."""
    return move >> 12 & 255


@inline
def cpu_of(move: int) -> int:
    """Return the CPU on which a move happens."""
    return move >> 8 & 15


@inline
def coin_of(move: int) -> int:
    """Return how the coin falls during a move: in the first event, plus `falls` times how it does in the second."""
    return move >> 20


@inline
def with_coin(move: int, coin: int) -> int:
    """Return a move during which the coin falls so; before, it has fallen on 0."""
    return move | coin << 20


@inline
def other_of(move: int) -> int:
    """Return the context that a move names as its second participant, 0 if it names none."""
    return move & 255


# What may happen now.


@inline
def add(moves: Ints, k: int, bounds: Bounds, kind: int, c: int, second: int) -> int:
    """Append a move if its kind is allowed; return the new number of moves."""
    if bounds.events >> kind & 1:
        moves[k] = kind << 12 | c << 8 | second
        k += 1
    return k


@inline
def ways(bounds: Bounds, move: int) -> int:
    """Return in how many ways the coin falls during a move."""
    return bounds.falls * bounds.falls if IN_ONE_GO >> kind_of(move) & 1 else bounds.falls


@inline
def toss(w: World, bounds: Bounds, move: int, second: bool) -> None:
    """Let the coin fall before the first event of a move, or before the `second`."""
    coin = coin_of(move) // bounds.falls if second else coin_of(move) % bounds.falls
    c = cpu_of(move)
    w.cpu[c, WORD] = w.cpu[c, WORD] & ~bounds.coin | coin * (bounds.coin & -bounds.coin)


@inline
def running(w: World, x: int) -> bool:
    """Tell whether thread `x` is running on some CPU."""
    for c in range(len(w.cpu)):
        if w.cpu[c, CURRENT] == x and not w.cpu[c, OFF]:
            return True
    return False


@inline
def runner_of(w: World, bounds: Bounds, v: int) -> int:
    """Return the thread that is in KVM_RUN with vCPU `v`, -1 if none is."""
    for t in range(bounds.cpus, bounds.cpus + bounds.tasks):
        if w.context[t, RUNS] == v + 1:
            return t
    return -1


@inline
def add_switches(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append a switch of CPU `c` to its idle thread and to every thread that runs nowhere."""
    t = w.cpu[c, CURRENT]
    if t != c:
        k = add(moves, k, bounds, SWITCH, c, c)
    for x in range(bounds.cpus, bounds.cpus + bounds.tasks + bounds.kthreads):
        if x != t and w.context[x, MODE] != FREE and not running(w, x):
            k = add(moves, k, bounds, SWITCH, c, x)
    return k


@inline
def add_task_moves(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append what a task in the kernel may do by itself; most of it only inside a system call."""
    t = w.cpu[c, CURRENT]
    k = add(moves, k, bounds, RET, c, 0)
    if w.features:
        k = add(moves, k, bounds, SIGNAL, c, 0)
        if not w.context[t, IN_SYSCALL]:
            return add(moves, k, bounds, EXIT, c, 0)  # it dies of a signal
        k = add(moves, k, bounds, VL_CHANGE, c, 0)
        k = add(moves, k, bounds, SMCCC, c, 0)
        for kind in (SIGRETURN, SIGRETURN_SVE, SIGRETURN_ZA):  # a task can make up a frame without any signal
            k = add(moves, k, bounds, kind, c, 0)
    else:
        k = add(moves, k, bounds, SIGRETURN if w.context[t, FRAME] else SIGNAL, c, 0)
        k = add(moves, k, bounds, PREPARE, c, 0)  # of V alone: what else would move is not modelled
    k = add(moves, k, bounds, EXEC, c, 0)
    k = add(moves, k, bounds, EXIT, c, 0)
    for x in range(bounds.cpus, bounds.cpus + bounds.tasks):
        if x != t and w.context[x, MODE] == FREE:
            k = add(moves, k, bounds, FORK, c, x)
        elif x != t and w.context[x, MODE] == KERNEL and not w.context[x, POINT] and not running(w, x):
            k = add(moves, k, bounds, PTRACE_WRITE, c, x)
            k = add(moves, k, bounds, PTRACE_READ, c, x)
            if w.features:
                for kind in (PTRACE_SVE, PTRACE_STREAMING, PTRACE_ZA, PTRACE_VL):
                    k = add(moves, k, bounds, kind, c, x)
    n = len(w.context) - 1
    for v in range(n - bounds.vcpus, n):
        if w.context[v, MODE] == FREE:
            k = add(moves, k, bounds, RESET, c, v)  # making a vCPU ends with its reset
            continue
        runner = runner_of(w, bounds, v)
        if runner < 0:
            for kind in (RUN_ENTER, SETREG, RESET, FREE_VCPU, GETREG):
                k = add(moves, k, bounds, kind, c, v)
        elif not w.context[runner, POINT] and (w.context[runner, MODE] == RUN or w.context[runner, MODE] == RUN_OUT):
            k = add(moves, k, bounds, UNBIND, c, v)
            if not bounds.vcpu_mutex:
                for kind in (SETREG, RESET, GETREG):
                    k = add(moves, k, bounds, kind, c, v)
    return k


@inline
def add_idle_moves(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append what only happens on an idle CPU: power management, and going down if another CPU stays up."""
    k = add(moves, k, bounds, PM_ENTER, c, 0)
    up = 0
    for d in range(len(w.cpu)):
        up += 1 - w.cpu[d, OFF]
    return add(moves, k, bounds, DOWN, c, 0) if up > 1 else k


@inline
def add_user_moves(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append what user mode on CPU `c` may do."""
    k = add(moves, k, bounds, USER_FP, c, 0)
    k = add(moves, k, bounds, SYSCALL, c, 0)
    if not w.features:
        return k
    k = add(moves, k, bounds, INTERRUPT, c, 0)
    k = add(moves, k, bounds, USER_SVE, c, 0)
    if w.features & F_SME:
        mode = w.context[w.cpu[c, CURRENT], SVCR]
        k = add(moves, k, bounds, SMSTOP if mode == 3 else SMSTART, c, 0)
        if mode & 2:
            k = add(moves, k, bounds, USER_ZA, c, 0)
    return k


@inline
def add_guest_moves(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append what a guest on CPU `c` may do."""
    k = add(moves, k, bounds, GUEST_FP, c, 0)
    k = add(moves, k, bounds, EXIT_GUEST, c, 0)
    plain = w.features == 0 or w.context[w.context[w.cpu[c, CURRENT], RUNS] - 1, PLAIN]
    if plain:
        return k
    k = add(moves, k, bounds, GUEST_SVE, c, 0)
    return add(moves, k, bounds, GUEST_SVCR, c, 0)


@inline
def add_kernel_moves(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append what may happen while the thread on CPU `c` is in the kernel, outside handlers and NEON sections."""
    t = w.cpu[c, CURRENT]
    mode = w.context[t, MODE]
    k = add(moves, k, bounds, SOFTIRQ, c, 0)
    k = add(moves, k, bounds, IPI, c, 0)
    if w.features and (mode == KERNEL or mode == RUN):
        k = add(moves, k, bounds, EFI, c, 0)
    if mode == KERNEL and bounds.cpus <= t < bounds.cpus + bounds.tasks:
        k = add_task_moves(w, bounds, moves, k, c)
    elif mode == RUN:
        k = add(moves, k, bounds, ENTER, c, 0)
        k = add(moves, k, bounds, PUT, c, 0)
        k = add(moves, k, bounds, GUEST_CONTROL, c, 0)
        k = add(moves, k, bounds, NESTED_SWITCH, c, 0)
    elif mode == RUN_OUT or mode == RUN_OUT_NEON:
        k = add(moves, k, bounds, LOAD, c, 0)
    elif mode == RUN_OVER:
        k = add(moves, k, bounds, RUN_EXIT, c, 0)
    elif mode == WORKER:
        for x in range(bounds.cpus, bounds.cpus + bounds.tasks):
            if w.context[x, MODE] == OFFERED:
                k = add(moves, k, bounds, TAKE_OVER, c, x)
    if (mode == KERNEL and t >= bounds.cpus) or mode == RUN:
        k = add(moves, k, bounds, NEON_BEGIN, c, 0)
    return add_idle_moves(w, bounds, moves, k, c) if t == c else k


@inline
def add_expiries(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append that the timer of a task is over, which runs on CPU `c` or nowhere."""
    for x in range(bounds.cpus, bounds.cpus + bounds.tasks):
        here = w.cpu[c, CURRENT] == x or not running(w, x)
        if here and w.context[x, MODE] != FREE and not w.context[x, WORD] & bounds.timer:
            k = add(moves, k, bounds, EXPIRE, c, x)
    return k


@inline
def enabled_on(w: World, bounds: Bounds, moves: Ints, k: int, c: int) -> int:
    """Append the moves of CPU `c` to the `k` in `moves`; return how many there are then. The order is fixed."""
    t = w.cpu[c, CURRENT]
    mode = w.context[t, MODE]
    point = w.context[t, POINT]
    preemptible = False
    if w.cpu[c, OFF]:
        k = add(moves, k, bounds, UP, c, 0)
    elif point:
        k = add(moves, k, bounds, RESUME, c, 0)
        k = add(moves, k, bounds, SOFTIRQ, c, 0)
        k = add(moves, k, bounds, IPI, c, 0)
        preemptible = point & 1 == 1
    elif mode == USER:
        k = add_user_moves(w, bounds, moves, k, c)
    elif mode == GUEST:
        k = add_guest_moves(w, bounds, moves, k, c)
    elif mode == NEON or mode == RUN_NEON:
        k = add(moves, k, bounds, NEON_END, c, 0)
        if bounds.preempt_neon:
            k = add(moves, k, bounds, SOFTIRQ, c, 0)
            preemptible = True
    else:
        k = add_kernel_moves(w, bounds, moves, k, c)
        preemptible = mode != RUN_OUT_NEON
    if preemptible:
        k = add_switches(w, bounds, moves, k, c)
    return add_expiries(w, bounds, moves, k, c) if bounds.timer and not w.cpu[c, OFF] else k


def room_for_moves(bounds: Bounds) -> Ints:
    """Return room for all that `enabled` may list."""
    return np.zeros(MOVES_AT_MOST * bounds.falls**2, np.int64)


@inline
def enabled(w: World, bounds: Bounds, moves: Ints) -> int:
    """List the moves of a world into `moves`; return how many. With a coin each is there for each way it falls."""
    k = 0
    for c in range(len(w.cpu)):
        k = enabled_on(w, bounds, moves, k, c)
    total = k
    for coin in range(1, bounds.falls * bounds.falls):
        for i in range(k):
            if coin < ways(bounds, moves[i]):
                moves[total] = with_coin(moves[i], coin)
                total += 1
    return total


# Making it happen.


@inline
def segment(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Run one segment of a handler (`e`: event, or N_EVENTS + point); return what went wrong.

    The report gets the row among those used, and the point at which the handler goes on.
    """
    report.asked[A_POINT] = 0
    r = find_row(w, table, report, e, c, t, s)
    if r == NOT_LEARNED:
        return NO_ROW
    if r == NO_HANDLER:
        return OK
    report.asked[A_FIRST + report.asked[A_USED]] = r
    report.asked[A_USED] += 1
    report.asked[A_POINT] = table.rows[r, R_NEXT]
    return wide.run_row(w, table, report, r, c, t, s)


@inline
def stop_at(w: World, table: Table, e: int, point: int, t: int, s: int) -> None:
    """Leave thread `t` inside the handler of event `e`, at `point`; 0: the handler is done."""
    preemptible = PREEMPTIBLE >> e & 1 & ~table.event_of_point[0]
    w.context[t, POINT] = point << 1 | preemptible if point else 0
    w.context[t, SECOND] = s + 1 if point else 0


@inline
def finish(w: World, e: int, c: int, t: int, s: int) -> int:
    """Do what event `e` does to values once its handler is done; return what went wrong."""
    verdict = OK
    if MIND_AFTER >> e & 1:
        verdict = after_row(w, e, c, t, s)
    if w.features:
        verdict = max(verdict, wide.wide_after(w, e, c, t, s))
    return verdict


@inline
def begin(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Let event `e` begin: what it does to values before its handler, and the handler up to its first point."""
    if e == FORK:
        copy_of_parent(w, t, s)
    verdict = OK
    if MIND_BEFORE >> e & 1:
        verdict = before_row(w, e, c, t, s)
    if w.features:
        wide.wide_before(w, e, t, s)
    return max(verdict, segment(w, table, report, e, c, t, s))


@inline
def go_on(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Go through the rest of a handler of event `e` without a stop, and finish the event."""
    verdict = OK
    while report.asked[A_POINT]:
        verdict = max(verdict, segment(w, table, report, N_EVENTS + report.asked[A_POINT], c, t, s))
    return max(verdict, finish(w, e, c, t, s))


@inline
def happen(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Let event `e` happen; stop at its handler's first point if an interrupt may come in there."""
    verdict = begin(w, table, report, e, c, t, s)
    if report.asked[A_POINT] and (PREEMPTIBLE | SOFTIRQ_ONLY) >> e & 1:
        stop_at(w, table, e, report.asked[A_POINT], t, s)
        return verdict
    return max(verdict, go_on(w, table, report, e, c, t, s))


@inline
def sched_out(w: World, table: Table, report: Report, c: int, t: int) -> int:
    """Let kvm_sched_out put the vCPU that thread `t` has loaded; interrupts are off, so nothing comes between."""
    v = w.context[t, RUNS] - 1
    verdict = begin(w, table, report, PUT, c, t, v)
    verdict = max(verdict, go_on(w, table, report, PUT, c, t, v))
    w.context[t, MODE] = RUN_OUT if w.context[t, MODE] == RUN else RUN_OUT_NEON
    return verdict


@inline
def recycle(w: World, bounds: Bounds, x: int) -> None:
    """Give the record of context `x` to a new one: fields as at the start, the same address, a new value."""
    w.context[x, WORD] = bounds.vcpu_word if w.context[x, IS_VCPU] else bounds.task_word
    w.context[x, POINTER] = 0
    w.context[x, POINTER + 1] = 0
    w.context[x, MODE] = FREE
    w.context[x, LATEST] += VERSION
    w.context[x, INITIAL] = w.context[x, BIRTH] = w.context[x, LATEST]
    w.context[x, IMAGE] = latest_label(w, V, x)
    w.context[x, KERNEL_IMAGE] = kernel_of(x)
    w.context[x, KERNEL_LATEST] += VERSION
    if w.features:
        wide.recycle(w, x)


@inline
def switch(w: World, table: Table, report: Report, bounds: Bounds, move: int) -> int:
    """Switch a CPU to another thread, running kvm_sched_out first when the thread there has its vCPU loaded."""
    c, s = cpu_of(move), other_of(move)
    t = w.cpu[c, CURRENT]
    verdict = OK
    if w.context[t, MODE] == RUN or w.context[t, MODE] == RUN_NEON:
        verdict = sched_out(w, table, report, c, t)
        if verdict == NO_ROW:
            return verdict
        toss(w, bounds, move, True)
    verdict = max(verdict, happen(w, table, report, SWITCH, c, t, s))
    w.cpu[c, CURRENT] = s
    if w.context[t, MODE] == DYING:
        recycle(w, bounds, t)
        w.context[t, FRAME] = 0
    return verdict


@inline
def set_fields_of(w: World, table: Table, report: Report, e: int, c: int, t: int) -> int:
    """Set the fields that the handler of event `e` leaves, all of it run in one go, and nothing else; OK or NO_ROW."""
    nobody = len(w.context) - 1
    while True:
        r = find_row(w, table, report, e, c, t, nobody)
        if r == NOT_LEARNED:
            return NO_ROW
        if r == NO_HANDLER:
            return OK
        set_fields(w, table, r, c, t, nobody)
        if table.rows[r, R_NEXT] == 0:
            return OK
        e = N_EVENTS + table.rows[r, R_NEXT]


@inline
def never_ends(w: World, table: Table, report: Report, e: int, c: int, t: int) -> int:
    """Return TRAPS_AGAIN if use `e` traps however often its trap is served, with nothing else in between; else OK.

    Trap, handler, return to user mode, the same use: that needs the fields only.
    """
    of_cpu = w.cpu[c, WORD], w.cpu[c, POINTER], w.cpu[c, POINTER + 1]
    of_task = w.context[t, WORD], w.context[t, POINTER], w.context[t, POINTER + 1]
    verdict, trap = OK, wide.trap_of(w, e, c)
    for _ in range(MOST_TRAPS):
        if trap == 0 or verdict != OK:
            break
        verdict = set_fields_of(w, table, report, trap, c, t)
        if verdict == OK:
            verdict = set_fields_of(w, table, report, RET, c, t)
        trap = wide.trap_of(w, e, c)
    w.cpu[c, WORD], w.cpu[c, POINTER], w.cpu[c, POINTER + 1] = of_cpu
    w.context[t, WORD], w.context[t, POINTER], w.context[t, POINTER + 1] = of_task
    return TRAPS_AGAIN if verdict == OK and trap else verdict


@inline
def take_trap(w: World, table: Table, report: Report, trap: int, c: int, t: int, s: int) -> int:
    """Take the trap that a use raises; the use itself is another move, so that interrupts may come between."""
    report.asked[A_TRAPPED] = 1
    if trap != GUEST_TRAPS and trap != GUEST_SVE_TRAPS:
        w.context[t, MODE] = KERNEL
        if w.features:
            w.context[t, IN_SYSCALL] = 0
    return happen(w, table, report, trap, c, t, s)


@inline
def use(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Use registers as `e` says, or take the trap it raises."""
    of_guest = wide.OF_GUEST >> e & 1
    x = s if of_guest else t
    if wide.in_wrong_mode(w, e, c, x):
        return WRONG_MODE
    trap = wide.trap_of(w, e, c)
    if trap == 0:
        return wide.wide_use(w, e, x, c) if w.features else touch(w, x, c)
    endless = OK
    if not of_guest:
        endless = never_ends(w, table, report, e, c, t)
        if endless == NO_ROW:
            return NO_ROW
    verdict = take_trap(w, table, report, trap, c, t, s)
    at_once = trap != SVE_TRAPS and trap != SME_TRAPS
    if verdict == OK and at_once and not w.context[t, POINT] and wide.trap_of(w, e, c) == trap:
        return TRAP_NOT_SERVED
    return verdict if verdict != OK else endless


@inline
def arrive(w: World, table: Table, bounds: Bounds, e: int, t: int, s: int) -> None:
    """Record what event `e`, now complete, means for what threads are doing."""
    mode = w.context[t, MODE]
    if e == RET:
        w.context[t, MODE] = USER
    elif e == EXIT:
        w.context[t, MODE] = DYING
    elif e == SIGNAL and not w.features:
        w.context[t, FRAME] = 1
    elif e == SIGRETURN or e == SIGRETURN_SVE or e == SIGRETURN_ZA:
        w.context[t, FRAME] = 0
    elif e == RUN_ENTER:
        w.context[t, MODE] = RUN_OUT
        w.context[t, RUNS] = s + 1
    elif e == LOAD:
        w.context[t, MODE] = RUN_NEON if mode == RUN_OUT_NEON else RUN
    elif e == ENTER:
        w.context[t, MODE] = GUEST
    elif e == EXIT_GUEST:
        w.context[t, MODE] = RUN
    elif e == PUT and table.handlers[RUN_EXIT, H_BASE] != NOT_HANDLED:
        w.context[t, MODE] = RUN_OVER
    elif e == PUT or e == RUN_EXIT:
        w.context[t, MODE] = KERNEL
        w.context[t, RUNS] = 0
    elif e == NEON_BEGIN:
        w.context[t, MODE] = RUN_NEON if mode == RUN else NEON
    elif e == NEON_END:
        w.context[t, MODE] = RUN if mode == RUN_NEON else KERNEL
    elif e == FORK:
        w.context[s, MODE] = KERNEL
        w.context[s, FRAME] = w.context[t, FRAME]
    elif e == PREPARE:
        w.context[t, MODE] = OFFERED
    elif e == TAKE_OVER:
        w.context[t, MODE] = KERNEL
    elif e == FREE_VCPU:
        recycle(w, bounds, s)
    elif e == UNBIND:
        runner = runner_of(w, bounds, s)
        w.context[runner, MODE] = KERNEL
        w.context[runner, RUNS] = 0


@inline
def resume(w: World, table: Table, report: Report, bounds: Bounds, c: int, t: int) -> int:
    """Let the handler in which thread `t` was interrupted go on, to its next point or its end."""
    point, s = w.context[t, POINT] >> 1, w.context[t, SECOND] - 1
    e = table.event_of_point[point]
    verdict = segment(w, table, report, N_EVENTS + point, c, t, s)
    stop_at(w, table, e, report.asked[A_POINT], t, s)
    if report.asked[A_POINT] == 0:
        verdict = max(verdict, finish(w, e, c, t, s))
        arrive(w, table, bounds, e, t, s)
    return verdict


@inline
def other_participant(w: World, kind: int, t: int, named: int) -> int:
    """Return the second participant of a move: `named` by it, or the vCPU the thread runs, or nobody."""
    if OF_RUN >> kind & 1:
        return int(w.context[t, RUNS] - 1)
    return named if named or kind == SWITCH else len(w.context) - 1


@inline
def set_out(w: World, kind: int, c: int, t: int, s: int) -> None:
    """Record what a move that begins means for what threads and CPUs are doing."""
    if kind == SYSCALL or kind == INTERRUPT:
        w.context[t, MODE] = KERNEL
    elif kind == RESET:
        w.context[s, MODE] = KERNEL  # it exists from now on
    elif kind == TAKE_OVER:
        w.context[s, MODE] = WORKER
    elif kind == DOWN:
        w.cpu[c, OFF] = 1
    elif kind == UP:
        w.cpu[c, OFF] = 0


@inline
def _make_move(w: World, table: Table, report: Report, bounds: Bounds, move: int) -> int:
    kind, c = kind_of(move), cpu_of(move)
    report.asked[A_USED] = report.asked[A_TRAPPED] = 0
    t = w.cpu[c, CURRENT]
    if kind == SWITCH:
        return switch(w, table, report, bounds, move)
    s = other_participant(w, kind, t, other_of(move))
    if kind == EXPIRE:
        w.context[s, WORD] |= bounds.timer
        return OK
    if wide.USES >> kind & 1:
        return use(w, table, report, kind, c, t, s)
    if kind == RESUME:
        return resume(w, table, report, bounds, c, t)
    set_out(w, kind, c, t, s)
    if kind == DOWN or kind == UP:
        nobody = len(w.context) - 1
        return happen(w, table, report, kind, c, nobody, nobody)
    verdict = happen(w, table, report, kind, c, t, s)
    if verdict == NO_ROW:
        return verdict
    if kind == SOFTIRQ or kind == PM_ENTER or kind == EFI:
        toss(w, bounds, move, True)
        end = SOFTIRQ_END if kind == SOFTIRQ else PM_EXIT if kind == PM_ENTER else EFI_END
        verdict = max(verdict, happen(w, table, report, end, c, t, s))
    if w.context[t, POINT] == 0:
        arrive(w, table, bounds, kind, t, s)
    return verdict


@inline
def make_move(w: World, table: Table, report: Report, bounds: Bounds, move: int) -> int:
    """Carry out one enabled move; return what went wrong. On NO_ROW the world is of no use any more: learn, redo."""
    toss(w, bounds, move, False)
    verdict = _make_move(w, table, report, bounds, move)
    w.cpu[cpu_of(move), WORD] &= ~bounds.coin
    return verdict


def start(w: World) -> None:
    """Put each CPU's idle thread on it."""
    w.cpu[:, CURRENT] = range(len(w.cpu))
