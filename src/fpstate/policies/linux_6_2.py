"""linux-6.2, linux-6.8: what holds a CPU's registers is one of three; the host's SVE state is dropped at load."""

from __future__ import annotations

from enum import Enum

from fpstate.policies.base import Policy, kernel_function, when
from fpstate.policies.host_format import Form, FormatHost
from fpstate.policies.host_preemptible import PreemptibleHost


class FpState(Enum):
    """`fp_state` of a vCPU: whose the registers are while it is loaded."""

    FREE = 0
    HOST_OWNED = 1
    GUEST_OWNED = 2


class Linux62(FormatHost):
    """With f8077b0d5923 (v5.19): FREE, HOST_OWNED, GUEST_OWNED; 93ae6b01bafe: fpsimd_kvm_prepare.

    In load, TIF_SVE is cleared while CPACR_EL1.ZEN stays as it was: what CVE-2025-22013 is about.
    """

    name = "linux-6.2"
    kernels = "Linux v6.2 to v6.7"
    source = "f8077b0d5923 (v5.19), 93ae6b01bafe (v6.2)"
    gives_up = ("transient exposure", "timing")
    supports = frozenset({"sve", "guest-sve", "sme", "aarch32", "nvhe", "barriers"})

    class Vcpu(Policy.Vcpu):
        fp_state: FpState = FpState.FREE
        host_sve_enabled: bool = when("sve", False)
        host_sme_enabled: bool = when("sme", False)

    def vcpu_load(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.kvm_arch_vcpu_load_fp(cpu, task, vcpu)

    @kernel_function
    def kvm_arch_vcpu_load_fp(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if task.tif_sve:  # fpsimd_kvm_prepare
            task.tif_sve = False
            self.sve_sync_to_fpsimd(cpu, task)
            task.fp_type = Form.FPSIMD
        vcpu.fp_state = FpState.HOST_OWNED
        if self.sve:
            vcpu.host_sve_enabled = not cpu.user_sve_trap
        if self.sme:
            vcpu.host_sme_enabled = not cpu.user_sme_trap
            if cpu.sm or cpu.za:  # legal FP use by the guest would trap inside the guest
                vcpu.fp_state = FpState.FREE
                self.fpsimd_save_and_flush_cpu_state(cpu, task)

    def guest_enter(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if task.foreign:  # kvm_arch_vcpu_ctxflush_fp
            vcpu.fp_state = FpState.FREE
        self.arm_guest_traps(cpu, vcpu, vcpu.fp_state is FpState.GUEST_OWNED)

    def guest_fp_trap(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.lift_guest_traps(cpu, vcpu)  # kvm_hyp_handle_fpsimd
        if vcpu.fp_state is FpState.HOST_OWNED:
            cpu.save(task)
        self.load_guest(cpu, vcpu)
        vcpu.fp_state = FpState.GUEST_OWNED

    def guest_exit(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        owned = vcpu.fp_state is FpState.GUEST_OWNED
        if owned and vcpu.has_sve:
            cpu.save_part("zcr", vcpu)
            if not self.nvhe:
                cpu.set_vl(vcpu)
        if owned and self.aarch32:
            cpu.save_part("fpexc", vcpu)
        if not self.nvhe:
            cpu.user_sve_trap = cpu.user_sme_trap = True
        if owned:  # kvm_arch_vcpu_ctxsync_fp
            self.fpsimd_bind_state_to_cpu(cpu, vcpu)
            task.foreign = False

    def vcpu_put(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.kvm_arch_vcpu_put_fp(cpu, task, vcpu)

    @kernel_function
    def kvm_arch_vcpu_put_fp(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if self.sme:
            cpu.user_sme_trap = not vcpu.host_sme_enabled
            cpu.isb()
        if vcpu.fp_state is FpState.GUEST_OWNED:
            if vcpu.has_sve and self.nvhe:
                cpu.set_vl(vcpu)
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        elif self.sve:
            cpu.user_sve_trap = not vcpu.host_sve_enabled


class Linux68(PreemptibleHost, Linux62):
    """The same with preemptible kernel-mode NEON."""

    name = "linux-6.8"
    kernels = "Linux v6.8 to v6.13"
    source = "aefbab8e77eb (v6.8) under the KVM of v6.2"
