"""K12: SME is enabled for the host again, and its registers accessed before that is in force."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost
from fpstate.policies.linux_6_2 import FpState, Linux62


class Faulty(Linux62):
    """vcpu_put lifts the trap and saves at once."""

    name = "k12-faulty"

    def kvm_arch_vcpu_put_fp(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Linux62.Vcpu) -> None:
        cpu.user_sme_trap = not vcpu.host_sme_enabled
        if vcpu.fp_state is FpState.GUEST_OWNED:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        else:
            cpu.user_sve_trap = not vcpu.host_sve_enabled


class Fixed(Linux62):
    """A barrier comes between."""

    name = "k12-fixed"


BUG = Bug(
    "K12", "no barrier after re-enabling SME for the host", "59d78a2ec0e9", Faulty, Fixed, "trap-sanity", 12, tasks=1,
    vcpus=1, events=("kvm", "user_smstart"), features=("sme", "barriers"),
)  # fmt: skip
