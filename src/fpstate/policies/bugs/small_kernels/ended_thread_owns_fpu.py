"""O1: a thread of Zephyr that has ended still owns the FPU."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost


class Faulty(LazyHost):
    """The end of a thread does not look at the owner of the FPU."""

    name = "o1-faulty"

    def exit(self, cpu: LazyHost.Cpu, task: Policy.Task) -> None:
        pass


class Fixed(LazyHost):
    """A thread that ends gives up the FPU."""

    name = "o1-fixed"


BUG = Bug(
    "O1", "ended thread keeps FPU ownership (Zephyr)", "zephyrproject-rtos/zephyr issue 61454", Faulty, Fixed,
    "memory-safety", 10, tasks=2, events=("-neon", "-pm"),
    note="Without kernel-mode FP and idle states, which would save for the dead thread before another thread does.",
)  # fmt: skip
