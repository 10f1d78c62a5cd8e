"""X5: a hard interrupt uses the FPU inside a locked FPU section of the kernel."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.x86.owner_pointer_over_preemption import X86Host


class Faulty(X86Host):
    """The permission test asks only whether kernel code uses the FPU, so an interrupt may use it half way in a load."""

    name = "x5-faulty"

    def ret_to_user(self, cpu: X86Host.Cpu, task: X86Host.Task) -> Iterator[None]:
        if task.need_load:
            if cpu.owner is not task or task.last_cpu is not cpu:
                cpu.load(task)
            yield  # fpregs_lock is held, and does not keep out a hard interrupt
            self.fpregs_activate(cpu, task)


class Fixed(X86Host):
    """A hard interrupt is refused the FPU when bottom halves were off."""

    name = "x5-fixed"


BUG = Bug(
    "X5", "hard interrupt uses FPU in a locked section", "59f5ede3bc0f", Faulty, Fixed, "confidentiality", 5, tasks=1
)
