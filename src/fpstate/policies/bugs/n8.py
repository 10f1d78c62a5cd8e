"""N8: a cached control register is taken to be still in place after suspend."""

from __future__ import annotations

from fpstate.policies.base import Context, Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.xen import XenEager


class Fixed(XenEager):
    """The cache is reset on resume."""

    name = "n8-fixed"

    class Cpu(Policy.Cpu):
        cached: Context | None = None  # whose XCR0 was written last

    def thread_switch(self, cpu: Cpu, task: XenEager.Task, next: XenEager.Task) -> None:
        if task.mm:
            cpu.save(task)
        if next.mm and cpu.cached is not next:
            cpu.load(next)
            cpu.cached = next

    def cpu_pm_exit(self, cpu: Cpu, task: XenEager.Task) -> None:
        cpu.cached = None


class Faulty(Fixed):
    """Suspend resets the register, not its cached copy, so the next write of the same value is skipped."""

    name = "n8-faulty"

    def cpu_pm_exit(self, cpu: Fixed.Cpu, task: XenEager.Task) -> None:
        pass


BUG = Bug(
    "N8", "cached XCR0 stale after suspend", "f7f4a523927f", Faulty, Fixed, "integrity", 9, tasks=1, events=("pm",),
    note="vCPUs are threads here, and the register is XCR0, which nobody else writes. The second bug of the chain, "
    "an impossible marker in the cache, is not in it.",
)  # fmt: skip
