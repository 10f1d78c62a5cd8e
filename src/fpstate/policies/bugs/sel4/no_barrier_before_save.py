"""S8: the FPU is enabled, and its registers saved before that is in force."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost


class Fixed(LazyHost):
    """seL4 at EL2: the fault handler enables the FPU, synchronises, saves the owner and loads the thread."""

    name = "s8-fixed"
    supports = frozenset({"barriers"})


class Faulty(Fixed):
    """It does not synchronise."""

    name = "s8-faulty"

    def lift_trap(self, cpu: LazyHost.Cpu) -> None:
        cpu.user_fp_trap = False


BUG = Bug(
    "S8", "no barrier between enabling the FPU and saving", "e4c5bf242c5f", Faulty, Fixed, "trap-sanity", 3,
    events=("base",), features=("barriers",),
)  # fmt: skip
