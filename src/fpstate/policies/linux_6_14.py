"""linux-6.14 and the stable series that took it over: host state is saved and marked foreign when a vCPU is loaded."""

from __future__ import annotations

from enum import Enum

from fpstate.policies.base import Policy, kernel_function, when
from fpstate.policies.host_deferred import BindableHost, DeferredHost, InPlaceHost
from fpstate.policies.host_flushed import FlushedHost
from fpstate.policies.host_format import FormatHost, FormHost, Saves
from fpstate.policies.host_preemptible import PreemptibleHost


class Owner(Enum):
    """Whose state the hypervisor put into the CPU's registers."""

    FREE = 0
    GUEST_OWNED = 1


class SaveAtLoad(BindableHost):
    """The KVM half: host state is never left to the hypervisor to save; lengths are switched at entry and exit."""

    gives_up = ("transient exposure",)

    class Cpu(DeferredHost.Cpu):
        fp_owner: Owner = Owner.FREE

    def vcpu_load(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        self.kvm_arch_vcpu_load_fp(cpu, task)

    @kernel_function
    def kvm_arch_vcpu_load_fp(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        self.fpsimd_save_and_flush_cpu_state(cpu, task)
        cpu.fp_owner = Owner.FREE

    def guest_enter(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        if task.foreign:  # kvm_arch_vcpu_ctxflush_fp
            cpu.fp_owner = Owner.FREE
        self.arm_guest_traps(cpu, vcpu, cpu.fp_owner is Owner.GUEST_OWNED)

    def guest_fp_trap(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        self.lift_guest_traps(cpu, vcpu)  # kvm_hyp_handle_fpsimd
        self.load_guest(cpu, vcpu)
        cpu.fp_owner = Owner.GUEST_OWNED

    def guest_exit(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        if not self.nvhe:
            cpu.user_sve_trap = cpu.user_sme_trap = True  # made anew on the way to user mode
        if cpu.fp_owner is Owner.GUEST_OWNED:
            self.leave_live_guest(cpu, vcpu)
            self.fpsimd_bind_state_to_cpu(cpu, vcpu)  # kvm_arch_vcpu_ctxsync_fp
            task.foreign = False

    def vcpu_put(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        self.kvm_arch_vcpu_put_fp(cpu, task)

    @kernel_function
    def kvm_arch_vcpu_put_fp(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        if cpu.fp_owner is Owner.GUEST_OWNED:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)


class Linux614(PreemptibleHost, SaveAtLoad):
    """Host state is never left to the hypervisor to save. The stable kernels of 5.15 to 6.13 took it over."""

    name = "linux-6.14"
    kernels = "Linux v6.14 and v6.15"
    source = 'fbc7e61195e2 "KVM: arm64: Unconditionally save+flush host FPSIMD/SVE/SME state" (v6.14)'
    supports = frozenset({"sve", "guest-sve", "sme", "fpmr", "aarch32", "nvhe", "barriers"})

    class Cpu(SaveAtLoad.Cpu, FormatHost.Cpu):
        pass


class Linux612y(FlushedHost, SaveAtLoad):
    """The same on a host that clears its record before it loads a section.

    They have no SME: ARM64_SME depends on BROKEN there.
    """

    name = "linux-6.12.y"
    kernels = "Linux 6.12.34 and later"
    source = "fbc7e61195e2 as of stable 6.12.21, with 01098d893fa8 and 398edaa12f9c as of 6.12.34"
    supports = frozenset({"sve", "guest-sve", "fpmr", "aarch32", "nvhe", "barriers"})

    class Cpu(SaveAtLoad.Cpu, FormHost.Cpu):
        pass


class Linux66y(FormatHost, SaveAtLoad):
    """The same on the host layer of v6.2, where kernel NEON is not preempted."""

    name = "linux-6.6.y"
    kernels = "Linux 6.6.85 and later"
    source = "fbc7e61195e2 as of stable 6.6.85"
    supports = frozenset({"sve", "guest-sve", "sme", "aarch32", "nvhe", "barriers"})

    class Cpu(SaveAtLoad.Cpu, FormatHost.Cpu):
        pass


class Linux61y(SaveAtLoad, InPlaceHost):
    """The same on the host layer of v6.1, where system calls drop SVE; storage is there again after a new length."""

    name = "linux-6.1.y"
    kernels = "Linux 6.1.131 and later"
    source = "fbc7e61195e2 as of stable 6.1.131, with deeb8f9a80fd and 62021cc36add"
    supports = frozenset({"sve", "guest-sve", "aarch32", "nvhe", "barriers"})

    class Cpu(SaveAtLoad.Cpu):
        to_save: Saves = when("sve", Saves.CURRENT)

    @kernel_function
    def fpsimd_save(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        if not task.foreign:
            if task.tif_sve if cpu.to_save is Saves.CURRENT else cpu.to_save is Saves.SVE:
                cpu.save_sve(cpu.last_state)
            else:
                cpu.save(cpu.last_state)

    def fpsimd_bind_task_to_cpu(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        super().fpsimd_bind_task_to_cpu(cpu, task)
        if self.sve:
            cpu.to_save = Saves.CURRENT

    @kernel_function
    def fpsimd_bind_state_to_cpu(self, cpu: Cpu, vcpu: Policy.Vcpu) -> None:
        cpu.last_state = vcpu
        if self.sve:
            cpu.to_save = Saves.SVE if vcpu.has_sve else Saves.FPSIMD

    def vl_change(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        super().vl_change(cpu, task)
        cpu.alloc_sve(task)
