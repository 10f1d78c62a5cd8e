"""From lines to events: what the kernel went through, in order, on each CPU.

A return to user mode leaves no line. It is added where a later line of the task shows that it happened, and carries
that line's time and number. A task that is PENDING may still serve a signal or a reschedule first.
"""

from __future__ import annotations

from typing import Final

from fpstate.jit import bare, inline
from fpstate.traces import codes
from fpstate.traces.guests import (
    begin_run,
    decide_use,
    end_run,
    enter_guest,
    exit_guest,
    guest_stopped,
    leave_run,
    load,
    put,
)
from fpstate.traces.machine import (
    BINDS,
    BINDS_TRACED,
    CONTEXT_ROOM,
    CONTEXTS,
    DOWN,
    EXITS,
    GUESS,
    KERNEL,
    LINE,
    LOADED,
    MARKS,
    MISSED,
    NOT_LOADED,
    OFF,
    ON,
    PENDING,
    PLAIN_NEON,
    PUT,
    ROOM,
    ROWS,
    QUICKEST,
    SIGNALS,
    SYSCALLS,
    TIME,
    X86,
    Machine,
    Rows,
    context_of,
    emit,
    emit_on,
    make_pending,
    new_context,
    to_user,
)
from fpstate.traces.scan import Raw
from fpstate.traces.trace import Kind
from fpstate.world.events import Event, Truth

BIND: Final = int(Truth.FPSIMD_BIND_STATE_TO_CPU)
KTHREADD: Final = 2
SIGRETURN_ARM64: Final = 139
SIGRETURN_X86: Final = 15
SOON: Final = 1_000_000  # ns: a task pending for less has not run in user mode yet
TICK: Final = 4_000_000  # ns, CONFIG_HZ=250
TICK_DUE: Final = 1_500  # ns after a tick is due in which it is served, on an emulated machine
TICK_SERVED: Final = 8_000


@inline
def _soon(m: Machine, x: int) -> bool:
    return bool(m.facts[TIME] - m.since[x] < SOON)


@inline
def _resume(m: Machine, x: int) -> None:
    """Thread `x` runs again."""
    if m.mode[x] == OFF:
        make_pending(m, x, 2)


@inline
def _observe(m: Machine, c: int, x: int, code: int) -> None:
    """Note that a line of `x` came from CPU `c`. After sched_switch a few lines still come from the previous thread."""
    if m.current[c] == x:
        m.previous[c] = -1
        return
    if m.previous[c] == x and (code >= codes.FIRST_TRUTH or code == codes.THREAD_SWITCH):
        return
    if m.current[c] >= 0:
        m.facts[MISSED] += 1
    m.current[c] = x
    m.previous[c] = -1
    _resume(m, x)


@inline
def _went_straight(m: Machine, x: int, stopper: bool) -> bool:
    """Tell whether a pending thread that is switched out never reached user mode: the reschedule was served first.

    Need-resched may be set by an interrupt after the line that made it pending. Signs of that: the switch came as fast
    as those known to have gone straight (where need-resched was set on the line); a tick was due just then (250 Hz, on a
    clock that counts from boot as the tick does); or a stopper took over from a thread just switched to.
    """
    waited = m.facts[TIME] - m.since[x]
    if m.resched[x] == 1:
        if waited < m.facts[QUICKEST] or (m.facts[QUICKEST] == GUESS and waited < SOON // 4):
            m.facts[QUICKEST] = waited
        return True
    if waited <= 2 * m.facts[QUICKEST]:
        return True
    if m.resched[x] == 2:
        return stopper and waited < SOON
    return bool(waited < SOON and TICK_DUE < m.since[x] % TICK < TICK_SERVED)


@inline
def _switch_out(m: Machine, out: Rows, x: int, runnable: bool, stopper: bool) -> None:
    if m.mode[x] == PENDING:
        if not _went_straight(m, x, stopper):
            to_user(m, out, x)
        m.mode[x] = OFF
    if m.run[x]:
        if m.load[x] == NOT_LOADED and runnable:  # preempted after vcpu_load; else it waits for the vCPU's mutex
            load(m, out, x)
        if m.load[x] == LOADED:
            put(m, out, x)


@inline
def _switch_in(m: Machine, out: Rows, y: int) -> None:
    _resume(m, y)
    if m.run[y]:
        if m.load[y] == PUT:
            load(m, out, y)
    elif not m.facts[SYSCALLS] and m.kind[y] != Kind.IDLE:
        emit(m, out, Event.RET_TO_USER_MAYBE, y, -1)
        emit(m, out, Event.USER_FP_MAYBE, y, -1)


@inline
def _switch(m: Machine, out: Rows, c: int, x: int, y: int, flags: int) -> None:
    """Switch CPU `c` from thread `x` to `y`."""
    _switch_out(m, out, x, (flags & codes.RUNNABLE) != 0, (flags & codes.STOPPER) != 0)
    emit(m, out, Event.THREAD_SWITCH, x, y)
    m.current[c] = y
    m.previous[c] = x
    _switch_in(m, out, y)


@inline
def _sched_switch(m: Machine, out: Rows, raw: Raw, r: int, c: int) -> None:
    x = context_of(m, raw.a[r], c)
    y = context_of(m, raw.b[r], c)
    if m.current[c] != x:
        _observe(m, c, x, codes.SWITCH)
    if raw.other[r] >= 0:
        m.name[y] = raw.other[r]
    m.switched[c] = 1
    _switch(m, out, c, x, y, raw.flags[r])


@inline
def _thread_switch(m: Machine, out: Rows, c: int, x: int) -> None:
    """fpsimd_thread_switch: without a sched_switch before it, the kernel went idle by a way that has no such line."""
    if not m.switched[c]:
        _switch(m, out, c, x, context_of(m, 0, c), 0)
    m.switched[c] = 0


@inline
def _sys_enter(m: Machine, out: Rows, x: int, nr: int, kvm_run: bool) -> None:
    m.facts[SYSCALLS] = 1
    m.user[x] = 1
    if m.run[x]:
        end_run(m, out, x, not m.facts[EXITS])
    to_user(m, out, x)
    emit(m, out, Event.SYSCALL, x, -1)
    m.mode[x] = KERNEL
    if kvm_run:
        begin_run(m, out, x)
    if nr == (SIGRETURN_X86 if m.facts[X86] else SIGRETURN_ARM64):
        emit(m, out, Event.SIGRETURN, x, -1)


@inline
def _sys_exit(m: Machine, out: Rows, x: int, need_resched: bool) -> None:
    m.facts[SYSCALLS] = 1
    m.user[x] = 1
    if m.run[x]:  # no kvm_userspace_exit: where those are recorded, the vCPU's mutex was not taken
        end_run(m, out, x, not m.facts[EXITS])
    m.child[x] = -1
    make_pending(m, x, 1 if need_resched else 0)


@bare
def _signal(m: Machine, out: Rows, x: int, need_resched: bool) -> None:
    """Build a signal's frame, on the way to user mode."""
    m.facts[SIGNALS] += 1
    m.user[x] = 1
    if m.mode[x] == PENDING and not _soon(m, x):
        to_user(m, out, x)
    emit(m, out, Event.SIGNAL, x, -1)
    make_pending(m, x, 1 if need_resched else 0)


@bare
def _exit(m: Machine, out: Rows, x: int) -> None:
    if m.mode[x] == PENDING and not _soon(m, x):
        to_user(m, out, x)
    if m.run[x]:
        end_run(m, out, x, False)
    emit(m, out, Event.EXIT, x, -1)
    m.mode[x] = KERNEL


@bare
def _fork_begins(m: Machine, out: Rows, x: int) -> int:
    """Return the new context of a child of `x`, which has no thread id yet."""
    y = new_context(m, Kind.USER, -1)
    m.parent[y] = x
    m.name[y] = m.name[x]
    m.mode[y] = KERNEL if m.tid[x] == KTHREADD or not m.facts[SYSCALLS] else OFF
    emit(m, out, Event.FORK, x, y)
    return y


@bare
def _forked(m: Machine, out: Rows, x: int, tid: int, name: int) -> None:
    """sched_process_fork: the child gets its thread id."""
    y = m.child[x]
    if y < 0:
        y = _fork_begins(m, out, x)
    m.child[x] = -1
    m.tid[y] = tid
    m.name[y] = name
    m.by_tid[tid] = y


@bare
def _executed(m: Machine, out: Rows, x: int, old_tid: int, name: int) -> None:
    """sched_process_exec: the registers were cleared at fpsimd_flush_thread, if that was seen."""
    m.user[x] = 1
    if name >= 0:
        m.name[x] = name
    if old_tid != m.tid[x] and old_tid > 0:
        m.by_tid[old_tid] = -1
    if not m.flushed[x]:
        emit(m, out, Event.EXEC, x, -1)
    m.flushed[x] = 0


@bare
def _flush_thread(m: Machine, out: Rows, x: int) -> None:
    emit(m, out, Event.EXEC, x, -1)
    m.flushed[x] = 1
    m.user[x] = 1


@bare
def _neon(m: Machine, out: Rows, x: int, begin: bool, flags: int) -> None:
    """kernel_neon_begin and _end; an interrupt may take the registers from a task in user mode."""
    if m.mode[x] == PENDING and not _soon(m, x):
        to_user(m, out, x)
        make_pending(m, x, 0)
    if not flags & codes.HAS_FLAGS:
        m.facts[PLAIN_NEON] += 1
    if begin and m.load[x] == LOADED:
        m.first[x] = 1
    if flags & codes.INTERRUPT:
        emit(m, out, Event.SOFTIRQ_NEON_BEGIN if begin else Event.SOFTIRQ_NEON_END, x, -1)
    else:
        emit(m, out, Event.KERNEL_NEON_BEGIN if begin else Event.KERNEL_NEON_END, x, -1)


@bare
def _cpu_dies(m: Machine, out: Rows, cpu: int, x: int) -> None:
    emit_on(m, out, cpu, Event.CPU_DOWN, x, -1)
    m.facts[DOWN] -= m.down[cpu] > 0
    m.down[cpu] = 0


@bare
def _hotplug(m: Machine, out: Rows, cpu: int, step: int, x: int) -> None:
    """takedown_cpu alone counts only if fpsimd_cpu_dead does not follow before the CPU comes up."""
    if step == codes.STEP_TAKEDOWN:
        m.facts[DOWN] += m.down[cpu] == 0
        m.down[cpu] = x + 1
    elif step == codes.STEP_DEAD:
        _cpu_dies(m, out, cpu, x)
    else:
        if m.down[cpu]:
            _cpu_dies(m, out, cpu, m.down[cpu] - 1)
        emit_on(m, out, cpu, Event.CPU_UP, x, -1)


@bare
def _lost(m: Machine, out: Rows, c: int) -> None:
    """Lines of this CPU are missing: what runs on it is not known."""
    if m.leaving[c] >= 0:
        decide_use(m, out, c, -1, False)
    m.current[c] = m.previous[c] = -1
    m.switched[c] = 1


@bare
def _rare(m: Machine, out: Rows, raw: Raw, r: int, x: int, code: int) -> None:
    """Lines that come seldom."""
    need_resched = (raw.flags[r] & codes.NEED_RESCHED) != 0
    if code == codes.PRESERVE:
        m.facts[MARKS] = 1
        if raw.a[r] == codes.CALLER_SIGNAL:
            _signal(m, out, x, need_resched)
        else:
            m.child[x] = _fork_begins(m, out, x)
    elif code == codes.SIGNAL_DELIVER:
        if not m.facts[MARKS]:
            _signal(m, out, x, need_resched)
    elif code == codes.FORK:
        _forked(m, out, x, raw.b[r], raw.other[r])
    elif code == codes.EXEC:
        unnamed = (raw.flags[r] & codes.UNNAMED) != 0
        _executed(m, out, x, raw.b[r], raw.other[r] if unnamed else raw.comm[r])
    elif code == codes.EXIT:
        _exit(m, out, x)
    elif code == codes.FLUSH_THREAD:
        _flush_thread(m, out, x)
    elif code == codes.CPUHP:
        _hotplug(m, out, raw.a[r], raw.b[r], x)
    else:
        _neon(m, out, x, code == codes.NEON_BEGIN, raw.flags[r])


@inline
def _often(m: Machine, out: Rows, raw: Raw, r: int, c: int, x: int, code: int) -> None:
    if code >= codes.FIRST_TRUTH:
        m.facts[BINDS] |= code == BIND
        emit(m, out, code, x, -1)
    elif code == codes.SWITCH:
        _sched_switch(m, out, raw, r, c)
    elif code == codes.THREAD_SWITCH:
        m.facts[BINDS_TRACED] = 1
        _thread_switch(m, out, c, x)
    elif code == codes.SYS_ENTER:
        _sys_enter(m, out, x, raw.a[r], raw.b[r] != 0)
    elif code == codes.SYS_EXIT:
        _sys_exit(m, out, x, (raw.flags[r] & codes.NEED_RESCHED) != 0)
    elif code == codes.KVM_ENTRY:
        enter_guest(m, out, x)
    elif code == codes.KVM_EXIT:
        exit_guest(m, out, x)
    elif code == codes.KVM_USERSPACE_EXIT:
        leave_run(m, out, x)
    elif code == codes.CTXSYNC:
        guest_stopped(m, out, c, x)
    else:
        _rare(m, out, raw, r, x, code)


@inline
def _one_row(m: Machine, out: Rows, raw: Raw, r: int) -> None:
    c = raw.cpu[r]
    code = raw.code[r]
    m.facts[TIME] = raw.time[r]
    m.facts[ON] = c
    m.facts[LINE] = raw.line[r]
    if code == codes.LOST:
        _lost(m, out, c)
        return
    x = context_of(m, raw.tid[r], c) if raw.tid[r] >= 0 else m.current[c]
    if x < 0:
        return
    if m.name[x] < 0 or not raw.flags[r] & codes.UNNAMED:
        m.name[x] = raw.comm[r]
    if m.leaving[c] >= 0:
        decide_use(m, out, c, x, code == BIND)
    _observe(m, c, x, code)
    _often(m, out, raw, r, c, x, code)


@bare
def interpret(raw: Raw, start: int, stop: int, m: Machine, out: Rows) -> int:
    """Turn raw rows from `start` on into events; return the row to go on with, `stop` when all are done.

    It stops early when `out` or the contexts have no room for one more row.
    """
    r = start
    while r < stop:
        if m.facts[ROWS] + ROOM > len(out.time) or m.facts[CONTEXTS] + CONTEXT_ROOM > len(m.tid):
            break
        _one_row(m, out, raw, r)
        r += 1
    return r


@bare
def finish(m: Machine, out: Rows, cpu: int) -> int:
    """Add what only the end shows for CPUs from `cpu` on; return the CPU to go on with, or their number.

    A CPU whose death was not seen died after takedown_cpu.
    """
    while cpu < len(m.down):
        if m.facts[ROWS] + ROOM > len(out.time):
            break
        if m.down[cpu]:
            _cpu_dies(m, out, cpu, m.down[cpu] - 1)
        cpu += 1
    return cpu
