"""K12: SME is enabled for the host again, and its registers accessed before that is in force."""

from __future__ import annotations

from fpstate.policies.base import when
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost
from fpstate.policies.linux_6_2 import FpState, Linux62


class WithoutSmen(Linux62):
    """A guest exit leaves SMEN clear for the kernel too: CPACR_EL1_DEFAULT enables FPSIMD and SVE alone."""

    class Cpu(FormatHost.Cpu):
        kernel_sme_trap: bool = when("sme", False)  # CPACR_EL1.SMEN, EL1EN clear

    def guest_exit(self, cpu: Cpu, task: FormatHost.Task, vcpu: Linux62.Vcpu) -> None:
        super().guest_exit(cpu, task, vcpu)
        cpu.kernel_sme_trap = True


class Faulty(WithoutSmen):
    """vcpu_put lifts the trap and saves at once."""

    name = "k12-faulty"

    def kvm_arch_vcpu_put_fp(self, cpu: WithoutSmen.Cpu, task: FormatHost.Task, vcpu: Linux62.Vcpu) -> None:
        cpu.user_sme_trap = not vcpu.host_sme_enabled
        cpu.kernel_sme_trap = False
        if vcpu.fp_state is FpState.GUEST_OWNED:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        else:
            cpu.user_sve_trap = not vcpu.host_sve_enabled


class Fixed(WithoutSmen):
    """A barrier comes between."""

    name = "k12-fixed"

    def kvm_arch_vcpu_put_fp(self, cpu: WithoutSmen.Cpu, task: FormatHost.Task, vcpu: Linux62.Vcpu) -> None:
        cpu.kernel_sme_trap = False
        cpu.isb()
        super().kvm_arch_vcpu_put_fp(cpu, task, vcpu)


BUG = Bug(
    "K12", "no barrier after re-enabling SME for the host", "59d78a2ec0e9", Faulty, Fixed, "trap-sanity", 12, tasks=1,
    vcpus=1, events=("kvm", "user_smstart"), features=("sme", "barriers"),
)  # fmt: skip
