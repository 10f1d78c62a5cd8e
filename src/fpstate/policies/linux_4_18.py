"""linux-4.18 to linux-5.13: the vCPU can own a CPU's registers in the eyes of the host layer."""

from __future__ import annotations

from fpstate.policies.base import Policy, kernel_function, when
from fpstate.policies.host_deferred import BindableHost, DeferredHost, InPlaceHost


class Linux418(BindableHost):
    """After an exit the registers stay the guest's, bound to the vCPU, until put or kernel NEON.

    `foreign` of the thread that runs the vCPU means "not valid for whatever last_state says" while it is loaded.
    """

    name = "linux-4.18"
    kernels = "Linux v4.18 to v5.1"
    source = 'e6b673b741ea "KVM: arm64: Optimise FPSIMD handling to reduce guest/host thrashing" (v4.18)'
    gives_up = ("transient exposure", "timing")
    supports = frozenset({"sve", "aarch32", "nvhe", "barriers"})

    class Vcpu(Policy.Vcpu):
        fp_enabled: bool = False  # KVM_ARM64_FP_ENABLED: guest state is live
        fp_host: bool = False  # KVM_ARM64_FP_HOST: host state may be live and unsaved
        host_sve_in_use: bool = when("sve", False)  # KVM_ARM64_HOST_SVE_IN_USE: TIF_SVE of the thread
        host_sve_enabled: bool = when("sve", False)  # KVM_ARM64_HOST_SVE_ENABLED: CPACR_EL1.ZEN at load

    def vcpu_load(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        self.kvm_arch_vcpu_load_fp(cpu, task, vcpu)

    @kernel_function
    def kvm_arch_vcpu_load_fp(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        vcpu.fp_enabled = False
        vcpu.fp_host = True
        if self.sve:
            vcpu.host_sve_in_use = task.tif_sve
            vcpu.host_sve_enabled = not cpu.user_sve_trap

    def guest_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if task.foreign:  # update_fp_enabled
            vcpu.fp_enabled = False
            vcpu.fp_host = False
        self.activate_traps(cpu, vcpu)

    def activate_traps(self, cpu: DeferredHost.Cpu, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = not vcpu.fp_enabled
        if self.aarch32:
            cpu.force_fpexc()  # even when the guest's own value is live: mended by v5.2

    def guest_fp_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        self.lift_guest_traps(cpu, vcpu)  # __hyp_switch_fpsimd
        if vcpu.fp_host:
            if vcpu.host_sve_in_use:
                cpu.save_sve(task)
            else:
                cpu.save(task)
            vcpu.fp_host = False
        self.load_guest(cpu, vcpu)
        vcpu.fp_enabled = True

    def guest_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if self.aarch32 and vcpu.fp_enabled:
            cpu.save_part("fpexc", vcpu)
        if not self.nvhe:
            cpu.user_sve_trap = True  # CPACR_EL1 serves both: the run has left its default there
        if vcpu.fp_enabled:  # kvm_arch_vcpu_ctxsync_fp
            self.fpsimd_bind_state_to_cpu(cpu, vcpu)
            task.foreign = False
            task.tif_sve = vcpu.has_sve

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        self.kvm_arch_vcpu_put_fp(cpu, task, vcpu)

    @kernel_function
    def kvm_arch_vcpu_put_fp(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if vcpu.fp_enabled:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        elif self.sve:
            cpu.user_sve_trap = not vcpu.host_sve_enabled
        task.tif_sve = vcpu.host_sve_in_use


class Linux52(Linux418):
    """Guests may have SVE, on VHE only; FPEXC is forced only while the guest's registers are away."""

    name = "linux-5.2"
    kernels = "Linux v5.2 to v5.12"
    source = '73433762fcae "KVM: arm64/sve: Context switch the SVE registers" (v5.2)'
    supports = frozenset({"sve", "guest-sve", "aarch32", "nvhe", "barriers"})

    def activate_traps(self, cpu: DeferredHost.Cpu, vcpu: Linux418.Vcpu) -> None:
        cpu.guest_fp_trap = not vcpu.fp_enabled
        cpu.guest_sve_trap = not (vcpu.fp_enabled and vcpu.has_sve)
        if self.aarch32 and cpu.guest_fp_trap:
            cpu.force_fpexc()
        if vcpu.has_sve and vcpu.fp_enabled:
            cpu.load_part("zcr", vcpu)  # ZCR_EL12 comes into force at EL1 and below

    def guest_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        if vcpu.has_sve and vcpu.fp_enabled:
            self.leave_guest_length(cpu, vcpu)
        super().guest_exit(cpu, task, vcpu)

    def leave_guest_length(self, cpu: DeferredHost.Cpu, vcpu: Linux418.Vcpu) -> None:
        cpu.save_part("zcr", vcpu)
        cpu.set_vl(vcpu)  # ZCR_EL2, the longest length of the vCPU, is what holds at EL2


class Linux513(InPlaceHost, Linux52):
    """SVE guests on nVHE: the host runs at EL1 with the guest's length in force until vcpu_put."""

    name = "linux-5.13"
    kernels = "Linux v5.13 to v5.16"
    source = "0a9a98fda3a2, 83857371d4cb, 8c8010d69c13 (v5.13)"

    def leave_guest_length(self, cpu: DeferredHost.Cpu, vcpu: Linux418.Vcpu) -> None:
        cpu.save_part("zcr", vcpu)
        if not self.nvhe:
            cpu.set_vl(vcpu)

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        if vcpu.has_sve and self.nvhe and vcpu.fp_enabled:
            cpu.set_vl(vcpu)  # sve_cond_update_zcr_vq
        super().vcpu_put(cpu, task, vcpu)


class Linux517(Linux513):
    """KVM_RUN is a system call, so the host is taken to have no SVE state; EL2 gets a copy of F.

    The note on CPACR_EL1.ZEN is cleared at each load (d52d165d67c5, v5.19 and stable).
    """

    name = "linux-5.17"
    kernels = "Linux v5.17 and v5.18"
    source = "8383741ab2e7, af9a0e21d817, bee14bca735a (v5.17)"

    @kernel_function
    def kvm_arch_vcpu_load_fp(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        if task.tif_sve:
            cpu.warn()
        vcpu.fp_enabled = False
        vcpu.fp_host = True
        if self.sve:
            vcpu.host_sve_enabled = not cpu.user_sve_trap
