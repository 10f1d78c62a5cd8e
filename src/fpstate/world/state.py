"""The state of the world as one array of small integers, and where each fact lies in it.

The array holds one record per CPU, then one per context (threads and vCPUs), then an empty one that stands for
"no such participant". Policies own the words and pointers; the rest is the world's.

Values are names. A place that can hold register contents (the registers of a CPU, the image of a context, a
per-CPU stash) holds a label: whose value it is, and which version. A context's latest value has version `X_VER`; every
use writes, so it makes a new version and all copies elsewhere become stale. Reading is right exactly when the registers
hold (me, latest).

That is one register class: V0-V31, FPSR, FPCR. A world with more features has one plane of the same layout for each
further class (Z, ZA, ...) behind the first, with labels and versions of its own; the policy's words and what threads
are doing stand in the first plane only.

Owners are numbered from 1: context x is x + 1, the kernel-mode FP state of thread t is `kernel_owner`, a value left
by kernel code in a softirq is `softirq_owner`; 0 is nobody's (zeros, or lost).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline

C_WORD: Final = 0  # trap bits and the policy's flags
C_PTR: Final = 1  # two pointers to contexts (owner numbers, 0 none)
C_REGS: Final = 3  # label of the registers: owner, version
C_STASH: Final = 5  # label of the per-CPU stash
C_CURRENT: Final = 7  # the thread running on it (kept by the checker)
C_OFF: Final = 8  # 1 while the CPU is down
C_SIZE: Final = 10

X_WORD: Final = 0
X_PTR: Final = 1  # two pointers to CPUs (CPU + 1, 0 none)
X_IMAGE: Final = 3  # label of the image in memory
X_KERNEL: Final = 5  # label of the image of the thread's kernel-mode state
X_VER: Final = 7  # latest version
X_KVER: Final = 8  # latest version of the kernel-mode state
X_INIT: Final = 9  # version at which the context was last in its initial state (all zeros)
X_VCPU: Final = 10  # 1 for a vCPU
X_MODE: Final = 11  # what a thread is doing, or whether a context exists at all (world.order)
X_RUNS: Final = 12  # the vCPU a thread has in KVM_RUN, as context + 1
X_FRAME: Final = 13  # 1 while a signal frame of the thread waits for its sigreturn
X_BIRTH: Final = 16  # version with which this program, task or vCPU began; older values were its predecessor's
X_POINT: Final = 14  # where inside a handler the thread was interrupted (a point number), 0 not inside one
X_SECOND: Final = 15  # the second participant of that handler, as context + 1, 0 not inside one
X_SIZE: Final = 17

# Register classes, each with its plane. V stands for V0-V31, FPSR and FPCR; Z for the parts of Z0-Z31 above 128 bits, P
# and FFR; ZCR for the vector length in force; ZA includes ZT0; FPEXC is FPEXC32_EL2 of a 32-bit guest.
V: Final = 0
Z: Final = 1
ZCR: Final = 2
ZA: Final = 3
FPMR: Final = 4
FPEXC: Final = 5
CLASSES: Final = 6

# What the planes of Z and ZA keep where the first has a policy's word and pointers.
Z_STORE: Final = 0  # storage of a context: SVE_STORE, ZA_STORE
Z_DEAD: Final = 1  # 1: a system call has made the task's Z discardable, zeros are right as well
Z_SYSCALL: Final = 2  # 1: the task is inside a system call
Z_WIDE: Final = X_KERNEL  # label of V in the SVE form of the image (its version is one of V's)
Z_FRAME: Final = X_FRAME  # 1: the signal frame has an SVE record
ZA_SVCR: Final = 0  # the mode the task believes to be in: bit 0 SM, bit 1 ZA
SVE_STORE: Final = 1
ZA_STORE: Final = 2

# Features of a world, as bits.
F_SVE: Final = 1  # tasks use SVE
F_GUEST_SVE: Final = 2  # guests do
F_SME: Final = 4
F_FPMR: Final = 8
F_AARCH32: Final = 16  # guests are 32-bit and own FPEXC

FREE: Final = 6  # value of X_MODE: the context does not exist; the other modes are in world.order

GUEST_TRAP: Final = 1  # bits of C_WORD: the guest's, and user mode's, next FP use traps
USER_TRAP: Final = 2
USER_SVE_TRAP: Final = 4  # the rest only in worlds with more features
GUEST_SVE_TRAP: Final = 8
USER_SME_TRAP: Final = 16
SM: Final = 32  # the CPU is in streaming mode (SVCR.SM)
ZA_ON: Final = 64  # SVCR.ZA
MODE_SHIFT: Final = 5

World = NDArray[np.int32]


@inline
def context_base(cpus: int) -> int:
    """Return where the record of context 0 starts."""
    return cpus * C_SIZE


@inline
def plane_size(cpus: int, n: int) -> int:
    """Return how far the planes of two neighbouring register classes lie apart."""
    return cpus * C_SIZE + (n + 1) * X_SIZE


@inline
def kernel_owner(t: int, n: int) -> int:
    """Return the owner number of the kernel-mode FP state of thread `t` in a world of `n` contexts."""
    return n + 2 + t


@inline
def softirq_owner(n: int) -> int:
    """Return the owner number of what kernel code in a softirq leaves in the registers."""
    return n + 1


def new_world(cpus: int, is_vcpu: NDArray[np.bool_], words: tuple[int, int, int], features: int = 0) -> World:
    """Return a world at its start: every context's initial state is in its image, all registers are nobody's.

    `is_vcpu` has one entry per context; `words` are the initial words of a CPU, a task and a vCPU; `features` as F_*.
    """
    n = len(is_vcpu)
    size = plane_size(cpus, n)
    beyond = CLASSES if features & (F_FPMR | F_AARCH32 | F_SME) else ZA + 1
    world = np.zeros(size * (beyond if features else 1), np.int32)
    for k, plane in enumerate(world.reshape(-1, size)):
        records = plane[cpus * C_SIZE : cpus * C_SIZE + n * X_SIZE].reshape(n, X_SIZE)
        records[:, X_IMAGE] = np.arange(1, n + 1)
        records[:, X_IMAGE + 1] = records[:, X_VER] = records[:, X_INIT] = 1
        if k == V:
            plane[: cpus * C_SIZE].reshape(cpus, C_SIZE)[:, C_WORD] = words[0]
            records[:, X_WORD] = np.where(is_vcpu, words[2], words[1])
            records[:, X_KERNEL] = np.arange(n + 2, 2 * n + 2)
            records[:, X_VCPU] = is_vcpu
        elif k == Z:
            records[:, X_IMAGE], records[:, X_IMAGE + 1] = 0, 1  # zeros, whoever's
            records[:, Z_SYSCALL] = ~is_vcpu
            if features & F_GUEST_SVE:  # KVM allocates a vCPU's storage when its features are finalised
                records[is_vcpu, Z_STORE] = SVE_STORE
                records[is_vcpu, Z_WIDE] = np.flatnonzero(is_vcpu) + 1
                records[is_vcpu, Z_WIDE + 1] = 1
    return world
