"""B14: the normal world's registers are saved only if its FPU is enabled."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost


class Fixed(LazyHost):
    """A call to the secure world saves whoever owns the registers. Kernel NEON stands for the call."""

    name = "b14-fixed"


class Faulty(LazyHost):
    """A disabled FPU is taken to hold nothing, and a lazy normal world leaves values behind it."""

    name = "b14-faulty"

    def kernel_neon_begin(self, cpu: LazyHost.Cpu, task: Policy.Task) -> None:
        if not cpu.user_fp_trap:
            self.switch_owner(cpu, None)


BUG = Bug(
    "B14", "normal world's registers saved only if its FPU bit is on (OP-TEE)", "8e01b4b98, 5a3761380", Faulty, Fixed,
    "confidentiality", 12, events=("neon",),
)  # fmt: skip
