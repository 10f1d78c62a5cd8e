"""Which event may follow which: threads, the scheduler, the KVM run loop, hotplug, life and death of contexts.

A move is an event with its CPU and second participant, as one number. `enabled` lists the moves of a world in a fixed
order; `make_move` carries one out. Facts of Linux that are in here: kvm_sched_out runs vcpu_put before the thread
switch, in one go with it (interrupts are off); kvm_sched_in runs vcpu_load after it, and softirqs may come between;
softirqs and kernel NEON may come between guest runs; a thread in KVM_RUN can be preempted there; signals, exec, fork
and exit need the thread outside KVM_RUN; hotplug and PM find the CPU idle.

The contexts of a world lie in this order: one idle thread per CPU, tasks, kernel threads, vCPUs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline
from fpstate.world import step as S
from fpstate.world import wide as W
from fpstate.world.events import N_EVENTS, Event
from fpstate.world.state import (
    C_CURRENT,
    C_OFF,
    C_REGS,
    C_SIZE,
    C_WORD,
    F_GUEST_SVE,
    F_SME,
    F_SVE,
    FREE,
    GUEST_TRAP,
    SVE_STORE,
    USER_TRAP,
    X_BIRTH,
    X_FRAME,
    X_IMAGE,
    X_INIT,
    X_KERNEL,
    X_KVER,
    X_MODE,
    X_POINT,
    X_PTR,
    X_RUNS,
    X_SECOND,
    X_SIZE,
    X_VER,
    X_WORD,
    Z_STORE,
    Z_SYSCALL,
    Z_WIDE,
    ZA,
    ZA_SVCR,
    World,
    Z,
    context_base,
    kernel_owner,
)

# What a thread is doing (X_MODE). FREE (6) is in world.state.
KERNEL: Final = 0  # in the kernel, running or not
USER: Final = 1
RUN_OUT: Final = 2  # in KVM_RUN, its vCPU not loaded
RUN: Final = 3  # in KVM_RUN, vCPU loaded, between guest runs
GUEST: Final = 4
DYING: Final = 5  # has exited, not switched away yet
NEON: Final = 7  # in the kernel, in a kernel NEON section
RUN_NEON: Final = 8  # the same between guest runs
RUN_OUT_NEON: Final = 9  # the same, preempted in it: the vCPU is not loaded

ASKED_ROWS: Final = 4  # in `asked`: [2] counts the rows a move used, [3] is the next point, the rows follow
ASKED_SIZE: Final = 256  # a move runs at most three handlers, each through all points there can be

RESUME: Final = N_EVENTS  # the one move that is no event: an interrupted handler goes on

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

WIDE_MOVES: Final = {
    F_SVE: (USER_SVE, INTERRUPT, VL_CHANGE, SIGRETURN_SVE, PTRACE_SVE, SMCCC, EFI),
    F_GUEST_SVE: (GUEST_SVE,),
    F_SME: (SMSTART, SMSTOP, USER_ZA, PTRACE_STREAMING, PTRACE_ZA, SIGRETURN_ZA),
}
"""Kinds of moves that only worlds with a feature have."""

MOVES: Final = (
    SWITCH, RET, USER_FP, SYSCALL, RUN_ENTER, LOAD, ENTER, GUEST_FP, EXIT_GUEST, PUT, NEON_BEGIN, NEON_END, SOFTIRQ,
    FORK, EXEC, EXIT, SIGNAL, SIGRETURN, PTRACE_WRITE, SETREG, RESET, FREE_VCPU, DOWN, UP, PM_ENTER, RESUME,
    *(kind for kinds in WIDE_MOVES.values() for kind in kinds),
)  # fmt: skip
"""Kinds of moves: an event stands for itself; a softirq, a call to EFI and a PM event are done whole,
PUT also leaves KVM_RUN."""

# Where a handler may be interrupted between its points.
_PREEMPTIBLE: Final = sum(
    1 << e
    for e in (
        SYSCALL, RET, FORK, EXEC, EXIT, SIGNAL, SIGRETURN, PTRACE_WRITE, SETREG, RESET, FREE_VCPU, USER_TRAPS,
        INTERRUPT, VL_CHANGE, SIGRETURN_SVE, SIGRETURN_ZA, PTRACE_SVE, PTRACE_STREAMING, PTRACE_ZA,
        SVE_TRAPS, SME_TRAPS,
    )
)  # fmt: skip
_SOFTIRQ_ONLY: Final = sum(1 << e for e in (LOAD, PUT, NEON_BEGIN, NEON_END, RUN_ENTER))

# The scope of a world, as one array.
Z_CPUS: Final = 0
Z_TASKS: Final = 1
Z_KTHREADS: Final = 2
Z_VCPUS: Final = 3
Z_EVENTS: Final = 4  # bit per kind of move that may happen
Z_PREEMPT_NEON: Final = 5  # kernel NEON sections can be preempted, and softirqs use NEON inside them
Z_TASK_WORD: Final = 6  # words of a task and a vCPU that have just come into being
Z_VCPU_WORD: Final = 7
Z_FOREIGN: Final = 8  # the bit of TIF_FOREIGN_FPSTATE in a task's word, 0 if the policy has no such flag
Z_FEATURES: Final = 9  # of the world, as F_*
Z_TIF_SVE: Final = 10  # the bit of TIF_SVE in a task's word, 0 if the policy has no such flag
Z_SIZE: Final = 11

Scope = NDArray[np.int64]


@inline
def contexts(z: Scope) -> int:
    """Return how many contexts the world has."""
    return int(z[Z_CPUS] + z[Z_TASKS] + z[Z_KTHREADS] + z[Z_VCPUS])


@inline
def add(moves: S.Ints, k: int, z: Scope, kind: int, c: int, second: int) -> int:
    """Append a move if its kind is allowed; return the new number of moves."""
    if z[Z_EVENTS] >> kind & 1:
        moves[k] = kind << 12 | c << 8 | second
        k += 1
    return k


@inline
def mode_of(w: World, base: int, x: int) -> int:
    """Return what thread `x` is doing."""
    return int(w[base + x * X_SIZE + X_MODE])


@inline
def on_cpu(w: World, z: Scope, x: int) -> bool:
    """Tell whether thread `x` is running on some CPU."""
    for c in range(z[Z_CPUS]):
        if w[c * C_SIZE + C_CURRENT] == x and not w[c * C_SIZE + C_OFF]:
            return True
    return False


@inline
def vcpu_busy(w: World, z: Scope, base: int, v: int) -> bool:
    """Tell whether some thread is in KVM_RUN with vCPU `v`."""
    for t in range(z[Z_CPUS], z[Z_CPUS] + z[Z_TASKS]):
        if w[base + t * X_SIZE + X_RUNS] == v + 1:
            return True
    return False


@inline
def add_switches(w: World, z: Scope, moves: S.Ints, k: int, base: int, c: int, t: int) -> int:
    """Append a switch of CPU `c` to its idle thread and to every thread that runs nowhere."""
    if t != c:
        k = add(moves, k, z, SWITCH, c, c)
    for x in range(z[Z_CPUS], z[Z_CPUS] + z[Z_TASKS] + z[Z_KTHREADS]):
        if x != t and mode_of(w, base, x) != FREE and not on_cpu(w, z, x):
            k = add(moves, k, z, SWITCH, c, x)
    return k


@inline
def add_task_moves(w: World, z: Scope, moves: S.Ints, k: int, base: int, c: int, t: int) -> int:
    """Append what a task in the kernel may do by itself; most of it only inside a system call."""
    k = add(moves, k, z, RET, c, 0)
    features = z[Z_FEATURES]
    frame = w[base + t * X_SIZE + X_FRAME]
    if features:
        zt = W.record(Z, t, int(z[Z_CPUS]), contexts(z))
        k = add(moves, k, z, SIGNAL, c, 0)
        if not w[zt + Z_SYSCALL]:
            return k
        k = add(moves, k, z, VL_CHANGE, c, 0)
        k = add(moves, k, z, SMCCC, c, 0)
        for kind in (SIGRETURN, SIGRETURN_SVE, SIGRETURN_ZA):  # a task can make up a frame without any signal
            k = add(moves, k, z, kind, c, 0)
    else:
        k = add(moves, k, z, SIGRETURN if frame else SIGNAL, c, 0)
    k = add(moves, k, z, EXEC, c, 0)
    k = add(moves, k, z, EXIT, c, 0)
    for x in range(z[Z_CPUS], z[Z_CPUS] + z[Z_TASKS]):
        if x != t and mode_of(w, base, x) == FREE:
            k = add(moves, k, z, FORK, c, x)
        elif x != t and mode_of(w, base, x) == KERNEL and not w[base + x * X_SIZE + X_POINT] and not on_cpu(w, z, x):
            k = add(moves, k, z, PTRACE_WRITE, c, x)
            if features:
                k = add(moves, k, z, PTRACE_SVE, c, x)
                k = add(moves, k, z, PTRACE_STREAMING, c, x)
                k = add(moves, k, z, PTRACE_ZA, c, x)
    n = contexts(z)
    for v in range(n - z[Z_VCPUS], n):
        if mode_of(w, base, v) == FREE:
            k = add(moves, k, z, RESET, c, v)  # making a vCPU ends with its reset
        elif not vcpu_busy(w, z, base, v):
            for kind in (RUN_ENTER, SETREG, RESET, FREE_VCPU):
                k = add(moves, k, z, kind, c, v)
    return k


@inline
def add_idle_moves(w: World, z: Scope, moves: S.Ints, k: int, c: int) -> int:
    """Append what only happens on an idle CPU: power management, and going down if another CPU stays up."""
    k = add(moves, k, z, PM_ENTER, c, 0)
    up = 0
    for d in range(z[Z_CPUS]):
        up += 1 - w[d * C_SIZE + C_OFF]
    return add(moves, k, z, DOWN, c, 0) if up > 1 else k


@inline
def add_wide_uses(w: World, z: Scope, moves: S.Ints, k: int, c: int, t: int) -> int:
    """Append what user mode of thread `t` may do with registers beyond V."""
    k = add(moves, k, z, INTERRUPT, c, 0)
    k = add(moves, k, z, USER_SVE, c, 0)
    if z[Z_FEATURES] & F_SME:
        mode = w[W.record(ZA, t, int(z[Z_CPUS]), contexts(z)) + ZA_SVCR]
        k = add(moves, k, z, SMSTOP if mode == 3 else SMSTART, c, 0)
        if mode & 2:
            k = add(moves, k, z, USER_ZA, c, 0)
    return k


@inline
def enabled(w: World, z: Scope, moves: S.Ints) -> int:
    """List the moves of this world into `moves`; return how many. The order is fixed."""
    k = 0
    base = context_base(z[Z_CPUS])
    for c in range(z[Z_CPUS]):
        if w[c * C_SIZE + C_OFF]:
            k = add(moves, k, z, UP, c, 0)
            continue
        t = int(w[c * C_SIZE + C_CURRENT])
        mode = mode_of(w, base, t)
        task = z[Z_CPUS] <= t < z[Z_CPUS] + z[Z_TASKS]
        point = w[base + t * X_SIZE + X_POINT]
        if mode == USER:
            k = add(moves, k, z, USER_FP, c, 0)
            k = add(moves, k, z, SYSCALL, c, 0)
            if z[Z_FEATURES]:
                k = add_wide_uses(w, z, moves, k, c, t)
            continue
        if mode == GUEST:
            k = add(moves, k, z, GUEST_FP, c, 0)
            k = add(moves, k, z, EXIT_GUEST, c, 0)
            if z[Z_FEATURES]:
                k = add(moves, k, z, GUEST_SVE, c, 0)
            continue
        if point:
            k = add(moves, k, z, RESUME, c, 0)
            k = add(moves, k, z, SOFTIRQ, c, 0)
            if point & 1:
                k = add_switches(w, z, moves, k, base, c, t)
            continue
        if mode == NEON or mode == RUN_NEON:
            k = add(moves, k, z, NEON_END, c, 0)
            if z[Z_PREEMPT_NEON]:
                k = add(moves, k, z, SOFTIRQ, c, 0)
                k = add_switches(w, z, moves, k, base, c, t)
            continue
        k = add(moves, k, z, SOFTIRQ, c, 0)
        if z[Z_FEATURES] and (mode == KERNEL or mode == RUN):
            k = add(moves, k, z, EFI, c, 0)
        if mode == KERNEL and task:
            k = add_task_moves(w, z, moves, k, base, c, t)
        elif mode == RUN:
            k = add(moves, k, z, ENTER, c, 0)
            k = add(moves, k, z, PUT, c, 0)
        elif mode == RUN_OUT or mode == RUN_OUT_NEON:
            k = add(moves, k, z, LOAD, c, 0)
        if (mode == KERNEL and t >= z[Z_CPUS]) or mode == RUN:
            k = add(moves, k, z, NEON_BEGIN, c, 0)
        if t == c:
            k = add_idle_moves(w, z, moves, k, c)
        if mode != RUN_OUT_NEON:
            k = add_switches(w, z, moves, k, base, c, t)
    return k


@inline
def segment(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, e: int, c: int, t: int, s: int, z: Scope,
    counts: S.Counts, asked: S.Counts,
) -> int:  # fmt: skip
    """Run one segment of a handler (`e`: event or point); return what went wrong. `asked[3]` gets the next point."""
    cpus, n = int(z[Z_CPUS]), contexts(z)
    asked[3] = 0
    r = S.find_row(w, handlers, index, e, c, t, s, cpus, n, asked)
    if r == -2:
        return S.NO_ROW
    if r < 0:
        return S.OK
    asked[ASKED_ROWS + asked[2]] = r
    asked[2] += 1
    asked[3] = rows[r, S.R_NEXT]
    return S.run_row(w, rows, r, c, t, s, cpus, n, counts)


@inline
def happen(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, e: int, c: int, t: int, s: int, z: Scope,
    counts: S.Counts, asked: S.Counts, straight: bool,
) -> int:  # fmt: skip
    """Let event `e` happen. Unless `straight`, stop at the handler's first point if an interrupt may come in there."""
    cpus, n = int(z[Z_CPUS]), contexts(z)
    if e == FORK:
        S.copy_of_parent(w, t, s, cpus)
    verdict = S.OK
    if S.MIND_BEFORE >> e & 1:
        verdict = S.before_row(w, e, c, t, s, cpus, n)
    features = int(z[Z_FEATURES])
    if features:
        W.wide_before(w, e, t, s, cpus, n, features)
    verdict = max(verdict, segment(w, handlers, index, rows, e, c, t, s, z, counts, asked))
    while asked[3]:
        ta = context_base(cpus) + t * X_SIZE
        if not straight and (_PREEMPTIBLE | _SOFTIRQ_ONLY) >> e & 1:
            w[ta + X_POINT] = asked[3] << 1 | (_PREEMPTIBLE >> e & 1)
            w[ta + X_SECOND] = s + 1
            return verdict
        verdict = max(verdict, segment(w, handlers, index, rows, N_EVENTS + asked[3], c, t, s, z, counts, asked))
    if S.MIND_AFTER >> e & 1:
        verdict = max(verdict, S.after_row(w, e, c, t, s, cpus, n))
    if features:
        verdict = max(verdict, W.wide_after(w, e, c, t, s, cpus, n, features))
    return verdict


@inline
def arrive(w: World, z: Scope, e: int, t: int, s: int) -> None:
    """Record what event `e`, now complete, means for what threads are doing."""
    base = context_base(z[Z_CPUS])
    ta = base + t * X_SIZE
    if e == RET:
        w[ta + X_MODE] = USER
    elif e == EXIT:
        w[ta + X_MODE] = DYING
    elif e == SIGNAL and not z[Z_FEATURES]:
        w[ta + X_FRAME] = 1
    elif e == SIGRETURN or e == SIGRETURN_SVE or e == SIGRETURN_ZA:
        w[ta + X_FRAME] = 0
    elif e == RUN_ENTER:
        w[ta + X_MODE] = RUN_OUT
        w[ta + X_RUNS] = s + 1
    elif e == LOAD:
        w[ta + X_MODE] = RUN_NEON if w[ta + X_MODE] == RUN_OUT_NEON else RUN
    elif e == ENTER:
        w[ta + X_MODE] = GUEST
    elif e == EXIT_GUEST:
        w[ta + X_MODE] = RUN
    elif e == PUT:
        w[ta + X_MODE] = KERNEL
        w[ta + X_RUNS] = 0
    elif e == NEON_BEGIN:
        w[ta + X_MODE] = RUN_NEON if w[ta + X_MODE] == RUN else NEON
    elif e == NEON_END:
        w[ta + X_MODE] = RUN if w[ta + X_MODE] == RUN_NEON else KERNEL
    elif e == FORK:
        sa = base + s * X_SIZE
        w[sa + X_MODE] = KERNEL
        w[sa + X_FRAME] = w[ta + X_FRAME]
    elif e == FREE_VCPU:
        recycle(w, z, s)
        w[base + s * X_SIZE + X_MODE] = FREE


@inline
def recycle(w: World, z: Scope, x: int) -> None:
    """Give the record of context `x` to a new one: fields as at the start, the same address, a new value."""
    n = contexts(z)
    xa = context_base(z[Z_CPUS]) + x * X_SIZE
    w[xa + X_WORD] = z[Z_VCPU_WORD] if x >= n - z[Z_VCPUS] else z[Z_TASK_WORD]
    w[xa + X_PTR] = 0
    w[xa + X_PTR + 1] = 0
    w[xa + X_VER] += 1
    w[xa + X_INIT] = w[xa + X_BIRTH] = w[xa + X_VER]
    w[xa + X_IMAGE] = x + 1
    w[xa + X_IMAGE + 1] = w[xa + X_VER]
    w[xa + X_KERNEL] = kernel_owner(x, n)
    w[xa + X_KERNEL + 1] = 0
    w[xa + X_KVER] += 1
    if z[Z_FEATURES]:
        cpus, first_vcpu = int(z[Z_CPUS]), n - z[Z_VCPUS]
        W.newborn(w, x, cpus, n)
        zx = W.record(Z, x, cpus, n)
        w[zx + Z_SYSCALL] = 1
        laid_out = z[Z_FEATURES] & F_GUEST_SVE and x >= first_vcpu
        w[zx + Z_STORE] = SVE_STORE if laid_out else 0
        W.put(w, zx + Z_WIDE, x + 1 if laid_out else 0, w[xa + X_VER] if laid_out else 0)
        W.put(w, zx + X_IMAGE, 0, W.ZEROS)


@inline
def switch(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, c: int, t: int, s: int, z: Scope, counts: S.Counts,
    asked: S.Counts,
) -> int:  # fmt: skip
    """Switch CPU `c` from thread `t` to `s`, running kvm_sched_out first when `t` has its vCPU loaded."""
    base = context_base(z[Z_CPUS])
    ta = base + t * X_SIZE
    mode = w[ta + X_MODE]
    verdict = S.OK
    if mode == RUN or mode == RUN_NEON:
        v = w[ta + X_RUNS] - 1
        verdict = happen(w, handlers, index, rows, PUT, c, t, v, z, counts, asked, True)
        w[ta + X_MODE] = RUN_OUT if mode == RUN else RUN_OUT_NEON
        if verdict == S.NO_ROW:
            return verdict
    verdict = max(verdict, happen(w, handlers, index, rows, SWITCH, c, t, s, z, counts, asked, True))
    w[c * C_SIZE + C_CURRENT] = s
    if mode == DYING:
        recycle(w, z, t)
        w[ta + X_MODE] = FREE
        w[ta + X_FRAME] = 0
    return verdict


@inline
def fp_use(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, c: int, t: int, s: int, guest: bool, z: Scope,
    counts: S.Counts, asked: S.Counts,
) -> int:  # fmt: skip
    """Use FP registers; if that traps, only the trap is taken: the use is another move."""
    trap = GUEST_TRAP if guest else USER_TRAP
    if not w[c * C_SIZE + C_WORD] & trap:
        return S.use(w, handlers, index, rows, guest, c, t, s, int(z[Z_CPUS]), contexts(z), counts, asked)
    e = GUEST_TRAPS if guest else USER_TRAPS
    ta = context_base(z[Z_CPUS]) + t * X_SIZE
    if not guest:
        w[ta + X_MODE] = KERNEL
    verdict = happen(w, handlers, index, rows, e, c, t, s, z, counts, asked, guest)
    if verdict == S.OK and not w[ta + X_POINT] and w[c * C_SIZE + C_WORD] & trap:
        return S.TRAP_NOT_SERVED
    return verdict


@inline
def wide_fp_use(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, e: int, c: int, t: int, s: int, z: Scope,
    counts: S.Counts, asked: S.Counts,
) -> int:  # fmt: skip
    """Use registers in a world with more features; if that traps, only the trap is taken: the use is another move."""
    guest = e == GUEST_FP or e == GUEST_SVE
    trap = W.trap_of(w, e, c)
    cpus, n = int(z[Z_CPUS]), contexts(z)
    if trap == 0:
        return W.wide_use(w, e, s if guest else t, c, cpus, n, int(z[Z_FEATURES]))
    ta = context_base(z[Z_CPUS]) + t * X_SIZE
    if not guest:
        w[ta + X_MODE] = KERNEL
        w[W.record(Z, t, cpus, n) + Z_SYSCALL] = 0
    verdict = happen(w, handlers, index, rows, trap, c, t, s, z, counts, asked, guest)
    at_once = trap != SVE_TRAPS and trap != SME_TRAPS
    if verdict == S.OK and at_once and not w[ta + X_POINT] and W.trap_of(w, e, c) == trap:
        return S.TRAP_NOT_SERVED
    return verdict


@inline
def second_of(w: World, z: Scope, kind: int, t: int, second: int) -> int:
    """Return the second participant of a move: named by it, or the vCPU the thread runs, or nobody."""
    if kind == LOAD or kind == ENTER or kind == GUEST_FP or kind == EXIT_GUEST or kind == PUT or kind == GUEST_SVE:
        return int(w[context_base(z[Z_CPUS]) + t * X_SIZE + X_RUNS]) - 1
    if second:
        return second
    return second if kind == SWITCH else contexts(z)


@inline
def make_move(
    w: World, handlers: S.Ints, index: S.Ints, rows: S.Ints, move: int, z: Scope, counts: S.Counts, asked: S.Counts,
    event_of_point: S.Ints,
) -> int:  # fmt: skip
    """Carry out one enabled move; return what went wrong. On NO_ROW the world is of no use any more: learn, redo."""
    kind, c = int(move) >> 12, int(move) >> 8 & 15
    asked[2] = 0
    t = int(w[c * C_SIZE + C_CURRENT])
    s = second_of(w, z, kind, t, move & 255)
    if kind == SWITCH:
        return switch(w, handlers, index, rows, c, t, s, z, counts, asked)
    if z[Z_FEATURES] and W.USES >> kind & 1:
        return wide_fp_use(w, handlers, index, rows, kind, c, t, s, z, counts, asked)
    if kind == USER_FP or kind == GUEST_FP:
        return fp_use(w, handlers, index, rows, c, t, s, kind == GUEST_FP, z, counts, asked)
    ta = context_base(z[Z_CPUS]) + t * X_SIZE
    if kind == RESUME:
        point = w[ta + X_POINT] >> 1
        e = int(event_of_point[point])
        s = int(w[ta + X_SECOND]) - 1
        verdict = segment(w, handlers, index, rows, N_EVENTS + point, c, t, s, z, counts, asked)
        w[ta + X_POINT] = asked[3] << 1 | (_PREEMPTIBLE >> e & 1) if asked[3] else 0
        if asked[3] == 0:
            w[ta + X_SECOND] = 0
            verdict = max(verdict, S.after_row(w, e, c, t, s, int(z[Z_CPUS]), contexts(z)))
            if z[Z_FEATURES]:
                verdict = max(verdict, W.wide_after(w, e, c, t, s, int(z[Z_CPUS]), contexts(z), int(z[Z_FEATURES])))
            arrive(w, z, e, t, s)
        return verdict
    if kind == SYSCALL or kind == INTERRUPT:
        w[ta + X_MODE] = KERNEL
    if kind == RESET:
        w[context_base(z[Z_CPUS]) + s * X_SIZE + X_MODE] = KERNEL  # it exists from now on
    if kind == DOWN:
        w[c * C_SIZE + C_OFF] = 1
        t = s = contexts(z)
    if kind == UP:
        w[c * C_SIZE + C_OFF] = 0
        t = s = contexts(z)
    verdict = happen(w, handlers, index, rows, kind, c, t, s, z, counts, asked, False)
    if verdict == S.NO_ROW:
        return verdict
    if kind == SOFTIRQ or kind == PM_ENTER or kind == EFI:
        end = SOFTIRQ_END if kind == SOFTIRQ else PM_EXIT if kind == PM_ENTER else EFI_END
        verdict = max(verdict, happen(w, handlers, index, rows, end, c, t, s, z, counts, asked, True))
    if t < contexts(z) and w[ta + X_POINT] == 0:
        arrive(w, z, kind, t, s)
    return verdict


def start(w: World, z: Scope) -> None:
    """Put each CPU's idle thread on it."""
    for c in range(int(z[Z_CPUS])):
        w[c * C_SIZE + C_CURRENT] = c
        w[c * C_SIZE + C_REGS] = 0
