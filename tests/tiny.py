"""Hand-made worlds as test vocabulary: one CPU, a VMM thread with a vCPU, another task, a kernel thread."""

from __future__ import annotations

import numpy as np

from fpstate.traces.trace import Contexts, Header, Kind, Trace
from fpstate.world.events import Event as E

IDLE, VMM, LOAD, KTHREAD, VCPU = range(5)
Step = tuple[E, int] | tuple[E, int, int]

CONTEXTS = Contexts(
    np.array([Kind.IDLE, Kind.USER, Kind.USER, Kind.KTHREAD, Kind.VCPU], np.uint8),
    np.array([0, 10, 11, 12, 10], np.int32),
    np.array([-1, -1, -1, -1, VMM], np.int32),
    ["swapper/0", "vmm", "load", "kworker/0:1", "vmm"],
)

START: list[Step] = [(E.THREAD_SWITCH, IDLE, VMM), (E.RET_TO_USER, VMM), (E.USER_FP, VMM)]
PREEMPTED_BY_USER: list[Step] = [
    (E.VCPU_PUT, VMM, VCPU),
    (E.THREAD_SWITCH, VMM, LOAD),
    (E.RET_TO_USER, LOAD),
    (E.USER_FP, LOAD),
    (E.THREAD_SWITCH, LOAD, VMM),
    (E.VCPU_LOAD, VMM, VCPU),
]
PREEMPTED_BY_KTHREAD: list[Step] = [
    (E.VCPU_PUT, VMM, VCPU),
    (E.THREAD_SWITCH, VMM, KTHREAD),
    (E.THREAD_SWITCH, KTHREAD, VMM),
    (E.VCPU_LOAD, VMM, VCPU),
]
SOFTIRQ_NEON: list[Step] = [(E.SOFTIRQ_NEON_BEGIN, VMM), (E.SOFTIRQ_NEON_END, VMM)]


def kvm_run(runs: int, *, fp: bool = True, between: list[Step] | None = None) -> list[Step]:
    """One KVM_RUN of `runs` guest runs and the return to user; `between` happens after the first."""
    steps: list[Step] = [(E.SYSCALL, VMM), (E.RUN_ENTER, VMM, VCPU), (E.VCPU_LOAD, VMM, VCPU)]
    for i in range(runs):
        steps += [(E.GUEST_ENTER, VMM, VCPU), *([(E.GUEST_FP, VMM, VCPU)] if fp else []), (E.GUEST_EXIT, VMM, VCPU)]
        steps += between or [] if i == 0 else []
    return [*steps, (E.VCPU_PUT, VMM, VCPU), (E.RUN_EXIT, VMM, VCPU), (E.RET_TO_USER, VMM), (E.USER_FP, VMM)]


def trace(steps: list[Step]) -> Trace:
    """Turn steps on CPU 0 into a trace."""
    n = len(steps)
    second = [s[2] if len(s) == 3 else -1 for s in steps]
    return Trace(
        np.arange(n, dtype=np.int64),
        np.zeros(n, np.uint16),
        np.array([s[0] for s in steps], np.uint8),
        np.array([s[1] for s in steps], np.int32),
        np.array(second, np.int32),
        np.arange(1, n + 1, dtype=np.uint32),
        CONTEXTS,
        Header("tiny", "generated", cpus=1),
    )
