"""Registers beyond V: what the operations on SVE, SME, FPMR and FPEXC mean, and what uses and events do to them.

Architecture (Arm ARM DDI 0487, "The Scalable Vector Extension", "The Scalable Matrix Extension"): writing a V register
zeroes the rest of its Z register; SVE instructions work at the length in ZCR; entering or leaving streaming mode zeroes
Z, P and FFR and with them V, and resets FPMR; enabling ZA zeroes it. Linux (Documentation/arch/arm64/sve.rst): a system
call may discard all of Z but V; a change of vector length discards it.

Labels here are as in V's plane, with one addition: owner 0 with version 1 is zeros, with version 0 nobody knows what.
A vector length is a value like any other: its owner's. A vCPU has two: the one its guest has chosen, (vCPU, version),
and the longest it may choose, which its image is laid out for, (kernel_owner(vCPU), 0).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, inline
from fpstate.world.events import Event
from fpstate.world.state import (
    C_REGS,
    C_SIZE,
    C_WORD,
    F_AARCH32,
    F_FPMR,
    F_GUEST_SVE,
    F_SME,
    F_SVE,
    FPEXC,
    FPMR,
    FREE,
    GUEST_SVE_TRAP,
    GUEST_TRAP,
    MODE_SHIFT,
    SM,
    SVE_STORE,
    USER_SME_TRAP,
    USER_SVE_TRAP,
    USER_TRAP,
    X_BIRTH,
    X_IMAGE,
    X_INIT,
    X_MODE,
    X_SIZE,
    X_VCPU,
    X_VER,
    Z_DEAD,
    Z_FRAME,
    Z_STORE,
    Z_SYSCALL,
    Z_WIDE,
    ZA,
    ZA_ON,
    ZA_STORE,
    ZA_SVCR,
    ZCR,
    V,
    World,
    Z,
    context_base,
    kernel_owner,
    plane_size,
)

# Operations on more than V; the first ones are in world.step. The class of a CLASS operation is in bits 12 to 15.
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
ALLOC_SVE: Final = 19  # storage for the SVE form, all zeros
FREE_SVE: Final = 20
ALLOC_ZA: Final = 21
FREE_ZA: Final = 22
SET_SVCR: Final = 23  # the mode of the CPU becomes the bits in the place of the class
FORCE_FPEXC: Final = 24  # FPEXC32_EL2.EN is set, whatever the guest had there
FRAME_SVE: Final = 25  # the signal frame gets an SVE record
DROP_SVE: Final = 26  # firmware is told that no SVE state is live
WARN: Final = 27  # the kernel finds its own state impossible
UNSYNCHRONISED: Final = 28  # a trap was lifted without ISB, and the registers behind it are touched

FREED: Final = 7  # USE_AFTER_FREE of world.step
WRONG_VALUE: Final = 2

# What may go wrong beside the verdicts of world.step.
NO_STORAGE: Final = 8
VECTOR_LENGTH: Final = 9
WRONG_MODE: Final = 10
WARNED: Final = 11
KERNEL_TRAPS: Final = 12
CLASS_WRONG: Final = 16  # + class: a value of that class that is not its reader's latest
CLASS_LEAKS: Final = 24  # + class: another's

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
_SETREG: Final = int(Event.VCPU_SETREG)
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
_SMSTART: Final = int(Event.USER_SMSTART)
_SMSTOP: Final = int(Event.USER_SMSTOP)
_USER_ZA: Final = int(Event.USER_ZA)
_USER_FP_TRAP: Final = int(Event.USER_FP_TRAP)
_GUEST_FP_TRAP: Final = int(Event.GUEST_FP_TRAP)
_SVE_TRAP: Final = int(Event.SVE_TRAP)
_SME_TRAP: Final = int(Event.SME_TRAP)
_GUEST_SVE_TRAP: Final = int(Event.GUEST_SVE_TRAP)

USES: Final = sum(1 << e for e in (_USER_FP, _GUEST_FP, _USER_SVE, _GUEST_SVE, _SMSTART, _SMSTOP, _USER_ZA))
ZEROS: Final = 1  # version that makes owner 0 mean zeros

Counts = NDArray[np.int64]


@inline
def record(k: int, x: int, cpus: int, n: int) -> int:
    """Return where the record of context `x` lies in the plane of class `k`."""
    return k * plane_size(cpus, n) + context_base(cpus) + x * X_SIZE


@inline
def registers(k: int, c: int, cpus: int, n: int) -> int:
    """Return where the label of class `k` in the registers of CPU `c` lies."""
    return k * plane_size(cpus, n) + c * C_SIZE + C_REGS


@inline
def planes(w: World, cpus: int, n: int) -> int:
    """Return how many register classes the world has."""
    return len(w) // plane_size(cpus, n)


@inline
def put(w: World, to: int, owner: int, version: int) -> None:
    """Write a label."""
    w[to] = owner
    w[to + 1] = version


@inline
def copy(w: World, to: int, source: int) -> None:
    """Copy a label."""
    w[to] = w[source]
    w[to + 1] = w[source + 1]


@inline
def written_narrow(w: World, c: int, cpus: int, n: int) -> None:
    """Note that all V registers were written: that zeroes the rest of Z0-Z31, and leaves P and FFR as they were."""
    at = registers(Z, c, cpus, n)
    put(w, at, 0, ZEROS if w[at] == 0 and w[at + 1] == ZEROS else 0)


@inline
def enter_mode(w: World, mode: int, c: int, cpus: int, n: int) -> None:
    """Write SVCR of CPU `c`: bit 0 SM, bit 1 ZA. What changes loses its registers, as the architecture says."""
    before = w[c * C_SIZE + C_WORD] >> MODE_SHIFT & 3
    if (before ^ mode) & 1:
        put(w, registers(V, c, cpus, n), 0, ZEROS)
        put(w, registers(Z, c, cpus, n), 0, ZEROS)
        put(w, registers(FPMR, c, cpus, n), 0, ZEROS)
    if (before ^ mode) & 2:
        put(w, registers(ZA, c, cpus, n), 0, ZEROS)
    w[c * C_SIZE + C_WORD] = w[c * C_SIZE + C_WORD] & ~(SM | ZA_ON) | mode << MODE_SHIFT


@inline
def layout_holds(w: World, x: int, c: int, cpus: int, n: int) -> bool:
    """Tell whether the length in force on CPU `c` is the one the SVE form of context `x` is laid out for."""
    if w[c * C_SIZE + C_WORD] & SM:
        return True  # streaming mode has a length of its own, which is not modelled
    at = registers(ZCR, c, cpus, n)
    if w[context_base(cpus) + x * X_SIZE + X_VCPU]:
        return bool(w[at] == kernel_owner(x, n))
    return bool(w[at] == x + 1 and w[at + 1] == w[record(ZCR, x, cpus, n) + X_VER])


@inline
def transfer(w: World, op: int, x: int, c: int, cpus: int, n: int) -> int:
    """Save or load the SVE form of context `x` whole."""
    za = record(Z, x, cpus, n)
    if w[context_base(cpus) + x * X_SIZE + X_MODE] == FREE:
        return FREED
    if not w[za + Z_STORE] & SVE_STORE:
        return NO_STORAGE
    if not layout_holds(w, x, c, cpus, n):
        return VECTOR_LENGTH
    if op == SAVE_SVE:
        copy(w, za + Z_WIDE, registers(V, c, cpus, n))
        copy(w, za + X_IMAGE, registers(Z, c, cpus, n))
    else:
        copy(w, registers(V, c, cpus, n), za + Z_WIDE)
        copy(w, registers(Z, c, cpus, n), za + X_IMAGE)
    return 0


@inline
def part(w: World, op: int, k: int, x: int, c: int, cpus: int, n: int) -> int:
    """Save, load or overwrite the part of class `k` in the image of context `x`."""
    at = record(k, x, cpus, n)
    if k == ZA:
        if not w[record(Z, x, cpus, n) + Z_STORE] & ZA_STORE:
            return NO_STORAGE
        if op != OVERWRITE_CLASS and not w[c * C_SIZE + C_WORD] & ZA_ON:
            return WRONG_MODE
    if op == SAVE_CLASS:
        copy(w, at + X_IMAGE, registers(k, c, cpus, n))
    elif op == LOAD_CLASS:
        copy(w, registers(k, c, cpus, n), at + X_IMAGE)
    else:
        put(w, at + X_IMAGE, x + 1, w[at + X_VER])
    return 0


@inline
def put_latest_z(w: World, to: int, x: int, cpus: int, n: int) -> None:
    """Write the label of context `x`'s latest Z: while that is its initial value, the label of zeros."""
    at = record(Z, x, cpus, n)
    if w[at + X_INIT] == w[at + X_VER]:
        put(w, to, 0, ZEROS)
    else:
        put(w, to, x + 1, w[at + X_VER])


@inline
def in_memory(w: World, op: int, x: int, cpus: int, n: int) -> int:
    """Change the forms of the image of context `x` and their storage."""
    za = record(Z, x, cpus, n)
    va = record(V, x, cpus, n)
    if op == ALLOC_SVE:
        w[za + Z_STORE] |= SVE_STORE
        put(w, za + Z_WIDE, 0, 0)  # V is copied there; its zeros are nobody's
        put(w, za + X_IMAGE, 0, ZEROS)
    elif op == FREE_SVE:
        w[za + Z_STORE] &= ~SVE_STORE
        put(w, za + Z_WIDE, 0, 0)
        put(w, za + X_IMAGE, 0, ZEROS)
    elif op == ALLOC_ZA:
        w[za + Z_STORE] |= ZA_STORE
        put(w, record(ZA, x, cpus, n) + X_IMAGE, 0, ZEROS)
    elif op == FREE_ZA:
        w[za + Z_STORE] &= ~ZA_STORE
        put(w, record(ZA, x, cpus, n) + X_IMAGE, 0, ZEROS)
    elif not w[za + Z_STORE] & SVE_STORE:
        return NO_STORAGE
    elif op == WIDEN:
        copy(w, za + Z_WIDE, va + X_IMAGE)
        put(w, za + X_IMAGE, 0, ZEROS)
    elif op == NARROW:
        copy(w, va + X_IMAGE, za + Z_WIDE)
    elif op == OVERWRITE_SVE or (
        right_label(w, Z, x, za + X_IMAGE, 1, cpus, n) and w[za + Z_WIDE] == x + 1
        and w[za + Z_WIDE + 1] == w[va + X_VER] - 1
    ):  # fmt: skip
        put(w, za + Z_WIDE, x + 1, w[va + X_VER])
        put_latest_z(w, za + X_IMAGE, x, cpus, n)
    return 0


@inline
def right_label(w: World, k: int, x: int, at: int, behind: int, cpus: int, n: int) -> bool:
    """Tell whether the label at `at` is the value context `x` had `behind` versions of class `k` ago."""
    own = record(k, x, cpus, n)
    version = w[own + X_VER] - behind
    if w[at] == x + 1:
        return bool(w[at + 1] == version)
    zero_is_right = w[own + X_INIT] == version or (k == Z and w[own + Z_DEAD])
    return bool(w[at] == 0 and w[at + 1] == ZEROS and zero_is_right)


@bare
def wide_op(w: World, code: int, x: int, c: int, cpus: int, n: int) -> int:
    """Carry out one operation on more than V for context `x`; return what went wrong, 0 if nothing."""
    op = code & 255
    if op == SAVE_SVE or op == LOAD_SVE:
        return transfer(w, op, x, c, cpus, n)
    if op == SAVE_CLASS or op == LOAD_CLASS or op == OVERWRITE_CLASS:
        return part(w, op, code >> 12, x, c, cpus, n)
    if op == ZERO_SVE:
        put(w, registers(Z, c, cpus, n), 0, ZEROS)
    elif op == SET_VL:
        vcpu = w[context_base(cpus) + x * X_SIZE + X_VCPU]
        version = 0 if vcpu else w[record(ZCR, x, cpus, n) + X_VER]
        put(w, registers(ZCR, c, cpus, n), kernel_owner(x, n) if vcpu else x + 1, version)
    elif op == SET_SVCR:
        enter_mode(w, code >> 12, c, cpus, n)
    elif op == FORCE_FPEXC:
        put(w, registers(FPEXC, c, cpus, n), 0, 0)
    elif op == FRAME_SVE:
        w[record(Z, x, cpus, n) + Z_FRAME] = 1
    elif op == DROP_SVE:
        put(w, registers(Z, c, cpus, n), 0, 0)
    elif op == WARN:
        return WARNED
    elif op == UNSYNCHRONISED:
        return KERNEL_TRAPS
    else:
        return in_memory(w, op, x, cpus, n)
    return 0


@inline
def renew(w: World, k: int, x: int, zeros: bool, cpus: int, n: int) -> None:
    """Give context `x` a new value of class `k` from outside; all copies are stale. `zeros`: the value is zeros."""
    at = record(k, x, cpus, n)
    w[at + X_VER] += 1
    if zeros:
        w[at + X_INIT] = w[at + X_VER]


@inline
def may_discard(w: World, x: int, cpus: int, n: int) -> None:
    """Make zeros right for Z of task `x`, beside its value if that is anything else."""
    at = record(Z, x, cpus, n)
    w[at + Z_DEAD] = 0 if w[at + X_INIT] == w[at + X_VER] else 1


@inline
def leave_streaming(w: World, t: int, features: int, cpus: int, n: int) -> None:
    """Take task `t` out of streaming mode, at a system call or signal; V and Z become zeros (arch/arm64/sme.rst)."""
    w[record(ZA, t, cpus, n) + ZA_SVCR] &= ~1
    renew(w, V, t, True, cpus, n)
    renew(w, Z, t, True, cpus, n)
    if features & F_FPMR:
        renew(w, FPMR, t, True, cpus, n)


@inline
def newborn(w: World, x: int, cpus: int, n: int) -> None:
    """Let context `x` begin anew in all classes but V: zeros, with nothing of its predecessor to be seen."""
    for k in range(1, planes(w, cpus, n)):
        renew(w, k, x, True, cpus, n)
        at = record(k, x, cpus, n)
        w[at + X_BIRTH] = w[at + X_VER]
        if k != Z:
            put(w, at + X_IMAGE, x + 1, w[at + X_VER])  # a register image in the task or vCPU structure, reset with it
    w[record(ZA, x, cpus, n) + ZA_SVCR] = 0
    w[record(Z, x, cpus, n) + Z_DEAD] = 0


@bare
def wide_before(w: World, e: int, t: int, s: int, cpus: int, n: int, features: int) -> None:
    """Do what an event does to the further classes before kernel code handles it."""
    tz, sz = record(Z, t, cpus, n), record(Z, s, cpus, n)
    if e == _SYSCALL:
        w[tz + Z_SYSCALL] = 1
        if features & F_SME and w[record(ZA, t, cpus, n) + ZA_SVCR] & 1:
            leave_streaming(w, t, features, cpus, n)
        may_discard(w, t, cpus, n)
    elif e == _RET or e == _INTERRUPT:
        w[tz + Z_SYSCALL] = 0
    elif e == _EXEC:
        newborn(w, t, cpus, n)
    elif e == _SIGNAL:
        w[tz + Z_FRAME] = 0
    elif e == _SIGRETURN or e == _SIGRETURN_SVE or e == _SIGRETURN_ZA:
        if e != _SIGRETURN:
            renew(w, V, t, False, cpus, n)
        renew(w, Z, t, e != _SIGRETURN_SVE, cpus, n)
        w[tz + Z_DEAD] = w[tz + Z_SYSCALL] = 0  # forget_syscall
        if features & F_FPMR:
            renew(w, FPMR, t, False, cpus, n)
        w[record(ZA, t, cpus, n) + ZA_SVCR] = 2 if e == _SIGRETURN_ZA else 0
        renew(w, ZA, t, e != _SIGRETURN_ZA, cpus, n)
    elif e == _PTRACE_WRITE:
        may_discard(w, s, cpus, n)  # the rest of each register written becomes zeros
    elif e == _PTRACE_SVE or e == _PTRACE_STREAMING:
        renew(w, V, s, False, cpus, n)
        renew(w, Z, s, False, cpus, n)
        w[sz + Z_DEAD] = 0
        if e == _PTRACE_STREAMING:
            w[record(ZA, s, cpus, n) + ZA_SVCR] |= 1
    elif e == _PTRACE_ZA:
        renew(w, ZA, s, False, cpus, n)
        w[record(ZA, s, cpus, n) + ZA_SVCR] |= 2
    elif e == _SETREG:
        if features & F_GUEST_SVE:
            renew(w, Z, s, False, cpus, n)
    elif e == _RESET:
        newborn(w, s, cpus, n)
        if features & F_GUEST_SVE:
            put(w, sz + X_IMAGE, 0, ZEROS)


@inline
def lose_all(w: World, c: int, cpus: int, n: int) -> None:
    """Let CPU `c` lose its registers of all classes."""
    for k in range(planes(w, cpus, n)):
        put(w, registers(k, c, cpus, n), 0, 0)
    w[c * C_SIZE + C_WORD] &= ~(SM | ZA_ON)


@bare
def wide_after(w: World, e: int, c: int, t: int, s: int, cpus: int, n: int, features: int) -> int:
    """Do what an event does to the further classes after kernel code has handled it; return what went wrong."""
    if e == _NEON or e == _SOFTIRQ or e == _EFI:
        if e == _EFI:
            put(w, registers(Z, c, cpus, n), 0, 0)
        else:
            written_narrow(w, c, cpus, n)
        if w[c * C_SIZE + C_WORD] & SM:
            return WRONG_MODE
    elif e == _PM_ENTER or e == _DOWN:
        lose_all(w, c, cpus, n)
    elif e == _VL_CHANGE:
        renew(w, Z, t, True, cpus, n)
        w[record(Z, t, cpus, n) + Z_DEAD] = 0
        renew(w, ZCR, t, False, cpus, n)
    elif e == _FORK:
        newborn(w, s, cpus, n)
        sz, tz = record(Z, s, cpus, n), record(Z, t, cpus, n)
        w[sz + Z_STORE] = 0
        put(w, sz + Z_WIDE, 0, 0)
        put(w, sz + X_IMAGE, 0, ZEROS)
        w[sz + Z_SYSCALL] = 1
        w[sz + Z_FRAME] = w[tz + Z_FRAME]
        if planes(w, cpus, n) > FPMR:
            own, parent = record(FPMR, s, cpus, n), record(FPMR, t, cpus, n)
            renew(w, FPMR, s, False, cpus, n)
            right = right_label(w, FPMR, t, parent + X_IMAGE, 0, cpus, n)
            put(w, own + X_IMAGE, s + 1, w[own + X_VER] if right else w[own + X_VER] - 1)
    elif e == _SIGNAL and features & F_SVE:
        verdict = frame_lacks(w, t, cpus, n)
        if features & F_SME:
            enter_signal_handler(w, t, features, cpus, n)
        return verdict
    return 0


@inline
def enter_signal_handler(w: World, t: int, features: int, cpus: int, n: int) -> None:
    """Let the signal handler of task `t` begin: outside streaming mode, with ZA off (arch/arm64/sme.rst)."""
    own = record(ZA, t, cpus, n)
    if w[own + ZA_SVCR] & 1:
        leave_streaming(w, t, features, cpus, n)
    if w[own + ZA_SVCR] & 2:
        renew(w, ZA, t, True, cpus, n)
    w[own + ZA_SVCR] = 0


@inline
def frame_lacks(w: World, t: int, cpus: int, n: int) -> int:
    """Return what is wrong with the SVE record of a signal frame just built, or with its absence."""
    tz = record(Z, t, cpus, n)
    if w[tz + Z_FRAME]:
        w[tz + Z_FRAME] = 0
        own = right_label(w, V, t, tz + Z_WIDE, 0, cpus, n)
        return 0 if own and right_label(w, Z, t, tz + X_IMAGE, 0, cpus, n) else CLASS_WRONG + Z
    return 0 if w[tz + Z_DEAD] or w[tz + X_INIT] == w[tz + X_VER] else CLASS_WRONG + Z


@inline
def trap_of(w: World, e: int, c: int) -> int:
    """Return the trap event that use `e` raises on CPU `c` as things are, 0 if none."""
    word = w[c * C_SIZE + C_WORD]
    if e == _GUEST_FP or e == _GUEST_SVE:
        if word & GUEST_TRAP:
            return _GUEST_FP_TRAP
        return _GUEST_SVE_TRAP if e == _GUEST_SVE and word & GUEST_SVE_TRAP else 0
    if word & USER_TRAP:
        return _USER_FP_TRAP
    if e == _USER_SVE:
        armed = USER_SME_TRAP if word & SM else USER_SVE_TRAP  # CPACR_EL1.SMEN covers SVE in streaming mode
        return (_SME_TRAP if word & SM else _SVE_TRAP) if word & armed else 0
    return _SME_TRAP if e != _USER_FP and word & USER_SME_TRAP else 0


@inline
def touch_class(w: World, k: int, x: int, c: int, cpus: int, n: int) -> int:
    """Let context `x` read and write class `k` on CPU `c`; return what is wrong with what it reads."""
    at = registers(k, c, cpus, n)
    own = record(k, x, cpus, n)
    verdict = 0
    if not right_label(w, k, x, at, 0, cpus, n):
        owner = w[at]
        mine = owner == 0 or (owner == x + 1 and w[at + 1] >= w[own + X_BIRTH])
        verdict = WRONG_VALUE if k == V else CLASS_WRONG + k if mine else CLASS_LEAKS + k
    w[own + X_VER] += 1
    put(w, at, x + 1, w[own + X_VER])
    return verdict


@bare
def wide_use(w: World, e: int, x: int, c: int, cpus: int, n: int, features: int) -> int:
    """Let context `x` use registers as `e` says, all traps being off; return what is wrong with what it reads."""
    mode = w[c * C_SIZE + C_WORD] >> MODE_SHIFT & 3
    own = record(ZA, x, cpus, n)
    if mode != w[own + ZA_SVCR]:
        w[own + ZA_SVCR] = mode
        return WRONG_MODE
    if e == _SMSTART or e == _SMSTOP:
        enter_mode(w, 3 if e == _SMSTART else 0, c, cpus, n)
        w[own + ZA_SVCR] = 3 if e == _SMSTART else 0
        renew_in_registers(w, x, mode, c, cpus, n)
        return 0
    if e == _USER_ZA:
        return touch_class(w, ZA, x, c, cpus, n) if mode & 2 else 0
    verdict = touch_class(w, V, x, c, cpus, n)
    if e == _USER_SVE or e == _GUEST_SVE:
        length = registers(ZCR, c, cpus, n)
        chosen = w[length] == x + 1 and w[length + 1] == w[record(ZCR, x, cpus, n) + X_VER]
        if not chosen and not mode & 1:
            verdict = max(verdict, VECTOR_LENGTH)
        verdict = max(verdict, touch_class(w, Z, x, c, cpus, n))
        w[record(Z, x, cpus, n) + Z_DEAD] = 0
    if features & F_FPMR:
        verdict = max(verdict, touch_class(w, FPMR, x, c, cpus, n))
    if features & F_AARCH32 and (e == _GUEST_FP or e == _GUEST_SVE):
        verdict = max(verdict, touch_class(w, FPEXC, x, c, cpus, n))
    return verdict


@inline
def renew_in_registers(w: World, x: int, before: int, c: int, cpus: int, n: int) -> None:
    """Make the zeros that a task's own change of mode left in the registers its latest values."""
    after = w[record(ZA, x, cpus, n) + ZA_SVCR]
    if (before ^ after) & 1:
        renew(w, Z, x, True, cpus, n)
        put_latest_z(w, registers(Z, c, cpus, n), x, cpus, n)
        for k in (V, FPMR):
            renew(w, k, x, True, cpus, n)
            put(w, registers(k, c, cpus, n), x + 1, w[record(k, x, cpus, n) + X_VER])
        w[record(Z, x, cpus, n) + Z_DEAD] = 0
    if (before ^ after) & 2:
        renew(w, ZA, x, True, cpus, n)
        put(w, registers(ZA, c, cpus, n), x + 1, w[record(ZA, x, cpus, n) + X_VER])
