"""B29: FNINIT after a save is taken for a wipe, and XMM registers stay."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """A blank state is loaded after the save; loads stay lazy."""

    name = "b29-fixed"

    class Cpu(Policy.Cpu):
        user_fp_trap: bool = True

    def wipe(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.clear(task)

    def thread_switch(self, cpu: Cpu, task: Policy.Task, next: Policy.Task) -> None:
        if not cpu.user_fp_trap:
            cpu.save(task)
            self.wipe(cpu, task)
        cpu.user_fp_trap = True

    def user_fp_trap(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = False
        cpu.load(task)


class Faulty(Fixed):
    """FNINIT resets control words, and says nothing to the registers that hold values."""

    name = "b29-faulty"

    def wipe(self, cpu: Fixed.Cpu, task: Policy.Task) -> None:
        pass


BUG = Bug(
    "B29", "FNINIT taken for a wipe (DragonFlyBSD)", "e5aace14a443", Faulty, Fixed, "transient-exposure", 8,
    events=("base",),
)  # fmt: skip
