"""N1: in eager mode an emulated instruction leaves the FPU trap armed, and nobody expects it to fire."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.xen import XenEager


class Faulty(XenEager):
    """Emulation gives the FPU back the lazy way, with the trap armed, to a vCPU that is switched eagerly."""

    name = "n1-faulty"

    def kernel_neon_end(self, cpu: Policy.Cpu, task: XenEager.Task) -> None:
        if task.mm:
            cpu.load(task)
            cpu.user_fp_trap = True


class Fixed(XenEager):
    """The trap is never armed for a vCPU that is switched eagerly."""

    name = "n1-fixed"


BUG = Bug(
    "N1", "CR0.TS left set in eager mode: FPU fault inside the hypervisor", "488efc29e4e9", Faulty, Fixed,
    "trap-sanity", 7, tasks=1, events=("kernel_neon_begin", "kernel_neon_end", "pm"),
    note="vCPUs are threads here; emulation that borrows the FPU is kernel NEON. The trap is met by the guest: "
    "this world has none for the hypervisor's own use.",
)  # fmt: skip
