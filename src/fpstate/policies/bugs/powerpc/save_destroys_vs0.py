"""P3: storing FP state uses register 0 as scratch, and does not put it back."""

from __future__ import annotations

from fpstate.policies.base import Context
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.powerpc import PowerPc


class Faulty(PowerPc):
    """A save is taken to leave the registers as they were, so they stay valid and may be saved again."""

    name = "p3-faulty"

    def save_fpu(self, cpu: PowerPc.Cpu, context: Context) -> None:
        cpu.save(context)
        cpu.clear(context)  # vs0 := FPSCR


class Fixed(PowerPc):
    """The scratch register is loaded again from the image."""

    name = "p3-fixed"


BUG = Bug(
    "P3", "saving FP state destroys vs0 in the live registers", "5e1d824f9a28", Faulty, Fixed, "integrity", 10, tasks=2,
    note="The initial state stands for a register file with one register lost. The save that leaves the registers "
    "valid is that of fork; the other thread has to exit first to make room for the child.",
)  # fmt: skip
