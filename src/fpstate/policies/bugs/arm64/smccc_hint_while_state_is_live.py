"""A17: a call to firmware hints that no SVE state is live, while that of a task that will not be reloaded is.

TIF_FOREIGN_FPSTATE says that what is in the registers is not current's, and not that it may be lost: another task's
state stays there, and the CPU's record vouches for it.
"""

from __future__ import annotations

from fpstate.policies.base import Policy, when
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.hafnium import Hafnium
from fpstate.policies.host_format import FormatHost


class Faulty(Hafnium):
    """Linux from v5.14 on: __arm_smccc_sve_check() hints if the state is foreign, or TIF_SVE is clear."""

    name = "smccc-hint-while-state-is-live"

    class Cpu(Hafnium.Cpu):
        hint: bool = when("sve", True)  # ns_simd_ctx.hint

    def guest_enter(self, cpu: Cpu, task: FormatHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.hint = task.foreign or not task.tif_sve
        super().guest_enter(cpu, task, vcpu)

    def guest_exit(self, cpu: Cpu, task: FormatHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)
        cpu.load_stash()
        if not cpu.hint:
            cpu.load_stash_part("z")


class Fixed(Hafnium):
    """No hint: what firmware calls V and Z is saved whole."""

    name = "smccc-no-hint"


BUG = Bug(
    "A17", "SMCCC hint says that no SVE state is live, and means current's",
    "arm64: smccc: Remove broken support for SMCCCv1.3 SVE discard hint, Mark Rutland, 6 November 2024", Faulty, Fixed,
    "integrity", 14, vcpus=1, events=("base", "user_sve", "interrupt", "kvm"), features=("sve",),
    note="The call is made to a secure partition here, and firmware is Hafnium.",
)  # fmt: skip
