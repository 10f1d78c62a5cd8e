"""P5: a kernel copy routine flushes the guest's live vectors, and the guest is entered without a reload."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.powerpc import PowerPc, PowerPcPr


class Faulty(PowerPcPr):
    """KVM's own note "the guest owns the registers" is not compared with what is really live."""

    name = "p5-faulty"

    def lost(self, cpu: PowerPc.Cpu, vcpu: PowerPcPr.Vcpu) -> bool:
        return False


class Fixed(PowerPcPr):
    """Before each entry, what was flushed since is loaded again."""

    name = "p5-fixed"


BUG = Bug(
    "P5", "kernel vector copy flushes guest state, guest re-entered without reload", "9d1ffdd8f3", Faulty, Fixed,
    "confidentiality", 11, tasks=1, vcpus=1,
)  # fmt: skip
