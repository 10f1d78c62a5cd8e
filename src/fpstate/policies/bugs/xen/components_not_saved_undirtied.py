"""N6: components that never trap are not saved when no trap was taken."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.xen import XenEager


class Faulty(XenEager):
    """One dirty mark stands for all components, and only the trap of the lazy ones sets it."""

    name = "n6-faulty"

    class Task(XenEager.Task):
        dirtied: bool = False  # fpu_dirtied

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.dirtied:
            cpu.save(task)
        if next.mm:
            cpu.load(next)

    def user_fp_trap(self, cpu: Policy.Cpu, task: Task) -> None:
        task.dirtied = True


class Fixed(XenEager):
    """Components that never trap are always saved."""

    name = "n6-fixed"


BUG = Bug(
    "N6", "non-lazy components not saved when FPU was not dirtied", "7d8b5dd98463", Faulty, Fixed, "integrity", 8,
    tasks=1, events=("pm",),
    note="vCPUs are threads here. The registers are a component that never traps (LWP), which nobody else uses.",
)  # fmt: skip
