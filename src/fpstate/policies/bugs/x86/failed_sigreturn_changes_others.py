"""X4: a restore from the user's frame that faults has already changed registers kept for another task."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.x86.owner_pointer_over_preemption import X86Host


class Faulty(X86Host):
    """The failed restore is taken for no change: the CPU's owner stays the task that ran before."""

    name = "x4-faulty"

    def sigreturn(self, cpu: X86Host.Cpu, task: X86Host.Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)  # from the frame, straight to the registers; it always faults half way here
        self.restore_failed(cpu)
        task.need_load = True
        task.last_cpu = None

    def restore_failed(self, cpu: X86Host.Cpu) -> None:
        """Do nothing."""


class Fixed(Faulty):
    """The failure invalidates the CPU's owner."""

    name = "x4-fixed"

    def restore_failed(self, cpu: X86Host.Cpu) -> None:
        cpu.owner = None


BUG = Bug("X4", "failed sigreturn changes another's registers", "d8778e393afa", Faulty, Fixed, "confidentiality", 10)
