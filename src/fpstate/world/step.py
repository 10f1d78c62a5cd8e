"""What events and uses of registers do, in worlds that have V alone: a row, and the event's own effect on values.

Written once, for replay, check and machine, interpreted and compiled alike. Worlds with more registers: `world.wide`.
"""

from __future__ import annotations

from typing import Final

from fpstate.jit import inline
from fpstate.world.events import Event
from fpstate.world.operations import N_GUEST_TRAP, N_USER_TRAP, run_row
from fpstate.world.state import (
    BIRTH,
    DIRTY,
    F_GUEST_SVE,
    FRAME,
    FRAME_BUILT,
    GUEST_FP_TRAP,
    IMAGE,
    INITIAL,
    IS_VCPU,
    KERNEL_IMAGE,
    KERNEL_LATEST,
    LATEST,
    NOBODYS,
    PLAIN,
    POINTER,
    REGISTERS,
    SOFTIRQS,
    STASH,
    SVE_IMAGE,
    USER_FP_TRAP,
    VERSION,
    WORD,
    V,
    World,
    is_anothers,
    is_followed,
    is_latest,
    is_own,
    latest_label,
    own,
    owner_of,
)
from fpstate.world.table import A_ROW, H_BASE, NO_HANDLER, NOT_HANDLED, NOT_LEARNED, Report, Table, find_row
from fpstate.world.verdicts import (
    KERNEL_VALUE_LOST,
    LEAKING_FRAME,
    LEAKING_READ,
    NO_ROW,
    NOT_FOLLOWED,
    OK,
    STALE_FRAME,
    STALE_READ,
    TRAP_NOT_SERVED,
    WRONG_VALUE,
)

_FORK: Final = int(Event.FORK)
_EXEC: Final = int(Event.EXEC)
_SIGNAL: Final = int(Event.SIGNAL)
_SIGRETURN: Final = int(Event.SIGRETURN)
_PTRACE_WRITE: Final = int(Event.PTRACE_WRITE)
_VCPU_SETREG: Final = int(Event.VCPU_SETREG)
_VCPU_RESET: Final = int(Event.VCPU_RESET)
_NEON_BEGIN: Final = int(Event.KERNEL_NEON_BEGIN)
_NEON_END: Final = int(Event.KERNEL_NEON_END)
_SOFTIRQ_BEGIN: Final = int(Event.SOFTIRQ_NEON_BEGIN)
_EFI_BEGIN: Final = int(Event.EFI_BEGIN)
_PTRACE_READ: Final = int(Event.PTRACE_READ)
_VCPU_GETREG: Final = int(Event.VCPU_GETREG)
_HANDOFF_FINISH: Final = int(Event.HANDOFF_FINISH)
_CPU_DOWN: Final = int(Event.CPU_DOWN)
_CPU_UP: Final = int(Event.CPU_UP)
_PM_ENTER: Final = int(Event.CPU_PM_ENTER)
_USER_FP_TRAP: Final = int(Event.USER_FP_TRAP)
_GUEST_FP_TRAP: Final = int(Event.GUEST_FP_TRAP)

MIND_BEFORE: Final = sum(
    1 << e for e in (_EXEC, _SIGRETURN, _PTRACE_WRITE, _VCPU_SETREG, _VCPU_RESET, _NEON_END, _HANDOFF_FINISH)
)
MIND_AFTER: Final = sum(
    1 << e
    for e in (
        _NEON_BEGIN, _SOFTIRQ_BEGIN, _EFI_BEGIN, _FORK, _PM_ENTER, _CPU_DOWN, _SIGNAL, _PTRACE_READ, _VCPU_GETREG,
    )
)  # fmt: skip
"""Events that change values themselves, before their handler runs and after it."""
_GUEST_FP: Final = int(Event.GUEST_FP)
_USES: Final = 1 << int(Event.USER_FP) | 1 << _GUEST_FP


@inline
def copy_of_parent(w: World, t: int, s: int) -> None:
    """Make thread `s` a copy of `t`, policy fields included, as the kernel's structure copy at fork does."""
    w.context[s, WORD] = w.context[t, WORD]
    w.context[s, POINTER] = w.context[t, POINTER]
    w.context[s, POINTER + 1] = w.context[t, POINTER + 1]


@inline
def copy_image_to_child(w: World, t: int, s: int) -> int:
    """Give child `s` the parent's image: right if it was the parent's latest value, else as wrong as that.

    Return what is wrong where the parent alone is followed, since what becomes of its child's values is not looked at.
    """
    label, initial = w.context[t, IMAGE], w.context[t, INITIAL] == w.context[t, LATEST]
    right = is_latest(w, V, t, label)
    w.context[s, BIRTH] = w.context[s, LATEST]
    w.context[s, LATEST] += VERSION
    w.context[s, INITIAL] = w.context[s, LATEST] if w.zeros and initial else own(s)
    if right:
        w.context[s, IMAGE] = latest_label(w, V, s)
    elif not is_own(w, V, t, label):
        w.context[s, IMAGE] = label
    else:
        w.context[s, IMAGE] = w.context[s, BIRTH]
    return OK if right or w.followed == 0 else NOT_FOLLOWED


@inline
def exchanged(label: int, a: int, b: int) -> int:
    """Return the label of the same value, once contexts `a` and `b` have exchanged names."""
    owner = owner_of(label)
    if owner == own(a):
        return label - own(a) + own(b)
    return label - own(b) + own(a) if owner == own(b) else label


@inline
def take_over(w: World, t: int, s: int) -> None:
    """Give worker `t` the identity of thread `s`: its values, its image as it is, and its signal frame.

    No value changes by that, only whose it is: wherever one of `s` lies, it is one of `t` from now on. What `t` had
    before, nobody has any more.
    """
    for c in range(len(w.cpu)):
        for k in (REGISTERS, STASH):
            w.cpu[c, k] = exchanged(w.cpu[c, k], t, s)
    for x in range(len(w.context)):
        for k in (IMAGE, KERNEL_IMAGE):
            w.context[x, k] = exchanged(w.context[x, k], t, s)
    w.context[t, IMAGE] = w.context[s, IMAGE]
    for k in (LATEST, INITIAL, BIRTH):
        of_worker = w.context[t, k]
        w.context[t, k] = exchanged(w.context[s, k], t, s)
        w.context[s, k] = exchanged(of_worker, t, s)
    w.context[t, FRAME] = w.context[s, FRAME]
    w.context[s, FRAME] = 0


@inline
def before_row(w: World, e: int, c: int, t: int, s: int) -> int:
    """Do what event `e` does to values before kernel code handles it."""
    if e == _EXEC or e == _SIGRETURN:
        w.context[t, LATEST] += VERSION
        if e == _EXEC:
            w.context[t, INITIAL] = w.context[t, BIRTH] = w.context[t, LATEST]
    elif e == _PTRACE_WRITE or e == _VCPU_SETREG or e == _VCPU_RESET:
        w.context[s, LATEST] += VERSION
        if e == _VCPU_RESET:
            w.context[s, INITIAL] = w.context[s, LATEST]
    elif e == _HANDOFF_FINISH:
        take_over(w, t, s)
    elif e == _NEON_END and is_followed(w, V, t) and w.cpu[c, REGISTERS] != w.context[t, KERNEL_LATEST]:
        return KERNEL_VALUE_LOST
    return OK


@inline
def image_verdict(w: World, x: int, label: int, stale: int, leaking: int) -> int:
    """Return what is wrong with showing `label` as V of context `x`: `stale`, or `leaking` if it is another's."""
    if is_latest(w, V, x, label):
        return OK
    return leaking if is_anothers(w, V, x, label) else stale


@inline
def frame_verdict(w: World, t: int) -> int:
    """Return what is wrong with a signal frame built now from the image of task `t`."""
    return image_verdict(w, t, w.context[t, IMAGE], STALE_FRAME, LEAKING_FRAME)


@inline
def read_verdict(w: World, x: int) -> int:
    """Return what is wrong with reading V of context `x` from outside, now: from its image."""
    form = SVE_IMAGE if w.features & F_GUEST_SVE and w.context[x, IS_VCPU] and not w.context[x, PLAIN] else IMAGE
    return image_verdict(w, x, w.context[x, form], STALE_READ, LEAKING_READ)


@inline
def after_row(w: World, e: int, c: int, t: int, s: int) -> int:
    """Do what event `e` does to values after kernel code has handled it."""
    if e == _NEON_BEGIN:
        w.context[t, KERNEL_LATEST] += VERSION
        w.cpu[c, REGISTERS] = w.context[t, KERNEL_LATEST]
    elif e == _SOFTIRQ_BEGIN or e == _EFI_BEGIN:
        w.cpu[c, REGISTERS] = SOFTIRQS
    elif e == _FORK:
        return copy_image_to_child(w, t, s)
    elif e == _PM_ENTER or e == _CPU_DOWN:
        w.cpu[c, REGISTERS] = NOBODYS
    elif e == _PTRACE_READ or e == _VCPU_GETREG:
        return read_verdict(w, s)
    elif e == _SIGNAL:
        built, w.context[t, FRAME] = w.context[t, FRAME] == FRAME_BUILT, 0
        return OK if built else frame_verdict(w, t)
    return OK


@inline
def ignored(table: Table, e: int) -> bool:
    """Tell whether event `e` changes nothing where there is V alone: no handler, and no effect on values."""
    return table.handlers[e, H_BASE] == NOT_HANDLED and not (MIND_BEFORE | MIND_AFTER | _USES) >> e & 1


@inline
def step(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Let event `e` happen on CPU `c` to task `t` and second participant `s`; return OK or what went wrong.

    `s` is the number of contexts if there is none. On NO_ROW nothing has happened: learn the row that the report names,
    and step again. The report gets the row used.
    """
    if e == _CPU_DOWN or e == _CPU_UP:
        t = s = len(w.context) - 1  # nobody else is in view
    if e == _FORK:
        copy_of_parent(w, t, s)
    r = find_row(w, table, report, e, c, t, s)
    report.asked[A_ROW] = r
    if r == NOT_LEARNED:
        return NO_ROW
    verdict = OK
    if MIND_BEFORE >> e & 1:
        verdict = before_row(w, e, c, t, s)
    if r >= 0:
        verdict = max(verdict, run_row(w, table, report, r, c, t, s))
    if MIND_AFTER >> e & 1:
        verdict = max(verdict, after_row(w, e, c, t, s))
    return verdict


@inline
def touch(w: World, x: int, c: int) -> int:
    """Let context `x` read and write V on CPU `c`: it reads what the registers hold, and makes its newest version."""
    verdict = OK if is_latest(w, V, x, w.cpu[c, REGISTERS]) else WRONG_VALUE
    w.context[x, LATEST] += VERSION
    w.cpu[c, REGISTERS] = w.context[x, LATEST]
    if w.dirty:
        w.cpu[c, WORD] |= DIRTY
    return verdict


@inline
def trap_of(w: World, e: int, c: int) -> int:
    """Return the trap event that use `e` of V raises on CPU `c` as things are, 0 if none."""
    if e == _GUEST_FP:
        return _GUEST_FP_TRAP if w.cpu[c, WORD] & GUEST_FP_TRAP else 0
    return _USER_FP_TRAP if w.cpu[c, WORD] & USER_FP_TRAP else 0


@inline
def happen(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Let event or use `e` happen, as in `step`; before a use, the handler of an armed trap runs."""
    use = _USES >> e & 1
    event = trap_of(w, e, c) if use else e
    report.asked[A_ROW] = NO_HANDLER
    if event:
        verdict = step(w, table, report, event, c, t, s)
        if verdict != OK or not use:
            return verdict
        report.counts[N_GUEST_TRAP if e == _GUEST_FP else N_USER_TRAP] += 1
        if trap_of(w, e, c):
            return TRAP_NOT_SERVED
    return touch(w, s if e == _GUEST_FP else t, c)
