"""R1: a vector frame being restored is overwritten by a save of the registers it replaces."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.riscv_kvm import RiscvHost


class Fixed(RiscvHost):
    """The live registers are marked clean before the frame is copied, by a routine that uses vectors itself."""

    name = "r1-fixed"

    def discard(self, task: RiscvHost.Task) -> None:
        task.dirty = False

    def sigreturn(self, cpu: Policy.Cpu, task: RiscvHost.Task) -> None:
        self.discard(task)
        cpu.overwrite(task)
        self.kernel_neon_begin(cpu, task)  # __copy_from_user, part of the copy
        self.kernel_neon_end(cpu, task)


class Faulty(Fixed):
    """Discarded registers are marked dirty, that is, newer than the memory that is about to be written."""

    name = "r1-faulty"

    def discard(self, task: RiscvHost.Task) -> None:
        task.dirty = True


BUG = Bug(
    "R1", "restore of a vector frame is overwritten by a save of discarded live state", "c27fa53b858b", Faulty, Fixed,
    "integrity", 10, tasks=1, note="The image is written as a whole; the save comes after it.",
)  # fmt: skip
