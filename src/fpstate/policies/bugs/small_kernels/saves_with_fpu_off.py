"""B20: the save for another process runs with the FPU off."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost


class Fixed(LazyHost):
    """The FPU is switched on before the owner is saved, and off for the next process on the way to user mode."""

    name = "b20-fixed"

    def thread_switch(self, cpu: LazyHost.Cpu, task: Policy.Task, next: Policy.Task) -> None:
        self.switch_owner(cpu, None)


class Faulty(LazyHost):
    """It is switched off as soon as another process is chosen, and then the owner is saved."""

    name = "b20-faulty"

    def thread_switch(self, cpu: LazyHost.Cpu, task: Policy.Task, next: Policy.Task) -> None:
        cpu.user_fp_trap = True
        if cpu.owner is not None:
            cpu.save(cpu.owner)
            cpu.owner = None


BUG = Bug(
    "B20", "save for another process runs with the FPU off (Minix 3)", "2f892aca9151", Faulty, Fixed, "kernel-trap", 6,
    events=("base",),
)  # fmt: skip
