"""S1: a deleted thread still owns the FPU."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost
from fpstate.policies.sel4_lazy import SeL4Lazy


class Faulty(SeL4Lazy):
    """Only an FPU fault changes the owner; deletion of the owner does not."""

    name = "s1-faulty"

    def exit(self, cpu: LazyHost.Cpu, task: Policy.Task) -> None:
        pass


class Fixed(SeL4Lazy):
    """A thread gives the FPU away when it is deleted."""

    name = "s1-fixed"


BUG = Bug(
    "S1", "deleted thread still owns the FPU", "7d91ce8e8e4a", Faulty, Fixed, "memory-safety", 10, tasks=2,
    events=("exit",), note="seL4 has no fork, exec, signals or kernel-mode FP.",
)  # fmt: skip
