"""From events to a path of the world: each event is one that the order allows where it stands.

Where it is not, something was not recorded. What must have happened is put in, as the rules name it; what cannot have
happened is left out. The kernel's entry from user mode by an interrupt or a trap leaves no line of its own, so putting
that in (INTERRUPT) is no hole; nor is what happened before the first event of a thread.
"""

from __future__ import annotations

from typing import Final

from fpstate.jit import bare, inline
from fpstate.paths.order import KERNEL
from fpstate.paths.order import NEON as IN_SECTION
from fpstate.traces import holes
from fpstate.traces.events.known import (
    ACTED,
    AWAY,
    CONTEXT_ROOM,
    CONTEXTS,
    HERE,
    INTERRUPTED,
    IS_OFF,
    KIND,
    LEFT_SECTION,
    LINE,
    MAYBE_USER,
    NEVER,
    PLACE,
    ROWS,
    SECTION,
    SEEN_THERE,
    STATE,
    STEP_ROOM,
    STEPS,
    TAKEN,
    TIME,
    USER,
    USER_RUNS,
    Known,
    context_of,
    vcpu_of,
)
from fpstate.traces.events.rules import AT_START, SYSCALL_BIT, USED_SVE
from fpstate.traces.trace import IF_PREEMPTIBLE, UNLESS_PREEMPTIBLE, UNLESS_RELOADED, Kind
from fpstate.world.events import Event, Truth
from fpstate.world.state import FREE

_FIRST_TRUTH: Final = int(min(Truth))
_SWITCH: Final = int(Event.THREAD_SWITCH)
_RET: Final = int(Event.RET_TO_USER)
_RET_MAYBE: Final = int(Event.RET_TO_USER_MAYBE)
_USER_MAYBE: Final = int(Event.USER_FP_MAYBE)
_SYSCALL: Final = int(Event.SYSCALL)
_INTERRUPT: Final = int(Event.INTERRUPT)
_RUN_ENTER: Final = int(Event.RUN_ENTER)
_RUN_EXIT: Final = int(Event.RUN_EXIT)
_NEON: Final = int(Event.KERNEL_NEON_BEGIN)
_NEON_END: Final = int(Event.KERNEL_NEON_END)
_SOFTIRQ: Final = int(Event.SOFTIRQ_NEON_BEGIN)
_SOFTIRQ_END: Final = int(Event.SOFTIRQ_NEON_END)
_FORK: Final = int(Event.FORK)
_SVE_TRAP: Final = int(Event.SVE_TRAP)
_PTRACE: Final = int(Event.PTRACE_WRITE)
_DOWN: Final = int(Event.CPU_DOWN)
_UP: Final = int(Event.CPU_UP)

_MODE: Final = 15  # of a state


@inline
def _add(m: Known, c: int, e: int, x: int, obj: int, line: int) -> None:
    """Add a step to the path, at the time of the row at hand."""
    n = m.facts[STEPS]
    m.steps[0, n] = m.facts[TIME]
    m.steps[1, n] = c
    m.steps[2, n] = e
    m.steps[3, n] = x
    m.steps[4, n] = obj
    m.steps[5, n] = line
    m.facts[STEPS] = n + 1


@inline
def _hole(m: Known, kind: int) -> None:
    """Count a hole at the row at hand."""
    if m.holes[kind, holes.HOW_OFTEN] == 0:
        m.holes[kind, holes.FIRST_LINE] = m.facts[LINE]
    m.holes[kind, holes.HOW_OFTEN] += 1


@inline
def _kind_of_hole(filler: int) -> int:
    """Return the kind of a hole that is filled with this event."""
    if filler == _RET:
        return holes.RETURN
    if filler == _SYSCALL:
        return holes.SYSCALL
    if filler == _NEON or filler == _NEON_END:
        return holes.NEON
    return holes.GUEST


@inline
def _leave_section(m: Known, c: int, x: int) -> None:
    """Let the section that `x` is in end here for kernels in which nothing can come in between."""
    if m.context[x, STATE] & _MODE == IN_SECTION and not m.context[x, LEFT_SECTION]:
        _add(m, c, _NEON_END, x, UNLESS_PREEMPTIBLE, m.facts[LINE])
        m.context[x, LEFT_SECTION] = 1


@inline
def _end_of_section(m: Known, x: int) -> int:
    """Return the object of the end of the section that `x` is in."""
    left = m.context[x, LEFT_SECTION]
    m.context[x, LEFT_SECTION] = 0
    return IF_PREEMPTIBLE if left else -1


@inline
def _fill(m: Known, c: int, x: int, e: int) -> bool:
    """Put in what must have happened on CPU `c` before `x` can do `e`; return whether it can then.

    A hole counts once. Before the first event of a thread there is none: it was in the midst of something. Nor is
    there one where a use of SVE, which traps under some policies, is followed by the return from that trap.
    """
    idle = int(m.context[x, KIND] == Kind.IDLE)
    hole = -1
    may_have_trapped = m.context[x, STATE] & _MODE == USED_SVE
    while not m.rules.allowed[idle, m.context[x, STATE]] >> e & 1:
        state = m.context[x, STATE]
        filler = int(m.rules.filler[idle, state, e])
        if filler == 0:
            return False
        if filler == _INTERRUPT:
            m.context[x, INTERRUPTED] = m.facts[TAKEN] + m.facts[STEPS] + 1
        elif filler == _RET:
            m.context[x, INTERRUPTED] = 0
        back = may_have_trapped and filler == _RET
        may_have_trapped = may_have_trapped and filler == _INTERRUPT
        if filler != _INTERRUPT and not back and hole < 0:
            hole = _kind_of_hole(filler)
        obj = UNLESS_RELOADED if back else vcpu_of(m, x) if _RUN_ENTER <= filler <= _RUN_EXIT else -1
        if filler == _NEON_END:
            obj = _end_of_section(m, x)
        _add(m, c, filler, x, obj, m.facts[LINE] if filler == _INTERRUPT or back else 0)
        m.context[x, STATE] = m.rules.after[state, filler]
        m.context[x, MAYBE_USER] = 0
    if hole >= 0 and m.context[x, ACTED]:
        _hole(m, hole)
    return True


@inline
def _end_section(m: Known, c: int) -> None:
    """End the softirq's use of FP on CPU `c` if it has not ended: nothing else happens there meanwhile."""
    if m.cpu[c, SECTION]:
        _add(m, c, _SOFTIRQ_END, m.cpu[c, SECTION] - 1, -1, 0)
        m.cpu[c, SECTION] = 0
        _hole(m, holes.NEON)


@inline
def _switched(m: Known, c: int, x: int, y: int) -> None:
    """Note that CPU `c` went from thread `x` to `y`."""
    m.context[x, STATE] = m.rules.after[m.context[x, STATE], _SWITCH]
    m.context[x, PLACE] = AWAY
    m.context[x, MAYBE_USER] = 0
    m.context[x, ACTED] = 1
    m.context[y, PLACE] = c
    m.cpu[c, HERE] = y


@inline
def _switch_to(m: Known, c: int, y: int) -> None:
    """Put in a switch of CPU `c` to thread `y`."""
    x = int(m.cpu[c, HERE])
    _end_section(m, c)
    _fill(m, c, x, _SWITCH)
    _leave_section(m, c, x)
    _add(m, c, _SWITCH, x, y, 0)
    _switched(m, c, x, y)


@inline
def _leave(m: Known, x: int) -> None:
    """Take thread `x` from the CPU that ran it, if any did."""
    if m.context[x, PLACE] >= 0:
        c = int(m.context[x, PLACE])
        _switch_to(m, c, context_of(m, 0, c))
        _hole(m, holes.MOVED)


@inline
def _come_up(m: Known, c: int) -> None:
    """Let CPU `c` be up."""
    if m.cpu[c, IS_OFF]:
        _add(m, c, _UP, m.cpu[c, HERE], -1, 0)
        m.cpu[c, IS_OFF] = 0
        _hole(m, holes.HOTPLUG)


@inline
def _be_on(m: Known, c: int, x: int) -> bool:
    """Let thread `x` be the one that runs on CPU `c`; return whether it can be."""
    if m.context[x, STATE] & _MODE == FREE:
        return False
    _come_up(m, c)
    if m.cpu[c, HERE] == x:
        return True
    if m.cpu[c, HERE] < 0 and m.context[x, PLACE] == NEVER:
        m.cpu[c, HERE] = x
        m.context[x, PLACE] = c
        return True
    _leave(m, x)
    if m.context[x, STATE] & _MODE == FREE:  # it was dying
        return False
    if m.cpu[c, HERE] < 0:
        idle = context_of(m, 0, c)
        m.cpu[c, HERE] = idle
        m.context[idle, PLACE] = c
        if idle == x:
            return True
    _switch_to(m, c, x)
    _hole(m, holes.SWITCH)
    return True


@inline
def _go_down(m: Known, c: int) -> None:
    """Let CPU `c` run its idle thread, so that it can go down."""
    _come_up(m, c)
    idle = context_of(m, 0, c)
    if m.cpu[c, HERE] < 0:
        m.cpu[c, HERE] = idle
        m.context[idle, PLACE] = c
    if m.cpu[c, HERE] != idle:
        _switch_to(m, c, idle)
        _hole(m, holes.HOTPLUG)
    _end_section(m, c)


@inline
def _hotplug(m: Known, c: int, e: int, x: int) -> None:
    """Let CPU `c` go down or come up. One that comes up first of all was down before the trace began."""
    known = m.cpu[c, HERE] >= 0
    if e == _DOWN:
        _go_down(m, c)
    elif not m.cpu[c, IS_OFF]:
        _go_down(m, c)
        _add(m, c, _DOWN, x, -1, 0)
        if known:
            _hole(m, holes.HOTPLUG)
    _add(m, c, e, x, -1, m.facts[LINE])
    m.cpu[c, IS_OFF] = e == _DOWN


@inline
def _may_take_part(m: Known, e: int, x: int, other: int) -> bool:
    """Make the second thread of an event what the order asks of it; return whether it can be."""
    if e != _SWITCH and e != _PTRACE and e != _FORK:
        return True
    mode = m.context[other, STATE] & _MODE
    if other == x or mode == FREE:
        return False
    if e == _FORK:
        return bool(m.context[other, PLACE] == NEVER)
    if m.context[other, PLACE] >= 0:
        _leave(m, other)
        mode = m.context[other, STATE] & _MODE
    if e == _PTRACE:
        m.context[other, USER] = 1
        if m.context[other, PLACE] == NEVER:
            m.context[other, PLACE] = AWAY
        return bool(mode == KERNEL)
    return bool(mode != FREE)


@inline
def _softirq_ends(m: Known, c: int, x: int) -> bool:
    """Let a softirq's use of FP be under way, so that it can end; return whether it can."""
    if not m.cpu[c, SECTION]:
        if not _fill(m, c, x, _SOFTIRQ):
            return False
        _leave_section(m, c, x)
        _add(m, c, _SOFTIRQ, x, -1, 0)
        _hole(m, holes.NEON)
    m.cpu[c, SECTION] = 0
    return True


@inline
def _can_be(m: Known, c: int, e: int, x: int, obj: int) -> bool:
    """Put in what must have happened before event `e`; return whether it can happen then."""
    if not _be_on(m, c, x):
        return False
    if e == _SOFTIRQ_END:
        return _softirq_ends(m, c, x)
    _end_section(m, c)
    if not _may_take_part(m, e, x, obj):
        return False
    if e == _USER_MAYBE and m.context[x, MAYBE_USER]:
        return True
    return _fill(m, c, x, e)


@inline
def _was_entered(m: Known, x: int) -> bool:
    """Let the interrupt by which `x` left user mode be the system call seen now; return whether it was that.

    Where every return to user mode was seen and there was none since, the kernel was preempted between its entry and
    the line that tells of the system call. It lets SVE go, if it does, before interrupts are on (el0_svc).
    """
    row = m.context[x, INTERRUPTED] - m.facts[TAKEN] - 1
    state = m.context[x, STATE]
    if not m.facts[USER_RUNS] or row < 0 or state != KERNEL:
        return False
    m.steps[2, row] = _SYSCALL
    m.context[x, STATE] = state | SYSCALL_BIT
    m.context[x, INTERRUPTED] = 0
    return True


@inline
def _happens(m: Known, c: int, e: int, x: int, obj: int) -> None:
    """Add event `e`, which can happen now."""
    if e == _SWITCH or e == _SOFTIRQ:
        _leave_section(m, c, x)
    elif e == _NEON_END:
        obj = _end_of_section(m, x)
    _add(m, c, e, x, obj, m.facts[LINE])
    if e == _SWITCH:
        _switched(m, c, x, obj)
        return
    if e == _SOFTIRQ:
        m.cpu[c, SECTION] = x + 1
    elif e == _FORK:
        m.context[obj, PLACE] = AWAY
        m.context[obj, STATE] = AT_START
    if e != _SOFTIRQ and e != _SOFTIRQ_END and not (e == _USER_MAYBE and m.context[x, MAYBE_USER]):
        m.context[x, STATE] = m.rules.after[m.context[x, STATE], e]
    m.context[x, MAYBE_USER] = e == _RET_MAYBE
    m.context[x, ACTED] = 1
    if e == _RET:
        m.context[x, INTERRUPTED] = 0


@inline
def _step(m: Known, r: int) -> None:
    """Add row `r` to the path, after what must have happened before it."""
    e = int(m.rows[2, r])
    if e == 0:
        return
    c, x, obj = int(m.rows[1, r]), int(m.rows[3, r]), int(m.rows[4, r])
    m.facts[TIME] = m.rows[0, r]
    m.facts[LINE] = m.rows[5, r]
    if e == SEEN_THERE:
        _be_on(m, c, x)
    elif e >= _FIRST_TRUTH or e == _SVE_TRAP:  # a trap is served in the kernel, and changes nothing of the order
        _add(m, c, e, x, obj, m.facts[LINE])
    elif e == _DOWN or e == _UP:
        _hotplug(m, c, e, x)
    elif e == _SYSCALL and _was_entered(m, x):
        _be_on(m, c, x)
    elif _can_be(m, c, e, x, obj):
        _happens(m, c, e, x, obj)
    elif e != _FORK or m.context[x, KIND] != Kind.IDLE:  # idle threads fork kernel threads at boot: that means nothing
        _hole(m, holes.LEFT_OUT)


@bare
def follow(m: Known, start: int) -> tuple[int, bool]:
    """Turn event rows from `start` on into steps of a path; return the row to go on with, and whether all are done.

    It stops early when the steps or the contexts have no room for one more row. At the end the rows are used up.
    """
    r = start
    while r < m.facts[ROWS]:
        if m.facts[STEPS] + STEP_ROOM > m.steps.shape[1] or m.facts[CONTEXTS] + CONTEXT_ROOM > len(m.context):
            return r, False
        _step(m, r)
        r += 1
    m.facts[ROWS] = 0
    return r, True
