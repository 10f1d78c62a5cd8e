"""defer-to-put: guest registers stay live from the first trap until vcpu_put, and the host layer is not told."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_deferred import DeferredHost


class DeferToPut(DeferredHost):
    """Patch v3 09/41 "KVM: arm64: Defer restoring host VFP state to vcpu_put" as posted.

    Between guest runs the host executes with interrupts on, the guest's values in the registers, and the host's own
    books saying that they are current's. Kernel NEON then saves them over the task's image.
    """

    name = "defer-to-put"
    source = "Christoffer Dall, [PATCH v3 09/41], 12 January 2018"
    gives_up = ("transient exposure",)

    supports = frozenset({"aarch32", "nvhe", "barriers"})

    class Vcpu(Policy.Vcpu):
        guest_vfp_loaded: bool = False

    def guest_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = not vcpu.guest_vfp_loaded
        if self.aarch32 and cpu.guest_fp_trap:
            cpu.force_fpexc()

    def guest_fp_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = False
        cpu.isb()
        cpu.stash_host()
        cpu.load(vcpu)
        if self.aarch32:
            cpu.load_part("fpexc", vcpu)
        vcpu.guest_vfp_loaded = True

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        if vcpu.guest_vfp_loaded:
            if self.aarch32:
                cpu.save_part("fpexc", vcpu)  # __fpsimd32_save_state, by a hypercall where the host runs at EL1
            cpu.save(vcpu)
            cpu.load_stash()
            vcpu.guest_vfp_loaded = False
