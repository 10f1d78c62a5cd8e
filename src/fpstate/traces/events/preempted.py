"""What a thread had only begun as it was preempted: it happens once the thread runs again.

A kernel that can be preempted anywhere may switch to another thread between the first line of a function and what the
function does. What the switch itself did, or what the function leaves behind, tells on which side of it that was.
"""

from __future__ import annotations

from typing import Final

from fpstate.jit import inline
from fpstate.traces.events.known import (
    AGAIN,
    AGAIN_WITH,
    ALMOST,
    ALMOST_AT,
    BEGUN,
    BEGUN_AT,
    BINDS_TRACED,
    ROOM,
    ROWS,
    SAVES,
    SECTIONS,
    STORES,
    TASK_LOADS,
    TIME,
    TRAP_ROW,
    WENT_ON,
    Known,
    emit,
)
from fpstate.world.events import Event, Truth

SVE_ACCESS: Final = int(Truth.DO_SVE_ACC)
HW_SAVE: Final = int(Truth.HW_SAVE)
LOADS: Final = int(Truth.TASK_FPSIMD_LOAD)
RELOAD: Final = int(Truth.FPSIMD_RESTORE_CURRENT_STATE)


@inline
def begin_event(m: Known, x: int, event: int, obj: int) -> None:
    """Add an event that a function's first line shows: until its next one, `x` may not have come to do it."""
    m.context[x, BEGUN] = m.facts[ROWS] + 1
    m.context[x, BEGUN_AT] = m.facts[TIME]
    emit(m, event, x, obj)


@inline
def sve_trap_begins(m: Known, x: int, event: int) -> None:
    """Add that an SVE trap is served: of a use that traps now, or of one that has trapped before (SVE_TRAP)."""
    m.context[x, TRAP_ROW] = m.facts[ROWS]
    begin_event(m, x, event, -1)
    emit(m, SVE_ACCESS, x, -1)


@inline
def _begun(m: Known, x: int) -> int:
    """Return the row of what `x` has begun, if its last line has told that; else -1."""
    r = m.context[x, BEGUN] - 1
    there = 0 <= r < m.facts[ROWS] and m.rows[0, r] == m.context[x, BEGUN_AT] and m.rows[3, r] == x
    return int(r) if there else -1


@inline
def _put_off(m: Known, x: int, r: int) -> None:
    """Let what `x` has begun, at row `r`, happen once it runs again."""
    m.context[x, AGAIN] = m.rows[2, r]
    m.context[x, AGAIN_WITH] = m.rows[4, r]
    m.rows[2, r] = Event.NONE


@inline
def put_off_unless_shown(m: Known, x: int) -> None:
    """Put off what leaves a line once it is done, and has not, as `x` is switched out.

    Sigreturn until v6.15 loads the registers. A section of kernel NEON is saved by the switch, if it can be preempted
    (`bound_by_switch` takes this back).
    """
    r = _begun(m, x)
    if r >= 0 and (
        (m.rows[2, r] == Event.SIGRETURN and m.facts[TASK_LOADS] and not m.facts[STORES])
        or (m.rows[2, r] == Event.KERNEL_NEON_BEGIN and m.facts[SECTIONS] and m.facts[BINDS_TRACED])
    ):
        _put_off(m, x, r)


@inline
def saved_by_switch(m: Known, x: int, code: int) -> None:
    """Put off what saves the registers, or gives them up: it has not, if the switch saves them.

    Nor has an SVE trap been served, if the switch does not save them as SVE's.
    """
    r = _begun(m, x)
    if r < 0 or m.rows[2, r] == Event.NONE:
        return
    if m.rows[2, r] == Event.USER_SVE or m.rows[2, r] == Event.SVE_TRAP:
        if code == HW_SAVE:
            m.rows[2, r] = Event.SVE_TRAP
            m.rows[2, r + 1] = Event.NONE
            _put_off(m, x, r)
    elif m.rows[2, r] != Event.SIGRETURN or m.facts[STORES]:
        _put_off(m, x, r)


@inline
def bound_by_switch(m: Known, x: int) -> None:
    """Note that the switch has saved a section of kernel NEON of `x`: it has begun, and is not over."""
    r = _begun(m, x)
    if r >= 0 and m.rows[2, r] == Event.KERNEL_NEON_END:
        _put_off(m, x, r)
    elif r >= 0 and m.context[x, AGAIN] == Event.KERNEL_NEON_BEGIN:
        m.rows[2, r] = Event.KERNEL_NEON_BEGIN
        m.context[x, AGAIN] = 0


@inline
def _almost_row(m: Known, x: int) -> int:
    """Return the row of the return to user mode that `x` was almost at, or -1."""
    r = abs(m.context[x, ALMOST]) - 1
    there = 0 <= r < m.facts[ROWS] and m.rows[0, r] == m.context[x, ALMOST_AT] and m.rows[3, r] == x
    return int(r) if there and m.rows[2, r] == Event.RET_TO_USER else -1


@inline
def almost_there(m: Known, x: int) -> None:
    """Add that `x` was almost in user mode: the kernel has seen to its registers, or is about to."""
    m.context[x, ALMOST] = m.facts[ROWS] + 1
    m.context[x, ALMOST_AT] = m.facts[TIME]
    emit(m, Event.RET_TO_USER, x, -1)


@inline
def _almost_goes_on(m: Known, x: int) -> None:
    """Let what was almost a return of `x` come only as it runs again, if nothing was saved when it was switched out.

    It was preempted on its way to see to its registers, in the function that does so, which goes on only now.
    """
    r = _almost_row(m, x)
    m.context[x, ALMOST] = 0
    if r < 0 or not m.facts[SAVES]:
        return
    m.rows[2, r] = Event.NONE
    for before in range(max(r - ROOM, 0), r):
        if m.rows[3, before] == x and m.rows[2, before] == RELOAD and m.rows[0, before] == m.rows[0, r]:
            m.rows[2, before] = Event.NONE
            emit(m, RELOAD, x, -1)
    almost_there(m, x)
    m.context[x, WENT_ON] = 1


@inline
def _has_loaded(m: Known, x: int, since: int) -> bool:
    """Tell whether `x` has loaded its registers since a row, or may have: where loads are not recorded."""
    for r in range(since, m.facts[ROWS]):
        if m.rows[3, r] == x and m.rows[2, r] == LOADS:
            return True
    return not m.facts[TASK_LOADS]


@inline
def returns_now(m: Known, x: int) -> None:
    """Take back that `x` was almost in user mode, if it went on to it, and has not been switched out since.

    A reload that it was in, and that has loaded nothing, found the registers live again: where it had run before.
    """
    r = _almost_row(m, x)
    if m.context[x, ALMOST] > 0 and m.context[x, WENT_ON] and r >= 0:
        m.rows[2, r] = Event.NONE
        if r > 0 and m.rows[3, r - 1] == x and m.rows[2, r - 1] == RELOAD and not _has_loaded(m, x, r):
            m.rows[2, r - 1] = Event.NONE
    m.context[x, ALMOST] = m.context[x, WENT_ON] = 0


@inline
def goes_on(m: Known, x: int) -> None:
    """Let happen what was put off until `x` runs again: it does, and its next line or switch is at hand."""
    if m.context[x, ALMOST] < 0:
        _almost_goes_on(m, x)
    if m.context[x, AGAIN] == Event.SVE_TRAP:
        sve_trap_begins(m, x, Event.SVE_TRAP)
    elif m.context[x, AGAIN]:
        begin_event(m, x, m.context[x, AGAIN], m.context[x, AGAIN_WITH])
    m.context[x, AGAIN] = 0
