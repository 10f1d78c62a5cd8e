"""M-pm: a stale owner record survives a CPU's low-power state."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """Registers are saved before the CPU loses them, but its record goes on naming their owner."""

    name = "m-pm-faulty"

    def cpu_pm_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        self.fpsimd_save(cpu, task)

    def cpu_pm_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        task.foreign = True


class Fixed(DeferredHost):
    """The record of the CPU is cleared when it goes down."""

    name = "m-pm-fixed"


BUG = Bug("M-pm", "stale owner record survives CPU power off", "7c68a9cc0402", Faulty, Fixed, "integrity", 8, tasks=1)
