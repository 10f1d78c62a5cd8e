"""Registers beyond V: what the operations on SVE, SME, FPMR and FPEXC mean, and what uses and events do to them.

Architecture (Arm ARM DDI 0487, "The Scalable Vector Extension", "The Scalable Matrix Extension"): writing a V register
zeroes the rest of its Z register; SVE instructions work at the length in ZCR; entering or leaving streaming mode zeroes
Z, P and FFR and with them V, and resets FPMR; enabling ZA zeroes it. Linux (Documentation/arch/arm64/sve.rst): a system
call may discard all of Z but V; a change of vector length discards it.

A vector length is a value like any other: its owner's. A vCPU has two: the one its guest has chosen, own(vCPU) with a
version, and the longest it may choose, which its image is laid out for: kernel_of(vCPU), without one.
"""

from __future__ import annotations

from typing import Final

from fpstate.jit import inline
from fpstate.world import operations
from fpstate.world.events import Event
from fpstate.world.operations import (
    BEHIND_TRAP,
    BUILD_FRAME,
    CLEAR,
    FETCH,
    LOAD,
    LOAD_SOME,
    N_GUEST_TRAP,
    N_LOAD_SVE,
    N_PARTS,
    N_SAVE_SVE,
    N_SME_TRAP,
    N_SVE_TRAP,
    N_USER_TRAP,
    NEW_PLACE,
    START_TIMER,
    set_fields,
    whose,
)
from fpstate.world.state import (
    BIRTH,
    CLASSES_END,
    DIRTY,
    DISCARDABLE,
    F_AARCH32,
    F_FPMR,
    F_GUEST_SME,
    F_GUEST_SVE,
    F_SME,
    F_SVE,
    FPEXC,
    FPMR,
    FRAME,
    FRAME_BUILT,
    FREE,
    GUEST_FP_TRAP,
    GUEST_SVE_TRAP,
    IMAGE,
    IN_SYSCALL,
    INITIAL,
    IS_VCPU,
    LATEST,
    MODE,
    MODE_SHIFT,
    NOBODYS,
    PER_CLASS,
    PLAIN,
    REGISTERS,
    SM,
    STASH,
    STORAGE,
    SVCR,
    SVE_FRAME,
    SVE_IMAGE,
    SVE_STORE,
    USER_FP_TRAP,
    USER_SME_TRAP,
    USER_SVE_TRAP,
    VERSION,
    WORD,
    ZA,
    ZA_ON,
    ZA_STORE,
    ZCR,
    ZEROS,
    V,
    World,
    Z,
    context_of,
    guest_storage,
    is_anothers,
    is_followed,
    is_latest,
    kernel_of,
    latest_label,
    was_latest,
)
from fpstate.world.step import MIND_AFTER, MIND_BEFORE, after_row, before_row, copy_of_parent, frame_verdict
from fpstate.world.table import A_ROW, NOT_LEARNED, R_OPS, Report, Table, find_row, named
from fpstate.world.verdicts import (
    CLASS_LEAKS,
    CLASS_WRONG,
    KERNEL_TRAPS,
    MODE_AT_DOWN,
    NO_ROW,
    NO_STORAGE,
    NOT_FOLLOWED,
    OK,
    TRAP_NOT_SERVED,
    USE_AFTER_FREE,
    WARNED,
    WRONG_LENGTH,
    WRONG_MODE,
    WRONG_VALUE,
)

# Operations on more than V; the first ones are in world.operations. The class of a CLASS operation is in bits 12 to 15.
SAVE_SVE: Final = 8  # V and Z to the SVE form of the image
LOAD_SVE: Final = 9
WIDEN: Final = 10  # in memory: the FPSIMD form to the SVE form, the rest zeros
NARROW: Final = 11  # in memory: V of the SVE form to the FPSIMD form
ZERO_SVE: Final = 12  # Z in the registers becomes zeros
SET_VL: Final = 13  # the length in force becomes that which the target's image is laid out for
SAVE_CLASS: Final = 14
LOAD_CLASS: Final = 15
OVERWRITE_CLASS: Final = 16  # the image's part of one class becomes its owner's new latest value
OVERWRITE_SVE: Final = 17  # the same for the whole SVE form
EDIT_SVE: Final = 18  # the same for a change of part of it
ALLOC_SVE: Final = 19  # storage for the SVE form; what there was is zeroed, unless KEEP is in the place of the class
FREE_SVE: Final = 20
ALLOC_ZA: Final = 21  # the same for ZA
FREE_ZA: Final = 22
SET_SVCR: Final = 23  # the mode of the CPU becomes the bits in the place of the class
FORCE_FPEXC: Final = 24  # FPEXC32_EL2.EN is set, whatever the guest had there
FRAME_SVE: Final = 25  # the signal frame gets an SVE record
DROP_SVE: Final = 26  # firmware is told that no SVE state is live
WARN: Final = 27  # the kernel finds its own state impossible
KEEP: Final = 1
FETCH_SVE: Final = 32  # FETCH, and what is saved is the SVE form
SMSTOP_SM: Final = 33  # in memory: V and FPMR become zeros
UNSYNCHRONISED: Final = 28  # a trap was lifted without ISB, and the registers behind it are touched

_SYSCALL: Final = int(Event.SYSCALL)
_RET: Final = int(Event.RET_TO_USER)
_INTERRUPT: Final = int(Event.INTERRUPT)
_EXEC: Final = int(Event.EXEC)
_FORK: Final = int(Event.FORK)
_SIGNAL: Final = int(Event.SIGNAL)
_SIGRETURN: Final = int(Event.SIGRETURN)
_SIGRETURN_SVE: Final = int(Event.SIGRETURN_SVE)
_SIGRETURN_ZA: Final = int(Event.SIGRETURN_ZA)
_PTRACE_WRITE: Final = int(Event.PTRACE_WRITE)
_PTRACE_SVE: Final = int(Event.PTRACE_SVE)
_PTRACE_STREAMING: Final = int(Event.PTRACE_STREAMING)
_PTRACE_ZA: Final = int(Event.PTRACE_ZA)
_VL_CHANGE: Final = int(Event.VL_CHANGE)
_VCPU_SETREG: Final = int(Event.VCPU_SETREG)
_RESET: Final = int(Event.VCPU_RESET)
_DOWN: Final = int(Event.CPU_DOWN)
_PM_ENTER: Final = int(Event.CPU_PM_ENTER)
_NEON: Final = int(Event.KERNEL_NEON_BEGIN)
_SOFTIRQ: Final = int(Event.SOFTIRQ_NEON_BEGIN)
_EFI: Final = int(Event.EFI_BEGIN)
_USER_FP: Final = int(Event.USER_FP)
_GUEST_FP: Final = int(Event.GUEST_FP)
_USER_SVE: Final = int(Event.USER_SVE)
_GUEST_SVE: Final = int(Event.GUEST_SVE)
_GUEST_SVCR: Final = int(Event.GUEST_SVCR)
_SMSTART: Final = int(Event.USER_SMSTART)
_SMSTOP: Final = int(Event.USER_SMSTOP)
_USER_ZA: Final = int(Event.USER_ZA)
_USER_FP_TRAP: Final = int(Event.USER_FP_TRAP)
_GUEST_FP_TRAP: Final = int(Event.GUEST_FP_TRAP)
_SVE_TRAP: Final = int(Event.SVE_TRAP)
_SME_TRAP: Final = int(Event.SME_TRAP)
_GUEST_SVE_TRAP: Final = int(Event.GUEST_SVE_TRAP)

_PTRACE_VL: Final = int(Event.PTRACE_VL)
_VCPU_GETREG: Final = int(Event.VCPU_GETREG)
_GUEST_CONTROL: Final = int(Event.GUEST_CONTROL)
_UP: Final = int(Event.CPU_UP)

OF_GUEST: Final = sum(1 << e for e in (_GUEST_FP, _GUEST_SVE, _GUEST_SVCR))
USES: Final = OF_GUEST | sum(1 << e for e in (_USER_FP, _USER_SVE, _SMSTART, _SMSTOP, _USER_ZA))
"""Events that are uses of registers, and so may trap; those of guests."""


# Values.


@inline
def renew(w: World, k: int, x: int, zeros: bool) -> None:
    """Give context `x` a new value of class `k` from outside; all copies are stale. `zeros`: the value is zeros."""
    w.context[x, LATEST + k] += VERSION
    if zeros:
        w.context[x, INITIAL + k] = w.context[x, LATEST + k]


@inline
def class_verdict(w: World, k: int, x: int, label: int) -> int:
    """Return what is wrong with context `x` reading `label` as its value of class `k`."""
    if is_latest(w, k, x, label):
        return OK
    if k == V:
        return WRONG_VALUE
    return CLASS_LEAKS + k if is_anothers(w, k, x, label) else CLASS_WRONG + k


@inline
def written_narrow(w: World, c: int) -> None:
    """Note that all V registers were written: that zeroes the rest of Z0-Z31, and leaves P and FFR as they were."""
    if w.cpu[c, REGISTERS + Z] != ZEROS:
        w.cpu[c, REGISTERS + Z] = NOBODYS


@inline
def enter_mode(w: World, mode: int, c: int) -> None:
    """Write SVCR of CPU `c`: bit 0 SM, bit 1 ZA. What changes loses its registers, as the architecture says."""
    before = w.cpu[c, WORD] >> MODE_SHIFT & 3
    if (before ^ mode) & 1:
        w.cpu[c, REGISTERS] = w.cpu[c, REGISTERS + Z] = w.cpu[c, REGISTERS + FPMR] = ZEROS
    if (before ^ mode) & 2:
        w.cpu[c, REGISTERS + ZA] = ZEROS
    w.cpu[c, WORD] = w.cpu[c, WORD] & ~(SM | ZA_ON) | mode << MODE_SHIFT


@inline
def length_of(w: World, x: int) -> int:
    """Return the label of the vector length that the SVE form of context `x` is laid out for."""
    return kernel_of(x) if w.context[x, IS_VCPU] else w.context[x, LATEST + ZCR]


# Operations.


@inline
def transfer(w: World, op: int, x: int, c: int) -> int:
    """Save or load the SVE form of context `x` whole."""
    if w.context[x, MODE] == FREE:
        return USE_AFTER_FREE
    if not w.context[x, STORAGE] & SVE_STORE:
        return NO_STORAGE
    streaming = w.cpu[c, WORD] & SM  # that mode has a length of its own, which is not modelled
    if not streaming and is_followed(w, ZCR, x) and w.cpu[c, REGISTERS + ZCR] != length_of(w, x):
        return WRONG_LENGTH
    if op == SAVE_SVE:
        w.context[x, SVE_IMAGE] = w.cpu[c, REGISTERS]
        w.context[x, IMAGE + Z] = w.cpu[c, REGISTERS + Z]
    else:
        w.cpu[c, REGISTERS] = w.context[x, SVE_IMAGE]
        w.cpu[c, REGISTERS + Z] = w.context[x, IMAGE + Z]
    return OK


@inline
def fetch_sve(w: World, x: int, c: int, report: Report) -> int:
    """Let the CPU that context `x` names save its SVE form, if its first pointer names `x`; return what went wrong."""
    other = operations.interrupted(w, x, c, 0, report)
    if other < 0:
        return OK
    verdict = transfer(w, SAVE_SVE, x, other)
    operations.part_from(w, x, other)
    report.counts[N_SAVE_SVE + w.context[x, IS_VCPU]] += 1
    return verdict


@inline
def stash_part(w: World, op: int, k: int, c: int) -> None:
    """Save the registers of class `k` to the stash of CPU `c`, or load them from there."""
    if op == SAVE_CLASS:
        w.cpu[c, STASH + k] = w.cpu[c, REGISTERS + k]
    else:
        w.cpu[c, REGISTERS + k] = w.cpu[c, STASH + k]


@inline
def part(w: World, op: int, k: int, x: int, c: int) -> int:
    """Save, load or overwrite the part of class `k` in the image of context `x`."""
    if k == ZA:
        if not w.context[x, STORAGE] & ZA_STORE:
            return NO_STORAGE
        if op != OVERWRITE_CLASS and not w.cpu[c, WORD] & ZA_ON:
            return WRONG_MODE
    if op == SAVE_CLASS:
        w.context[x, IMAGE + k] = w.cpu[c, REGISTERS + k]
    elif op == LOAD_CLASS:
        w.cpu[c, REGISTERS + k] = w.context[x, IMAGE + k]
    else:
        w.context[x, IMAGE + k] = latest_label(w, k, x)
    return OK


@inline
def in_memory(w: World, op: int, keep: int, x: int) -> int:
    """Change the forms of the image of context `x` and their storage; `keep`: an allocation leaves what there is."""
    if (op == ALLOC_SVE and keep and w.context[x, STORAGE] & SVE_STORE) or (
        op == ALLOC_ZA and keep and w.context[x, STORAGE] & ZA_STORE
    ):
        return OK
    if op == ALLOC_SVE:
        w.context[x, STORAGE] |= SVE_STORE
        w.context[x, SVE_IMAGE] = NOBODYS  # V is copied there; its zeros are nobody's
        w.context[x, IMAGE + Z] = ZEROS
    elif op == FREE_SVE:
        w.context[x, STORAGE] &= ~SVE_STORE
        w.context[x, SVE_IMAGE] = NOBODYS
        w.context[x, IMAGE + Z] = ZEROS
    elif op == ALLOC_ZA:
        w.context[x, STORAGE] |= ZA_STORE
        w.context[x, IMAGE + ZA] = ZEROS
    elif op == FREE_ZA:
        w.context[x, STORAGE] &= ~ZA_STORE
        w.context[x, IMAGE + ZA] = ZEROS
    elif not w.context[x, STORAGE] & SVE_STORE:
        return NO_STORAGE
    elif op == WIDEN:
        w.context[x, SVE_IMAGE] = w.context[x, IMAGE]
        w.context[x, IMAGE + Z] = ZEROS
    elif op == NARROW:
        w.context[x, IMAGE] = w.context[x, SVE_IMAGE]
    elif op == OVERWRITE_SVE or (
        was_latest(w, V, x, w.context[x, SVE_IMAGE], 1) and was_latest(w, Z, x, w.context[x, IMAGE + Z], 1)
    ):
        w.context[x, SVE_IMAGE] = latest_label(w, V, x)
        w.context[x, IMAGE + Z] = latest_label(w, Z, x)
    elif w.followed:
        return NOT_FOLLOWED  # both classes are old from now on
    return OK


@inline
def on_cpu(w: World, op: int, k: int, x: int, c: int) -> int:
    """Carry out an operation on the registers or mode of CPU `c`, or a note of the kernel's; `k` is its argument."""
    if op == ZERO_SVE:
        w.cpu[c, REGISTERS + Z] = ZEROS
    elif op == SET_VL:
        w.cpu[c, REGISTERS + ZCR] = length_of(w, x)
    elif op == SET_SVCR:
        enter_mode(w, k, c)
    elif op == FORCE_FPEXC:
        w.cpu[c, REGISTERS + FPEXC] = NOBODYS
    elif op == FRAME_SVE:
        w.context[x, SVE_FRAME] = 1
    elif op == DROP_SVE:
        w.cpu[c, REGISTERS + Z] = NOBODYS
    elif op == WARN:
        return WARNED
    else:
        return KERNEL_TRAPS
    return OK


@inline
def frame_lacks(w: World, t: int) -> int:
    """Return what is wrong with the SVE record of a signal frame just built, or with its absence."""
    if w.context[t, SVE_FRAME]:
        w.context[t, SVE_FRAME] = 0
        right = is_latest(w, V, t, w.context[t, SVE_IMAGE]) and is_latest(w, Z, t, w.context[t, IMAGE + Z])
        return OK if right else CLASS_WRONG + Z
    zeros = w.context[t, DISCARDABLE] or w.context[t, INITIAL + Z] == w.context[t, LATEST + Z]
    return OK if zeros or not is_followed(w, Z, t) else CLASS_WRONG + Z


@inline
def build_frame(w: World, t: int) -> int:
    """Build the signal frame of task `t`; from now on its state is the initial one. Return what is wrong with it."""
    verdict = frame_verdict(w, t)
    if w.features & F_SVE:
        verdict = max(verdict, frame_lacks(w, t))
    renew(w, V, t, True)
    if w.features:
        for k in (Z, FPMR):
            renew(w, k, t, True)
        w.context[t, DISCARDABLE] = 0
    w.context[t, FRAME] = FRAME_BUILT
    return verdict


@inline
def carry_out(w: World, code: int, c: int, t: int, s: int, report: Report) -> int:
    """Carry out one operation of a row on CPU `c` in a world of any features; return what went wrong."""
    op, k = code & 255, code >> 12
    if op == BUILD_FRAME:
        return build_frame(w, t)
    if op <= FETCH or op == BEHIND_TRAP or op == NEW_PLACE or op >= START_TIMER:
        verdict = operations.carry_out(w, code, c, t, s, report)
        if w.features and (op == LOAD or op == CLEAR) and verdict == OK:
            written_narrow(w, c)
        if w.features and op == LOAD_SOME and w.cpu[c, REGISTERS + Z] != ZEROS:
            w.cpu[c, REGISTERS + Z] = NOBODYS
        return verdict
    owner = named(w, code >> 8 & 15, c, t, s)
    x = context_of(owner)
    if op == SAVE_SVE or op == LOAD_SVE:
        verdict = transfer(w, op, x, c)
        if verdict == OK:
            report.counts[(N_SAVE_SVE if op == SAVE_SVE else N_LOAD_SVE) + whose(w, owner)] += 1
        return verdict
    if op == FETCH_SVE:
        return fetch_sve(w, x, c, report)
    if op == SMSTOP_SM:
        w.context[x, IMAGE] = ZEROS
        if w.features & F_FPMR:
            w.context[x, IMAGE + FPMR] = ZEROS
        return OK
    if op == SAVE_CLASS or op == LOAD_CLASS or op == OVERWRITE_CLASS:
        verdict = OK
        if owner:
            verdict = part(w, op, k, x, c)
        else:
            stash_part(w, op, k, c)
        if verdict == OK and op != OVERWRITE_CLASS:
            report.counts[N_PARTS + k // PER_CLASS] += 1
        return verdict
    if op == ZERO_SVE or op == SET_VL or op >= SET_SVCR:
        return on_cpu(w, op, k, x, c)
    return in_memory(w, op, k, x)


@inline
def run_row(w: World, table: Table, report: Report, r: int, c: int, t: int, s: int) -> int:
    """Carry out one decision: its operations, then its new words and pointers."""
    verdict = OK
    for i in range(table.rows[r, R_OPS]):
        verdict = carry_out(w, table.rows[r, R_OPS + 1 + i], c, t, s, report)
        if verdict:
            break
    set_fields(w, table, r, c, t, s)
    return verdict


# Events.


@inline
def may_discard(w: World, x: int) -> None:
    """Make zeros right for Z of task `x`, beside its value if that is anything else."""
    w.context[x, DISCARDABLE] = 0 if w.context[x, INITIAL + Z] == w.context[x, LATEST + Z] else 1


@inline
def leave_streaming(w: World, t: int) -> None:
    """Take task `t` out of streaming mode, at a system call or signal; V and Z become zeros (arch/arm64/sme.rst)."""
    w.context[t, SVCR] &= ~1
    renew(w, V, t, True)
    renew(w, Z, t, True)
    if w.features & F_FPMR:
        renew(w, FPMR, t, True)


@inline
def newborn(w: World, x: int) -> None:
    """Let context `x` begin anew in all classes but V: zeros, with nothing of its predecessor to be seen."""
    for k in range(Z, CLASSES_END, PER_CLASS):
        renew(w, k, x, True)
        w.context[x, BIRTH + k] = w.context[x, LATEST + k]
    w.context[x, SVCR] = 0
    w.context[x, DISCARDABLE] = 0


@inline
def blank(w: World, x: int) -> None:
    """Let the image of context `x`, in a structure that has just been made, hold zeros in all classes but V and Z."""
    for k in range(ZCR, CLASSES_END, PER_CLASS):
        w.context[x, IMAGE + k] = latest_label(w, k, x)


@inline
def recycle(w: World, x: int) -> None:
    """Give the record of context `x` to a new one, in all classes but V."""
    newborn(w, x)
    blank(w, x)
    w.context[x, IN_SYSCALL] = 1
    laid_out = w.features & F_GUEST_SVE and w.context[x, IS_VCPU]
    w.context[x, STORAGE] = guest_storage(w.features) if laid_out else 0
    w.context[x, SVE_IMAGE] = latest_label(w, V, x) if laid_out else NOBODYS
    w.context[x, IMAGE + Z] = ZEROS


@inline
def returns_from_signal(w: World, e: int, t: int) -> None:
    """Replace all registers of task `t` by those of its signal frame, as `e` says that has them."""
    if e != _SIGRETURN:
        renew(w, V, t, False)
    renew(w, Z, t, e != _SIGRETURN_SVE)
    w.context[t, DISCARDABLE] = w.context[t, IN_SYSCALL] = 0  # forget_syscall
    if w.features & F_FPMR:
        renew(w, FPMR, t, False)
    w.context[t, SVCR] = 2 if e == _SIGRETURN_ZA else 0
    renew(w, ZA, t, e != _SIGRETURN_ZA)


@inline
def wide_before(w: World, e: int, t: int, s: int) -> None:
    """Do what an event does to the further classes before kernel code handles it."""
    if e == _SYSCALL:
        w.context[t, IN_SYSCALL] = 1
        if w.context[t, SVCR] & 1:
            leave_streaming(w, t)
        may_discard(w, t)
    elif e == _RET or e == _INTERRUPT:
        w.context[t, IN_SYSCALL] = 0
    elif e == _EXEC:
        newborn(w, t)
    elif e == _SIGNAL:
        w.context[t, SVE_FRAME] = 0
    elif e == _SIGRETURN or e == _SIGRETURN_SVE or e == _SIGRETURN_ZA:
        returns_from_signal(w, e, t)
    elif e == _PTRACE_WRITE:
        may_discard(w, s)  # the rest of each register written becomes zeros
    elif e == _PTRACE_SVE or e == _PTRACE_STREAMING:
        renew(w, V, s, False)
        renew(w, Z, s, False)
        w.context[s, DISCARDABLE] = 0
        if e == _PTRACE_STREAMING:
            w.context[s, SVCR] |= 1
    elif e == _PTRACE_ZA:
        renew(w, ZA, s, False)
        w.context[s, SVCR] |= 2
    elif e == _VCPU_SETREG:
        if w.features & F_GUEST_SVE:
            renew(w, Z, s, False)
    elif e == _RESET:
        newborn(w, s)
        if w.features & F_GUEST_SVE:
            w.context[s, IMAGE + Z] = ZEROS


@inline
def fork_classes(w: World, t: int, s: int) -> int:
    """Let child `s` of `t` begin with nothing but V, and FPMR, of its parent's; return as `copy_image_to_child`."""
    newborn(w, s)
    blank(w, s)
    w.context[s, STORAGE] = 0
    w.context[s, SVE_IMAGE] = NOBODYS
    w.context[s, IMAGE + Z] = ZEROS
    w.context[s, IN_SYSCALL] = 1
    w.context[s, SVE_FRAME] = w.context[t, SVE_FRAME]
    if w.features & F_FPMR:
        renew(w, FPMR, s, w.zeros == 1 and w.context[t, INITIAL + FPMR] == w.context[t, LATEST + FPMR])
        right = is_latest(w, FPMR, t, w.context[t, IMAGE + FPMR])
        w.context[s, IMAGE + FPMR] = latest_label(w, FPMR, s) if right else w.context[s, LATEST + FPMR] - VERSION
        return OK if right or w.followed == 0 else NOT_FOLLOWED
    return OK


@inline
def change_length(w: World, x: int) -> None:
    """Give task `x` another vector length: what lies beyond V is lost."""
    renew(w, Z, x, True)
    w.context[x, DISCARDABLE] = 0
    renew(w, ZCR, x, False)


@inline
def emulate(w: World, v: int) -> int:
    """Do on the image what the guest of `v` asked of its control register; return what is wrong with its reading."""
    verdict = class_verdict(w, FPEXC, v, w.context[v, IMAGE + FPEXC])
    renew(w, FPEXC, v, False)
    w.context[v, IMAGE + FPEXC] = w.context[v, LATEST + FPEXC]
    return verdict


@inline
def enter_signal_handler(w: World, t: int) -> None:
    """Let the signal handler of task `t` begin: outside streaming mode, with ZA off (arch/arm64/sme.rst)."""
    if w.context[t, SVCR] & 1:
        leave_streaming(w, t)
    if w.context[t, SVCR] & 2:
        renew(w, ZA, t, True)
    w.context[t, SVCR] = 0


@inline
def wide_after(w: World, e: int, c: int, t: int, s: int) -> int:
    """Do what an event does to the further classes after kernel code has handled it; return what went wrong."""
    if e == _NEON or e == _SOFTIRQ or e == _EFI:
        if e == _EFI:
            w.cpu[c, REGISTERS + Z] = NOBODYS
        else:
            written_narrow(w, c)
        if w.cpu[c, WORD] & SM:
            return WRONG_MODE
    elif e == _PM_ENTER or e == _DOWN:
        for k in range(V, CLASSES_END, PER_CLASS):
            w.cpu[c, REGISTERS + k] = NOBODYS
        on = w.cpu[c, WORD] & (SM | ZA_ON)
        w.cpu[c, WORD] &= ~(SM | ZA_ON)
        return MODE_AT_DOWN if e == _DOWN and on else OK
    elif e == _VL_CHANGE:
        change_length(w, t)
    elif e == _PTRACE_VL:
        change_length(w, s)
        renew(w, ZA, s, True)
        w.context[s, SVCR] = 0
    elif e == _GUEST_CONTROL:
        return emulate(w, s)
    elif e == _VCPU_GETREG and w.features & F_GUEST_SVE and not w.context[s, PLAIN]:
        right = is_latest(w, Z, s, w.context[s, IMAGE + Z])
        return OK if right else CLASS_WRONG + Z
    elif e == _FORK:
        return fork_classes(w, t, s)
    elif e == _SIGNAL and w.features & F_SVE:
        verdict = frame_lacks(w, t)
        if w.features & F_SME:
            enter_signal_handler(w, t)
        return verdict
    return OK


@inline
def step(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Let event `e` happen in a world of any features; the same as `world.step.step` where there is V alone."""
    if e == _DOWN or e == _UP:
        t = s = len(w.context) - 1
    if e == _FORK:
        copy_of_parent(w, t, s)
    r = find_row(w, table, report, e, c, t, s)
    report.asked[A_ROW] = r
    if r == NOT_LEARNED:
        return NO_ROW
    verdict = OK
    if MIND_BEFORE >> e & 1:
        verdict = before_row(w, e, c, t, s)
    if w.features:
        wide_before(w, e, t, s)
    if r >= 0:
        verdict = max(verdict, run_row(w, table, report, r, c, t, s))
    if MIND_AFTER >> e & 1:
        verdict = max(verdict, after_row(w, e, c, t, s))
    if w.features:
        verdict = max(verdict, wide_after(w, e, c, t, s))
    return verdict


# Uses.


@inline
def trap_of(w: World, e: int, c: int) -> int:
    """Return the trap event that use `e` raises on CPU `c` as things are, 0 if none.

    A guest's writes of SVCR trap together with its uses of V: hypervisors arm and lift both at once.
    """
    word = w.cpu[c, WORD]
    if OF_GUEST >> e & 1:
        if word & GUEST_FP_TRAP:
            return _GUEST_FP_TRAP
        return _GUEST_SVE_TRAP if e == _GUEST_SVE and word & GUEST_SVE_TRAP else 0
    if word & USER_FP_TRAP:
        return _USER_FP_TRAP
    if e == _USER_SVE:
        armed = USER_SME_TRAP if word & SM else USER_SVE_TRAP  # CPACR_EL1.SMEN covers SVE in streaming mode
        return (_SME_TRAP if word & SM else _SVE_TRAP) if word & armed else 0
    return _SME_TRAP if e != _USER_FP and word & USER_SME_TRAP else 0


@inline
def count_trap(report: Report, trap: int) -> None:
    """Count one trap taken."""
    if trap == _USER_FP_TRAP:
        report.counts[N_USER_TRAP] += 1
    elif trap == _GUEST_FP_TRAP:
        report.counts[N_GUEST_TRAP] += 1
    elif trap == _SVE_TRAP:
        report.counts[N_SVE_TRAP] += 1
    elif trap == _GUEST_SVE_TRAP:
        report.counts[N_SVE_TRAP + 1] += 1
    else:
        report.counts[N_SME_TRAP] += 1


@inline
def touch_class(w: World, k: int, x: int, c: int) -> int:
    """Let context `x` read and write class `k` on CPU `c`; return what is wrong with what it reads."""
    verdict = class_verdict(w, k, x, w.cpu[c, REGISTERS + k])
    w.context[x, LATEST + k] += VERSION
    w.cpu[c, REGISTERS + k] = w.context[x, LATEST + k]
    return verdict


@inline
def change_mode(w: World, e: int, x: int, c: int) -> None:
    """Let context `x` itself enter or leave streaming mode and ZA; the zeros that this leaves are its latest values."""
    mode = 3 if e == _SMSTART or (e == _GUEST_SVCR and w.context[x, SVCR] == 0) else 0
    changed = w.context[x, SVCR] ^ mode
    enter_mode(w, mode, c)
    w.context[x, SVCR] = mode
    if changed & 1:
        for k in (V, Z, FPMR):
            renew(w, k, x, True)
            w.cpu[c, REGISTERS + k] = latest_label(w, k, x)
        w.context[x, DISCARDABLE] = 0
    if changed & 2:
        renew(w, ZA, x, True)
        w.cpu[c, REGISTERS + ZA] = latest_label(w, ZA, x)


@inline
def wide_use(w: World, e: int, x: int, c: int) -> int:
    """Let context `x` use registers as `e` says, all traps being off; return what is wrong with what it reads."""
    mode = w.cpu[c, WORD] >> MODE_SHIFT & 3
    if OF_GUEST >> e & 1 and not w.features & F_GUEST_SME:
        mode &= 1  # whether ZA is enabled is nothing to a guest that cannot reach it
    if mode != w.context[x, SVCR]:
        w.context[x, SVCR] = mode
        return WRONG_MODE
    if e == _SMSTART or e == _SMSTOP or e == _GUEST_SVCR:
        change_mode(w, e, x, c)
        return OK
    if e == _USER_ZA:
        return touch_class(w, ZA, x, c) if mode & 2 else OK
    verdict = touch_class(w, V, x, c)
    if e == _USER_SVE or e == _GUEST_SVE:
        if w.cpu[c, REGISTERS + ZCR] != w.context[x, LATEST + ZCR] and not mode & 1 and is_followed(w, ZCR, x):
            verdict = max(verdict, WRONG_LENGTH)
        verdict = max(verdict, touch_class(w, Z, x, c))
        w.context[x, DISCARDABLE] = 0
        if e == _GUEST_SVE and mode & 2:  # an outer product reads Z and adds to ZA
            verdict = max(verdict, touch_class(w, ZA, x, c))
    if w.dirty:
        w.cpu[c, WORD] |= DIRTY
    if w.context[x, PLAIN]:
        return verdict
    if w.features & F_FPMR:
        verdict = max(verdict, touch_class(w, FPMR, x, c))
    if w.features & F_AARCH32 and (e == _GUEST_FP or e == _GUEST_SVE):
        verdict = max(verdict, touch_class(w, FPEXC, x, c))
    return verdict


@inline
def in_wrong_mode(w: World, e: int, c: int, x: int) -> bool:
    """Tell whether guest `x` is at use `e` in a mode that is not its own, where guests have modes.

    Whether an instruction is legal, and who hears of it if it is not, hangs on the mode before any trap of the
    hypervisor does: in another's mode the guest's own kernel gets an exception, and the hypervisor never knows.
    """
    if not w.features & F_GUEST_SME or not OF_GUEST >> e & 1:
        return False
    return bool(w.cpu[c, WORD] >> MODE_SHIFT & 3 != w.context[x, SVCR])


@inline
def use(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Let a use `e` happen in a world with more features than V; traps are taken first, each at most once.

    A user SVE or SME trap is served on the way back to user mode: only the trap is taken, using is another event.
    """
    report.asked[A_ROW] = NOT_LEARNED + 1
    x = s if OF_GUEST >> e & 1 else t
    if in_wrong_mode(w, e, c, x):
        return WRONG_MODE
    for _ in range(3):
        trap = trap_of(w, e, c)
        if trap == 0:
            break
        verdict = step(w, table, report, trap, c, t, s)
        if verdict != OK:
            return verdict
        count_trap(report, trap)
        if trap == _SVE_TRAP or trap == _SME_TRAP:
            return OK
    if trap_of(w, e, c):
        return TRAP_NOT_SERVED
    return wide_use(w, e, x, c)
