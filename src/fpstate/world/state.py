"""The state of the world as one array of small integers, and where each fact lies in it.

The array holds one record per CPU, then one per context (threads and vCPUs), then an empty one that stands for
"no such participant". Policies own the words and pointers; the rest is the world's.

Values are names. A place that can hold register contents (the registers of a CPU, the image of a context, a
per-CPU stash) holds a label: whose value it is, and which version. A context's latest value has version `X_VER`; every
use writes, so it makes a new version and all copies elsewhere become stale. Reading is right exactly when the registers
hold (me, latest).

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
X_SECOND: Final = 15  # the second participant of that handler
X_SIZE: Final = 17

FREE: Final = 6  # value of X_MODE: the context does not exist; the other modes are in world.order

GUEST_TRAP: Final = 1  # bits of C_WORD: the guest's, and user mode's, next FP use traps
USER_TRAP: Final = 2

World = NDArray[np.int32]


@inline
def context_base(cpus: int) -> int:
    """Return where the record of context 0 starts."""
    return cpus * C_SIZE


@inline
def kernel_owner(t: int, n: int) -> int:
    """Return the owner number of the kernel-mode FP state of thread `t` in a world of `n` contexts."""
    return n + 2 + t


@inline
def softirq_owner(n: int) -> int:
    """Return the owner number of what kernel code in a softirq leaves in the registers."""
    return n + 1


def new_world(cpus: int, is_vcpu: NDArray[np.bool_], words: tuple[int, int, int]) -> World:
    """Return a world at its start: every context's initial state is in its image, all registers are nobody's.

    `is_vcpu` has one entry per context; `words` are the initial words of a CPU, a task and a vCPU.
    """
    n = len(is_vcpu)
    world = np.zeros(cpus * C_SIZE + (n + 1) * X_SIZE, np.int32)
    world[: cpus * C_SIZE].reshape(cpus, C_SIZE)[:, C_WORD] = words[0]
    records = world[cpus * C_SIZE : cpus * C_SIZE + n * X_SIZE].reshape(n, X_SIZE)
    records[:, X_WORD] = np.where(is_vcpu, words[2], words[1])
    records[:, X_IMAGE] = np.arange(1, n + 1)
    records[:, X_IMAGE + 1] = records[:, X_VER] = records[:, X_INIT] = 1
    records[:, X_KERNEL] = np.arange(n + 2, 2 * n + 2)
    records[:, X_VCPU] = is_vcpu
    return world
