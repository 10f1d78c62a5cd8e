"""linux-6.14: the host's state is saved and flushed unconditionally at vcpu_load."""

from __future__ import annotations

from enum import Enum

from fpstate.policies.base import Policy, kernel_function
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_preemptible import PreemptibleHost


class Owner(Enum):
    """Whose the registers are, as far as KVM is concerned: fp_owner in kvm_host_data."""

    FREE = 0
    GUEST_OWNED = 1


class Linux614(PreemptibleHost):
    """v6.14, and the stable kernels that took it (5.15 to 6.13): host state is never left to the hypervisor to save."""

    name = "linux-6.14"
    source = 'fbc7e61195e2 "KVM: arm64: Unconditionally save+flush host FPSIMD/SVE/SME state" (v6.14)'
    gives_up = ("transient exposure", "timing")

    class Cpu(DeferredHost.Cpu):
        fp_owner: Owner = Owner.FREE

    def vcpu_load(self, cpu: Cpu, task: PreemptibleHost.Task, vcpu: Policy.Vcpu) -> None:
        self.kvm_arch_vcpu_load_fp(cpu, task)

    @kernel_function
    def kvm_arch_vcpu_load_fp(self, cpu: Cpu, task: PreemptibleHost.Task) -> None:
        self.fpsimd_save_and_flush_cpu_state(cpu, task)
        cpu.fp_owner = Owner.FREE

    def guest_enter(self, cpu: Cpu, task: PreemptibleHost.Task, vcpu: Policy.Vcpu) -> None:
        if task.foreign:  # kvm_arch_vcpu_ctxflush_fp
            cpu.fp_owner = Owner.FREE
        cpu.guest_fp_trap = cpu.fp_owner is not Owner.GUEST_OWNED

    def guest_fp_trap(self, cpu: Cpu, task: PreemptibleHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_fp_trap = False  # kvm_hyp_handle_fpsimd
        cpu.load(vcpu)
        cpu.fp_owner = Owner.GUEST_OWNED

    def guest_exit(self, cpu: Cpu, task: PreemptibleHost.Task, vcpu: Policy.Vcpu) -> None:
        if cpu.fp_owner is Owner.GUEST_OWNED:  # kvm_arch_vcpu_ctxsync_fp
            self.fpsimd_bind_state_to_cpu(cpu, vcpu)
            task.foreign = False

    def vcpu_put(self, cpu: Cpu, task: PreemptibleHost.Task, vcpu: Policy.Vcpu) -> None:
        self.kvm_arch_vcpu_put_fp(cpu, task)

    @kernel_function
    def kvm_arch_vcpu_put_fp(self, cpu: Cpu, task: PreemptibleHost.Task) -> None:
        if cpu.fp_owner is Owner.GUEST_OWNED:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
