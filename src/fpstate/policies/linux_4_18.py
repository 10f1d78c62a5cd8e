"""linux-4.18: the vCPU can own a CPU's registers in the eyes of the host layer."""

from __future__ import annotations

from fpstate.policies.base import Policy, kernel_function
from fpstate.policies.host_deferred import BindableHost, DeferredHost


class Linux418(BindableHost):
    """v4.18 to v5.1. After an exit the registers stay the guest's, bound to the vCPU, until put or kernel NEON.

    `foreign` of the thread that runs the vCPU means "not valid for whatever last_state says" while it is loaded.
    """

    name = "linux-4.18"
    source = 'e6b673b741ea "KVM: arm64: Optimise FPSIMD handling to reduce guest/host thrashing" (v4.18)'
    gives_up = ("transient exposure", "timing")

    class Vcpu(Policy.Vcpu):
        fp_enabled: bool = False  # KVM_ARM64_FP_ENABLED: guest state is live
        fp_host: bool = False  # KVM_ARM64_FP_HOST: host state may be live and unsaved

    def vcpu_load(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        self.kvm_arch_vcpu_load_fp(cpu, vcpu)

    @kernel_function
    def kvm_arch_vcpu_load_fp(self, cpu: DeferredHost.Cpu, vcpu: Vcpu) -> None:
        vcpu.fp_enabled = False
        vcpu.fp_host = True

    def guest_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if task.foreign:  # update_fp_enabled
            vcpu.fp_enabled = False
            vcpu.fp_host = False
        cpu.guest_fp_trap = not vcpu.fp_enabled

    def guest_fp_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = False  # __hyp_switch_fpsimd
        if vcpu.fp_host:
            cpu.save(task)
            vcpu.fp_host = False
        cpu.load(vcpu)
        vcpu.fp_enabled = True

    def guest_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if vcpu.fp_enabled:  # kvm_arch_vcpu_ctxsync_fp
            self.fpsimd_bind_state_to_cpu(cpu, vcpu)
            task.foreign = False

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        self.kvm_arch_vcpu_put_fp(cpu, task, vcpu)

    @kernel_function
    def kvm_arch_vcpu_put_fp(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if vcpu.fp_enabled:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
