"""The state of the world: for each place that can hold register contents, whose value lies there.

Values are names. A place (the registers of a CPU, the image of a context in memory, a per-CPU stash) holds a *label*:
whose value it is and which version of it. A use of registers writes, so it makes a new version, and every other copy
becomes stale. Reading is right exactly when the registers hold the reader's latest value:

    w.cpu[c, REGISTERS] == w.context[x, LATEST]

Contexts are threads (user mode's state) and vCPUs. There is one record more than there are contexts: it stands for "no
such participant". Policies own the words and the pointers; the rest is the world's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline
from fpstate.structs import Struct

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class World(Struct):
    """All there is to know."""

    cpu: Ints  # [CPU, one of the next block]
    context: Ints  # [context, one of the block after it]
    features: int  # what the world has beside V, as F_*
    dirty: int  # 1: hardware notes that registers were written (DIRTY)
    zeros: int  # 1: zeros are nobody's, so right for whoever is to have them; 0: each context has zeros of its own
    followed: int  # 0, or what values alone are looked at, all others being taken for right (`following`)


# What is known of a CPU. Labels are those of class V; those of class k stand k columns further.
WORD: Final = 0  # hardware trap settings (see below), and above them the policy's flags, enums and counters
POINTER: Final = 1  # the policy's two pointers: to owners (see below), 0 none
CURRENT: Final = 3  # the thread running on it
OFF: Final = 4  # 1 while it is down
REGISTERS: Final = 5  # label of what its registers hold
STASH: Final = 6  # label of its private copy of somebody's registers

# What is known of a context. WORD as above, without hardware; POINTER: two pointers to CPUs (CPU + 1, 0 none).
IS_VCPU: Final = 3  # 1 for a vCPU
MODE: Final = 4  # what a thread is doing, or whether the context exists at all (paths.order)
RUNS: Final = 5  # the vCPU a thread has in KVM_RUN, as context + 1
FRAME: Final = 6  # 1 while a signal frame of the thread waits for its sigreturn; FRAME_BUILT
POINT: Final = 7  # where inside a handler the thread was interrupted (a point number), 0 not inside one
SECOND: Final = 8  # the second participant of that handler, as context + 1, 0 not inside one
KERNEL_IMAGE: Final = 9  # label of the image of the thread's kernel-mode state
KERNEL_LATEST: Final = 10  # label of the latest value of that
IMAGE: Final = 11  # label of the image in memory; this and the next three of each class
LATEST: Final = 12  # label of the latest value
INITIAL: Final = 13  # label of the latest value that was the initial state (zeros)
BIRTH: Final = 14  # label of the first value of this program, task or vCPU; older ones are its predecessor's
STORAGE: Final = 35  # what the image has storage for: SVE_STORE, ZA_STORE; from here on only with more features
DISCARDABLE: Final = 36  # 1: a system call has made the task's Z discardable, zeros are right as well
IN_SYSCALL: Final = 37  # 1: the task is inside a system call
SVCR: Final = 38  # the mode the task believes to be in: bit 0 SM, bit 1 ZA
SVE_FRAME: Final = 39  # 1: the signal frame has an SVE record
SVE_IMAGE: Final = 40  # label of V in the SVE form of the image; of Z it is IMAGE + Z
PLAIN: Final = 41  # 1: a vCPU that has none of the further features

# Records have as many columns, the last for `check`. The numbers are multiples of what a vector register of the host
# holds: copies and comparisons of whole records are the most frequent thing there is.
COLUMNS: Final = 16  # of a world with V alone
WIDE_COLUMNS: Final = 44

# Register classes, as columns between the label of V and theirs. V stands for V0-V31, FPSR and FPCR; Z for the parts of
# Z0-Z31 above 128 bits, P and FFR; ZCR for the vector length in force; ZA includes ZT0; FPEXC is FPEXC32_EL2 of a
# 32-bit guest.
PER_CLASS: Final = 4
V: Final = 0
Z: Final = 4
ZCR: Final = 8
ZA: Final = 12
FPMR: Final = 16
FPEXC: Final = 20
CLASSES_END: Final = 24
FOLLOWED_CLASS: Final = 32  # in `World.followed`: the class is what is left by this

# Bits of a CPU's WORD that are hardware. A use of registers behind an armed trap enters the kernel or hypervisor first.
GUEST_FP_TRAP: Final = 1  # the guest's next FP use traps to the hypervisor (CPTR_EL2.TFP; on VHE CPACR_EL1.FPEN clear)
USER_FP_TRAP: Final = 2  # user mode's next FP use traps to the kernel (CPACR_EL1.FPEN, CR0.TS)
USER_SVE_TRAP: Final = 4  # user mode's next SVE use (CPACR_EL1.ZEN); from here on only in worlds with more features
GUEST_SVE_TRAP: Final = 8  # the guest's next SVE use (CPTR_EL2.TZ)
USER_SME_TRAP: Final = 16  # user mode's next SME instruction (CPACR_EL1.SMEN)
SM: Final = 32  # the CPU is in streaming mode (SVCR.SM)
ZA_ON: Final = 64  # ZA is enabled (SVCR.ZA)
DIRTY: Final = 128  # user mode or a guest has written FP registers since kernel code cleared this (sstatus.FS)
MODE_SHIFT: Final = 5  # SVCR is WORD >> MODE_SHIFT & 3

FRAME_BUILT: Final = 2  # value of FRAME while the signal's handler goes on after its frame was built
FREE: Final = 6  # value of MODE: the context does not exist; the other modes are in paths.order
SVE_STORE: Final = 1
ZA_STORE: Final = 2

# Features of a world, as bits.
F_SVE: Final = 1  # tasks use SVE
F_GUEST_SVE: Final = 2  # guests do
F_SME: Final = 4
F_FPMR: Final = 8
F_AARCH32: Final = 16  # guests are 32-bit and own FPEXC
F_GUEST_SME: Final = 32  # guests use streaming mode and ZA

# Labels: an owner, and a version above it. Owners: nobody, a softirq, a context, a thread's kernel-mode state.
VERSION: Final = 1 << 32  # one version more
NOBODYS: Final = 0  # lost, or never written: nobody knows what
ZEROS: Final = VERSION  # nobody's, and known to be zeros
SOFTIRQS: Final = 1  # left by kernel code in a softirq; also the owner's number


@inline
def own(x: int) -> int:
    """Return the owner number of context `x`: a task's user state or a vCPU's guest state."""
    return 2 * x + 2


@inline
def kernel_of(x: int) -> int:
    """Return the owner number of the kernel-mode FP state of thread `x`."""
    return 2 * x + 3


@inline
def context_of(owner: int) -> int:
    """Return the context that an owner number from 2 on belongs to."""
    return (owner >> 1) - 1


@inline
def owner_of(label: int) -> int:
    """Return whose value a label stands for."""
    return label & (VERSION - 1)


@inline
def is_own(w: World, k: int, x: int, label: int) -> bool:
    """Tell whether `label` is a value of class `k` that context `x` itself has had, the latest or an older one."""
    return owner_of(label) == own(x) and label >= w.context[x, BIRTH + k]


@inline
def classes_end(w: World) -> int:
    """Return the column behind the last register class of a world; they are PER_CLASS columns apart."""
    return CLASSES_END if w.features else PER_CLASS


def zeroed_classes(w: World) -> list[int]:
    """Return the register classes whose initial value is zeros: all but the vector length."""
    return [k for k in range(V, classes_end(w), PER_CLASS) if k != ZCR]


@inline
def is_anothers(w: World, k: int, x: int, label: int) -> bool:
    """Tell whether `label` is a value of class `k` that somebody else has had: to show it to context `x` is a leak."""
    return owner_of(label) != 0 and not is_own(w, k, x, label)


@inline
def following(k: int, x: int) -> int:
    """Return what `World.followed` is where the values of class `k` of context `x` alone are looked at."""
    return (x + 1) * FOLLOWED_CLASS + k


@inline
def is_followed(w: World, k: int, x: int) -> bool:
    """Tell whether the values of class `k` of context `x` are looked at."""
    return bool(w.followed == 0 or w.followed == following(k, x))


@inline
def was_latest(w: World, k: int, x: int, label: int, behind: int) -> bool:
    """Tell whether `label` is the value context `x` had `behind` versions of class `k` ago, by zeros too if it was.

    Where a system call has made Z discardable, zeros are right for it as well.
    """
    if not is_followed(w, k, x):
        return True
    version = w.context[x, LATEST + k] - behind * VERSION
    zeros = w.context[x, INITIAL + k] == version or (k == Z and w.context[x, DISCARDABLE] == 1)
    return bool(label == version or (label == ZEROS and zeros))


@inline
def is_latest(w: World, k: int, x: int, label: int) -> bool:
    """Tell whether `label` is the latest value of class `k` of context `x`, as in `was_latest`."""
    return was_latest(w, k, x, label, 0)


@inline
def latest_label(w: World, k: int, x: int) -> int:
    """Return the label of the latest value of class `k` of context `x`: that of zeros, where they are nobody's."""
    zeros = w.context[x, INITIAL + k] == w.context[x, LATEST + k] and (k == Z or (w.zeros and k != ZCR))
    return ZEROS if zeros else int(w.context[x, LATEST + k])


@inline
def guest_storage(features: int) -> int:
    """Return what the image of a vCPU has storage for in a world whose guests use SVE."""
    return SVE_STORE | ZA_STORE if features & F_GUEST_SME else SVE_STORE


def new_world(
    cpus: int,
    is_vcpu: NDArray[np.bool_],
    words: tuple[int, int, int],
    features: int = 0,
    *,
    dirty: bool = False,
    zeros: bool = True,
) -> World:
    """Return a world at its start: every context's initial state is in its image, all registers are nobody's.

    `is_vcpu` has one entry per context; `words` are the initial words of a CPU, a task and a vCPU; `features` as F_*.
    `dirty`: hardware notes that registers were written.
    `zeros`: the zeros of an initial state are nobody's. If they are not, whatever reads another's is taken to be wrong:
    a world with fewer states, in which less holds.
    """
    n = len(is_vcpu)
    columns = WIDE_COLUMNS if features else COLUMNS
    w = World(
        np.zeros((cpus, columns), np.int64), np.zeros((n + 1, columns), np.int64), features, int(dirty), int(zeros), 0
    )
    w.cpu[:, WORD] = words[0]
    x = w.context[:n]  # a view
    first = 2 * np.arange(n) + 2 + VERSION  # own(x), version 1
    x[:, WORD] = np.where(is_vcpu, words[2], words[1])
    x[:, IS_VCPU] = is_vcpu
    x[:, KERNEL_IMAGE] = x[:, KERNEL_LATEST] = 2 * np.arange(n) + 3  # kernel_of(x), version 0
    for k in range(V, classes_end(w), PER_CLASS):
        x[:, IMAGE + k] = x[:, LATEST + k] = x[:, INITIAL + k] = first
        x[:, BIRTH + k] = first - VERSION
    if zeros:
        x[:, [IMAGE + k for k in zeroed_classes(w)]] = ZEROS
    if features:
        x[:, IMAGE + Z] = ZEROS
        x[:, IN_SYSCALL] = ~is_vcpu
        if features & F_GUEST_SVE:  # KVM allocates a vCPU's storage when its features are finalised
            x[is_vcpu, STORAGE] = guest_storage(features)
            x[is_vcpu, SVE_IMAGE] = x[is_vcpu, IMAGE]
    return w


def copy_of(w: World) -> World:
    """Return a copy that shares nothing with `w`."""
    return World(w.cpu.copy(), w.context.copy(), w.features, w.dirty, w.zeros, w.followed)


@inline
def copy_record(source: Ints, i: int, to: Ints, k: int) -> None:
    """Copy record `i` of one array onto record `k` of another."""
    for j in range(COLUMNS):
        to[k, j] = source[i, j]
    if source.shape[1] > COLUMNS:
        for j in range(COLUMNS, WIDE_COLUMNS):
            to[k, j] = source[i, j]


@inline
def copy_world(w: World, to: World) -> None:
    """Make `to` the same as `w`, a world of the same size."""
    for c in range(len(w.cpu)):
        copy_record(w.cpu, c, to.cpu, c)
    for x in range(len(w.context)):
        copy_record(w.context, x, to.context, x)


@inline
def same_record(a: Ints, i: int, b: Ints, k: int) -> bool:
    """Tell whether record `i` of one array is record `k` of another."""
    different = 0
    for j in range(COLUMNS):
        different |= a[i, j] ^ b[k, j]
    if a.shape[1] > COLUMNS:
        for j in range(COLUMNS, WIDE_COLUMNS):
            different |= a[i, j] ^ b[k, j]
    return different == 0
