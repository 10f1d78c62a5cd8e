"""mark-foreign: on the way in only note that host state may be live; save it when the guest overwrites it."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_deferred import BindableHost, DeferredHost


class MarkForeign(BindableHost):
    """Dave Martin's first suggestion, read lazily: a guest that never uses FP costs nothing at all."""

    name = "mark-foreign"
    source = "review of [PATCH v3 09/41], Dave Martin, 22 January 2018 (lazy reading); v4.18 took it up"
    gives_up = ("transient exposure", "timing")

    supports = frozenset({"sve", "aarch32", "nvhe", "barriers"})

    class Vcpu(Policy.Vcpu):
        loaded: bool = False
        host_live: bool = False

    def guest_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if task.foreign:
            vcpu.loaded = False
        vcpu.host_live = not task.foreign and not vcpu.loaded
        cpu.guest_fp_trap = not vcpu.loaded
        if self.aarch32 and cpu.guest_fp_trap:
            cpu.force_fpexc()

    def guest_fp_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        self.lift_guest_traps(cpu, vcpu)
        if vcpu.host_live:
            cpu.save(task)
            vcpu.host_live = False
        self.load_guest(cpu, vcpu)
        vcpu.loaded = True

    def guest_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if not self.nvhe:
            cpu.user_sve_trap = True
        if vcpu.loaded:
            if self.aarch32:
                cpu.save_part("fpexc", vcpu)
            self.fpsimd_bind_state_to_cpu(cpu, vcpu)
            task.foreign = False

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if vcpu.loaded:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
            vcpu.loaded = False
