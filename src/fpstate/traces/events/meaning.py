"""From lines to events: what the kernel went through, in order, on each CPU.

A return to user mode leaves no line. It is added where a later line of the task shows that it happened, and carries
that line's time and number. A task that is PENDING may still serve a signal or a reschedule first.
"""

from __future__ import annotations

from typing import Final

from fpstate.jit import bare, inline
from fpstate.traces.events.guests import (
    begin_run,
    decide_use,
    end_run,
    enter_guest,
    exit_guest,
    guest_stopped,
    leave_run,
    load,
    put,
    saw_guest,
    saw_load,
    saw_put,
)
from fpstate.traces.events.known import (
    ALMOST,
    ASKED_LENGTH,
    BEGUN,
    BINDS,
    BINDS_TRACED,
    CHILD,
    CONTEXT_ROOM,
    CONTEXTS,
    CURRENT,
    DEAD,
    DOWN,
    DYING,
    ENTERED,
    EXITS,
    FIRST,
    FLUSHED,
    GUESS,
    INSIDE,
    KERNEL,
    KIND,
    KTHREAD_FOR_SURE,
    LEAVING,
    LINE,
    LOAD,
    LOADED,
    LOADS,
    MARKS,
    MODE,
    NAME,
    NOT_LOADED,
    OFF,
    ON,
    PARENT,
    PENDING,
    PLAIN_NEON,
    PREVIOUS,
    PUT,
    QUICKEST,
    RELOADED,
    RELOADS,
    RESCHED,
    ROOM,
    ROWS,
    RUN,
    SAVES,
    SECTION_ONLY,
    SEEN_THERE,
    SIGNALS,
    SINCE,
    STORES,
    SVE,
    SWITCHED,
    SYSCALLS,
    TASK_LOADS,
    THREADED,
    TID,
    TIME,
    TRAP_ROW,
    UNKNOWN,
    UPDATES,
    USER,
    USER_RUNS,
    WENT_ON,
    X86,
    Known,
    context_of,
    emit,
    emit_on,
    first_seen,
    make_pending,
    new_context,
    to_user,
)
from fpstate.traces.events.preempted import (
    HW_SAVE,
    RELOAD,
    SVE_ACCESS,
    almost_there,
    begin_event,
    bound_by_switch,
    goes_on,
    put_off_unless_shown,
    returns_now,
    saved_by_switch,
    sve_trap_begins,
)
from fpstate.traces.lines import codes
from fpstate.traces.lines.scan import Line, Raw, line_at
from fpstate.traces.trace import IF_SILENT, Kind
from fpstate.world.events import Event, Truth

BIND: Final = int(Truth.FPSIMD_BIND_STATE_TO_CPU)
HW_SVE_SAVE: Final = int(Truth.HW_SVE_SAVE)
TASK_LOAD: Final = int(Truth.TASK_FPSIMD_LOAD)
KTHREADD: Final = 2
SIGRETURN_ARM64: Final = 139
SIGRETURN_X86: Final = 15
SOON: Final = 1_000_000  # ns: a task pending for less has not run in user mode yet
TICK: Final = 4_000_000  # ns, CONFIG_HZ=250
TICK_DUE: Final = 1_500  # ns after a tick is due in which it is served, on an emulated machine
TICK_SERVED: Final = 8_000


@inline
def _soon(m: Known, x: int) -> bool:
    return bool(m.facts[TIME] - m.context[x, SINCE] < SOON)


@inline
def _resume(m: Known, x: int) -> None:
    """Thread `x` runs again."""
    if m.context[x, MODE] == OFF:
        make_pending(m, x, 2)


@inline
def _observe(m: Known, c: int, x: int, code: int) -> None:
    """Note that a line of `x` came from CPU `c`. After sched_switch a few lines still come from the previous thread."""
    if m.cpu[c, CURRENT] == x:
        m.cpu[c, PREVIOUS] = -1
        return
    if m.cpu[c, PREVIOUS] == x and (code >= codes.FIRST_TRUTH or code in (codes.THREAD_SWITCH, codes.VCPU_PUT)):
        return
    m.cpu[c, CURRENT] = x
    m.cpu[c, PREVIOUS] = -1
    emit(m, SEEN_THERE, x, -1)
    _resume(m, x)


@inline
def _alive(m: Known, c: int, x: int) -> int:
    """Return `x`, or a new context of its thread id if `x` has exited and left CPU `c`: the id was given out again."""
    if not m.context[x, DEAD] or m.cpu[c, CURRENT] == x or m.cpu[c, PREVIOUS] == x:
        return x
    tid = m.context[x, TID]
    if m.by_tid[tid] == x:
        m.by_tid[tid] = new_context(m, Kind.USER, tid)
    return int(m.by_tid[tid])


@inline
def _went_straight(m: Known, x: int, stopper: bool) -> bool:
    """Tell whether a pending thread that is switched out never reached user mode: the reschedule was served first.

    Need-resched may be set by an interrupt after the line that made it pending. Signs of that: the switch came as fast
    as those known to have gone straight (where need-resched was set on the line); a tick was due just then (250 Hz, on
    a clock that counts from boot as the tick does); or a stopper took over from a thread just switched to.
    """
    waited = m.facts[TIME] - m.context[x, SINCE]
    if m.context[x, RESCHED] == 1:
        if waited < m.facts[QUICKEST] or (m.facts[QUICKEST] == GUESS and waited < SOON // 4):
            m.facts[QUICKEST] = waited
        return True
    if waited <= 2 * m.facts[QUICKEST]:
        return True
    if m.context[x, RESCHED] == 2:
        return stopper and waited < SOON
    return bool(waited < SOON and TICK_DUE < m.context[x, SINCE] % TICK < TICK_SERVED)


@inline
def _switch_out(m: Known, x: int, runnable: bool, stopper: bool) -> None:
    goes_on(m, x)
    m.context[x, ALMOST] = -abs(m.context[x, ALMOST])
    m.context[x, WENT_ON] = 0
    put_off_unless_shown(m, x)
    if m.context[x, MODE] == PENDING:
        if m.context[x, SVE] == 1 and not m.context[x, RELOADED]:
            m.context[x, SVE] = 2  # perhaps still in the trap's handler; its next line will tell
        elif not _went_straight(m, x, stopper):
            to_user(m, x)
        elif m.context[x, RELOADED] and not m.facts[USER_RUNS]:
            emit(m, Event.RET_TO_USER, x, -1)  # the return had begun: its registers were seen to
        m.context[x, MODE] = OFF
    if m.context[x, RUN]:
        if (
            m.context[x, LOAD] == NOT_LOADED and runnable and not m.facts[LOADS]
        ):  # preempted after vcpu_load, most likely; else it waits for the vCPU's mutex
            load(m, x)
        if m.context[x, LOAD] == LOADED:
            put(m, x)


@inline
def _switch_in(m: Known, y: int) -> None:
    _resume(m, y)
    if m.context[y, RUN]:
        if m.context[y, LOAD] == PUT:
            load(m, y)
    elif m.context[y, MODE] == UNKNOWN and m.context[y, KIND] != Kind.IDLE and not m.facts[USER_RUNS]:
        unless = IF_SILENT if m.facts[SYSCALLS] else -1
        emit(m, Event.RET_TO_USER_MAYBE, y, unless)
        emit(m, Event.USER_FP_MAYBE, y, unless)


@inline
def _switch(m: Known, c: int, x: int, y: int, flags: int) -> None:
    """Switch CPU `c` from thread `x` to `y`."""
    if flags & codes.DEAD and m.context[x, KIND] != Kind.IDLE:
        if m.context[x, RUN]:
            end_run(m, x, False)
        m.context[x, MODE] = KERNEL
        m.context[x, DEAD] = 1
        emit(m, Event.EXIT, x, -1)
    _switch_out(m, x, (flags & codes.RUNNABLE) != 0, (flags & codes.STOPPER) != 0)
    emit(m, Event.THREAD_SWITCH, x, y)
    m.cpu[c, CURRENT] = y
    m.cpu[c, PREVIOUS] = x
    _switch_in(m, y)


@inline
def _sched_switch(m: Known, c: int, line: Line) -> None:
    x = _alive(m, c, context_of(m, line.a, c))
    y = context_of(m, line.b, c)
    if m.context[y, DEAD]:
        m.by_tid[line.b] = y = new_context(m, Kind.USER, line.b)
    if m.cpu[c, CURRENT] != x:
        _observe(m, c, x, codes.SWITCH)
    if line.other >= 0:
        m.context[y, NAME] = line.other
    m.cpu[c, SWITCHED] = 1
    if line.flags & codes.KTHREAD_WAITS and not m.context[x, USER]:
        m.context[x, USER] = KTHREAD_FOR_SURE
    _switch(m, c, x, y, line.flags)


@inline
def _thread_switch(m: Known, c: int, x: int) -> None:
    """fpsimd_thread_switch: without a sched_switch before it, the kernel went idle by a way that has no such line."""
    if not m.cpu[c, SWITCHED]:
        _switch(m, c, x, context_of(m, 0, c), 0)
    m.cpu[c, SWITCHED] = 0


@inline
def _sys_enter(m: Known, c: int, x: int, nr: int, what: int) -> None:
    m.facts[SYSCALLS] = 1
    m.context[x, USER] = 1
    first_seen(m, x, ENTERED)
    if m.context[x, RUN]:
        end_run(m, x, not m.facts[EXITS])
    to_user(m, x)
    emit(m, Event.SYSCALL, x, -1)
    m.context[x, MODE] = KERNEL
    if what == 1:
        begin_run(m, x)
    elif what > 1 and not m.facts[X86]:
        if what - 2 != m.context[x, ASKED_LENGTH]:  # what it has already changes nothing
            emit(m, Event.VL_CHANGE, x, -1)
        m.context[x, ASKED_LENGTH] = what - 2
    elif what < 0 and not m.facts[X86]:
        emit(m, Event.PTRACE_WRITE, x, context_of(m, -what, c))
    is_sigreturn = nr == codes.SIGRETURN_CALL or nr == (SIGRETURN_X86 if m.facts[X86] else SIGRETURN_ARM64)
    if is_sigreturn and not m.facts[UPDATES]:
        emit(m, Event.SIGRETURN, x, -1)


@inline
def _sys_exit(m: Known, x: int, need_resched: bool) -> None:
    m.facts[SYSCALLS] = 1
    m.context[x, USER] = 1
    first_seen(m, x, INSIDE)
    if m.context[x, RUN]:  # no kvm_userspace_exit: where those are recorded, the vCPU's mutex was not taken
        end_run(m, x, not m.facts[EXITS])
    m.context[x, CHILD] = -1
    make_pending(m, x, 1 if need_resched else 0)


@inline
def _almost_user(m: Known, x: int) -> None:
    """almost_user: the kernel was about to return `x` to user mode, and did something else."""
    returns_now(m, x)
    almost_there(m, x)


@inline
def _saw_user(m: Known, x: int, used: int) -> None:
    """user_run: an emulator saw `x` return to user mode."""
    returns_now(m, x)
    m.context[x, USER] = 1
    emit(m, Event.RET_TO_USER, x, -1)
    if used & codes.RUN_SVE:
        emit(m, Event.USER_SVE, x, -1)
    if used:
        emit(m, Event.USER_FP, x, -1)
    m.context[x, SVE] = 0
    make_pending(m, x, 0)


@inline
def _signal(m: Known, x: int, need_resched: bool) -> None:
    """Build a signal's frame, on the way to user mode."""
    m.facts[SIGNALS] += 1
    m.context[x, USER] = 1
    if m.context[x, MODE] == PENDING and not _soon(m, x):
        to_user(m, x)
    begin_event(m, x, Event.SIGNAL, -1)
    make_pending(m, x, 1 if need_resched else 0)


@inline
def _exit(m: Known, x: int) -> None:
    """sched_process_exit: `x` is not in user mode any more; it dies at its last switch, and may be preempted before."""
    if m.context[x, MODE] == PENDING and not _soon(m, x):
        to_user(m, x)
    if m.context[x, RUN]:
        end_run(m, x, False)
    m.context[x, MODE] = KERNEL


@inline
def _fork_begins(m: Known, x: int) -> int:
    """Return the new context of a child of `x`, which has no thread id yet."""
    y = new_context(m, Kind.USER, -1)
    first_seen(m, x, INSIDE)
    m.context[y, PARENT] = x
    m.context[y, NAME] = m.context[x, NAME]
    m.context[y, MODE] = KERNEL if m.context[x, TID] == KTHREADD or not m.facts[SYSCALLS] else OFF
    begin_event(m, x, Event.FORK, y)
    return y


@inline
def _forked(m: Known, x: int, tid: int, name: int) -> None:
    """sched_process_fork: the child gets its thread id."""
    y = int(m.context[x, CHILD])
    if y < 0:
        y = _fork_begins(m, x)
    m.context[x, CHILD] = -1
    m.context[y, TID] = tid
    m.context[y, NAME] = name
    m.by_tid[tid] = y


@inline
def _executed(m: Known, x: int, old_tid: int, name: int) -> None:
    """sched_process_exec: the registers were cleared at fpsimd_flush_thread, if that was seen."""
    m.context[x, USER] = 1
    first_seen(m, x, INSIDE)
    if name >= 0:
        m.context[x, NAME] = name
    if old_tid != m.context[x, TID] and old_tid > 0:
        m.by_tid[old_tid] = -1
    if not m.context[x, FLUSHED]:
        emit(m, Event.EXEC, x, -1)
    m.context[x, FLUSHED] = 0


@inline
def _flush_thread(m: Known, x: int) -> None:
    begin_event(m, x, Event.EXEC, -1)
    first_seen(m, x, INSIDE)
    m.context[x, FLUSHED] = 1
    m.context[x, USER] = 1


@inline
def _neon(m: Known, x: int, begin: bool, flags: int) -> None:
    """kernel_neon_begin and _end; an interrupt may take the registers from a task in user mode.

    With PREEMPT_RT a softirq is served by a thread, and what it does is that thread's.
    """
    if begin and m.context[x, MODE] == PENDING and not _soon(m, x):
        to_user(m, x)
        make_pending(m, x, 0)
    if not flags & codes.HAS_FLAGS:
        m.facts[PLAIN_NEON] += 1
    if begin and m.context[x, LOAD] == LOADED:
        m.context[x, FIRST] = 1
    if (flags & codes.INTERRUPT and not m.facts[THREADED]) or m.context[x, KIND] == Kind.IDLE:
        emit(m, Event.SOFTIRQ_NEON_BEGIN if begin else Event.SOFTIRQ_NEON_END, x, -1)
    else:
        if m.context[x, MODE] == (UNKNOWN if begin else SECTION_ONLY):
            m.context[x, MODE] = SECTION_ONLY if begin else UNKNOWN
        begin_event(m, x, Event.KERNEL_NEON_BEGIN if begin else Event.KERNEL_NEON_END, -1)


@inline
def _cpu_dies(m: Known, cpu: int, x: int) -> None:
    emit_on(m, cpu, Event.CPU_DOWN, x, -1)
    m.facts[DOWN] -= m.cpu[cpu, DYING] > 0
    m.cpu[cpu, DYING] = 0


@inline
def _hotplug(m: Known, cpu: int, step: int, x: int) -> None:
    """takedown_cpu alone counts only if fpsimd_cpu_dead does not follow before the CPU comes up."""
    if step == codes.STEP_TAKEDOWN:
        m.facts[DOWN] += m.cpu[cpu, DYING] == 0
        m.cpu[cpu, DYING] = x + 1
    elif step == codes.STEP_DEAD:
        _cpu_dies(m, cpu, x)
    else:
        if m.cpu[cpu, DYING]:
            _cpu_dies(m, cpu, int(m.cpu[cpu, DYING]) - 1)
        emit_on(m, cpu, Event.CPU_UP, x, -1)


@inline
def _lost(m: Known, c: int) -> None:
    """Lines of this CPU are missing: what runs on it is not known."""
    if m.cpu[c, LEAVING] >= 0:
        decide_use(m, c, -1, False)
    m.cpu[c, CURRENT] = m.cpu[c, PREVIOUS] = -1
    m.cpu[c, SWITCHED] = 1


@inline
def _sve_trap(m: Known, x: int, need_resched: bool) -> None:
    """do_sve_acc: user mode used SVE and trapped; it will use it again, without a trap, once it is back there.

    The trap belongs to the stay in user mode before. If `x` was switched out since, on its way to the handler, the use
    is not made again here.
    """
    to_user(m, x)
    before = m.facts[USER_RUNS] and m.context[x, RESCHED] == 2
    sve_trap_begins(m, x, Event.SVE_TRAP if before else Event.USER_SVE)
    m.context[x, USER] = 1
    m.context[x, SVE] = 1
    make_pending(m, x, 1 if need_resched else 0)


@inline
def _lost_registers(m: Known, x: int, since: int) -> bool:
    """Tell whether `x` was switched out, or a section of kernel NEON took its registers, after a row."""
    for r in range(since, m.facts[ROWS]):
        e = m.rows[2, r]
        if m.rows[3, r] == x and (
            e == Event.THREAD_SWITCH or e == Event.KERNEL_NEON_BEGIN or e == Event.SOFTIRQ_NEON_BEGIN
        ):
            return True
    return False


@inline
def _sve_trap_goes_on(m: Known, x: int) -> None:
    """fpsimd_flush_task_state in do_sve_acc: `x` lost its registers before the trap had changed anything.

    So it is as if it trapped only now, unless those rows are gone. Until v5.12 it gives up its registers in any case.
    """
    r = m.context[x, TRAP_ROW]
    lost = m.context[x, SVE] and _lost_registers(m, x, r)
    if lost and r + 1 < m.facts[ROWS] and m.rows[3, r] == x and m.rows[2, r + 1] == SVE_ACCESS:
        m.rows[2, r] = m.rows[2, r + 1] = Event.NONE
        sve_trap_begins(m, x, Event.SVE_TRAP)
    make_pending(m, x, 0)


@inline
def _rare(m: Known, x: int, line: Line) -> None:
    """Lines that come seldom."""
    code = line.code
    need_resched = (line.flags & codes.NEED_RESCHED) != 0
    if code == codes.PRESERVE:
        m.facts[MARKS] = 1
        if line.a == codes.CALLER_SIGNAL:
            _signal(m, x, need_resched)
        else:
            m.context[x, CHILD] = _fork_begins(m, x)
    elif code == codes.SAVE_AND_FLUSH:
        if line.a == codes.CALLER_FORK:
            m.context[x, CHILD] = _fork_begins(m, x)
        elif m.facts[UPDATES]:
            m.facts[STORES] = 1
            begin_event(m, x, Event.SIGRETURN, -1)
    elif code == codes.SIGNAL_DELIVER:
        if not m.facts[MARKS]:
            _signal(m, x, need_resched)
    elif code == codes.FORK:
        _forked(m, x, line.b, line.other)
    elif code == codes.EXEC:
        _executed(m, x, line.b, line.other if line.flags & codes.UNNAMED else line.comm)
    elif code == codes.EXIT:
        _exit(m, x)
    elif code == codes.UPDATE:
        if m.facts[UPDATES] and not m.facts[STORES]:
            begin_event(m, x, Event.SIGRETURN, -1)
    elif code == codes.FLUSH_TASK:
        _sve_trap_goes_on(m, x)
    elif code == codes.FLUSH_THREAD:
        _flush_thread(m, x)
    elif code == codes.CPUHP:
        _hotplug(m, line.a, line.b, x)
    else:
        _neon(m, x, code == codes.NEON_BEGIN, line.flags)


@inline
def _often(m: Known, c: int, x: int, line: Line) -> None:
    code = line.code
    if code == SVE_ACCESS:
        _sve_trap(m, x, (line.flags & codes.NEED_RESCHED) != 0)
    elif code >= codes.FIRST_TRUTH:
        if code == RELOAD:
            m.facts[RELOADS] = m.context[x, RELOADED] = 1
        m.facts[BINDS] |= code == BIND
        if code == HW_SAVE or code == HW_SVE_SAVE:
            m.facts[SAVES] = 1
            m.context[x, ALMOST] = 0
            if m.cpu[c, PREVIOUS] == x:
                saved_by_switch(m, x, code)
        elif code == BIND and m.cpu[c, PREVIOUS] == x:
            bound_by_switch(m, x)
        elif code == TASK_LOAD:
            m.facts[TASK_LOADS] = 1
        emit(m, code, x, -1)
    elif code == codes.SWITCH:
        _sched_switch(m, c, line)
    elif code == codes.THREAD_SWITCH:
        m.facts[BINDS_TRACED] = 1
        _thread_switch(m, c, x)
    elif code == codes.SYS_ENTER:
        _sys_enter(m, c, x, line.a, line.b)
    elif code == codes.SYS_EXIT:
        _sys_exit(m, x, (line.flags & codes.NEED_RESCHED) != 0)
    elif code == codes.KVM_ENTRY:
        enter_guest(m, x)
    elif code == codes.KVM_EXIT:
        exit_guest(m, x)
    elif code == codes.KVM_USERSPACE_EXIT:
        leave_run(m, x)
    elif code == codes.USER_RUN:
        _saw_user(m, x, line.a)
    elif code == codes.GUEST_RUN:
        saw_guest(m, x, line.a, line.b)
    elif code == codes.ALMOST_USER:
        _almost_user(m, x)
    elif code == codes.VCPU_LOAD:
        saw_load(m, x)
    elif code == codes.VCPU_PUT:
        saw_put(m, x)
    elif code == codes.CTXSYNC:
        guest_stopped(m, c, x)
    else:
        _rare(m, x, line)


@inline
def _one_row(m: Known, line: Line) -> None:
    c = line.cpu
    m.facts[TIME] = line.time
    m.facts[ON] = c
    m.facts[LINE] = line.number
    if line.code == codes.LOST:
        _lost(m, c)
        return
    x = context_of(m, line.tid, c) if line.tid >= 0 else int(m.cpu[c, CURRENT])
    if x < 0:
        return
    x = _alive(m, c, x)
    if m.context[x, NAME] < 0 or not line.flags & codes.UNNAMED:
        m.context[x, NAME] = line.comm
    if m.cpu[c, LEAVING] >= 0:
        decide_use(m, c, x, line.code == BIND)
    if line.code != codes.SWITCH:  # that names the thread itself
        _observe(m, c, x, line.code)
        if m.cpu[c, PREVIOUS] != x:
            goes_on(m, x)
            if not line.flags & codes.INTERRUPT:
                m.context[x, BEGUN] = 0
    _often(m, c, x, line)


@bare
def interpret(raw: Raw, start: int, stop: int, m: Known) -> int:
    """Turn raw rows from `start` on into events; return the row to go on with, `stop` when all are done.

    It stops early when the events or the contexts have no room for one more row.
    """
    r = start
    while r < stop:
        if m.facts[ROWS] + ROOM > m.rows.shape[1] or m.facts[CONTEXTS] + CONTEXT_ROOM > len(m.context):
            break
        _one_row(m, line_at(raw, r))
        r += 1
    return r


@bare
def finish(m: Known, cpu: int) -> int:
    """Add what only the end shows for CPUs from `cpu` on; return the CPU to go on with, or their number.

    A CPU whose death was not seen died after takedown_cpu.
    """
    while cpu < len(m.cpu):
        if m.facts[ROWS] + ROOM > m.rows.shape[1]:
            break
        if m.cpu[cpu, DYING]:
            _cpu_dies(m, cpu, int(m.cpu[cpu, DYING]) - 1)
        cpu += 1
    return cpu
