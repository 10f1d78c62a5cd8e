"""X13: the header of a signal frame is taken from an old image."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.x86.owner_pointer_over_preemption import X86Host


class Faulty(X86Host):
    """Registers go straight to the frame, but its header is read from memory, where nobody has saved them."""

    name = "x13-faulty"

    def signal(self, cpu: X86Host.Cpu, task: X86Host.Task) -> None:
        self.fpregs_restore_userregs(cpu, task)


class Fixed(X86Host):
    """The registers are saved to memory first."""

    name = "x13-fixed"


BUG = Bug("X13", "signal frame header from an old image", "aab8445c4e1c", Faulty, Fixed, "integrity", 5, tasks=1)
