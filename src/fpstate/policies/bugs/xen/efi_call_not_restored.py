"""N2: after an EFI runtime call the state that never traps is not given back."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.xen import XenEager


class Faulty(XenEager):
    """The way back from firmware only arms the trap, which brings back nothing but lazily switched state."""

    name = "n2-faulty"

    def kernel_neon_end(self, cpu: Policy.Cpu, task: XenEager.Task) -> None:
        pass


class Fixed(XenEager):
    """The way back loads what is switched eagerly."""

    name = "n2-fixed"


BUG = Bug(
    "N2", "EFI runtime call: eager part not restored", "437211cb6965", Faulty, Fixed, "confidentiality", 7, tasks=1,
    events=("kernel_neon_begin", "kernel_neon_end", "pm"),
    note="vCPUs are threads here; an EFI call is kernel NEON. The registers are the components that no trap guards.",
)  # fmt: skip
