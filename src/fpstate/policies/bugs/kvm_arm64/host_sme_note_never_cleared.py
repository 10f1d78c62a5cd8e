"""K4: KVM's note that the host had SME enabled is never cleared."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost
from fpstate.policies.linux_6_2 import Linux62


class Faulty(Linux62):
    """The note is set when SME is found enabled at load, and stays set for later loads that find it trapped."""

    name = "k4-faulty"

    def kvm_arch_vcpu_load_fp(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Linux62.Vcpu) -> None:
        noted = vcpu.host_sme_enabled
        super().kvm_arch_vcpu_load_fp(cpu, task, vcpu)
        vcpu.host_sme_enabled = noted or vcpu.host_sme_enabled


class Fixed(Linux62):
    """The note is cleared at every load before the test."""

    name = "k4-fixed"


BUG = Bug(
    "K4", "note of host SME enabled never cleared", "039f49c4cafb", Faulty, Fixed, "memory-safety", 24, vcpus=1,
    events=("run_enter", "vcpu_load", "vcpu_put", "user_smstart", "interrupt"), features=("sme",),
    note="The VMM enters streaming mode without a trap, so it has no storage to be saved to.",
)  # fmt: skip
