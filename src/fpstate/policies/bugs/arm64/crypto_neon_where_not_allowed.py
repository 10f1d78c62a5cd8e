"""A32: a crypto library runs vector code in an interrupt without asking whether it may."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """Vector code in an interrupt runs unasked, so nothing saves or disowns the registers it takes."""

    name = "a32-faulty"

    def softirq_neon_begin(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        pass


class Fixed(DeferredHost):
    """The usability test is back: vector code runs only where the section may begin, which saves the registers."""

    name = "a32-fixed"


BUG = Bug(
    "A32", "crypto library uses NEON where it may not", "eec76ea5a721", Faulty, Fixed,
    "confidentiality", 6, tasks=1,
)  # fmt: skip
