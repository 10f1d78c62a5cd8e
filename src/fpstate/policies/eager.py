"""eager: the hypervisor swaps the whole register file on every guest entry and exit."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_deferred import DeferredHost


class Eager(DeferredHost):
    """Four transfers an exit. The host layer never learns that a guest ran."""

    name = "eager"
    kernels = "Linux v3.15 to v4.2"
    supports = frozenset({"aarch32", "nvhe", "barriers"})
    source = "arch/arm64/kvm/hyp.S before 33c76a0b8126 (v4.3)"

    def guest_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.stash_host()
        cpu.load(vcpu)
        if self.aarch32:
            cpu.load_part("fpexc", vcpu)

    def guest_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)
        if self.aarch32:
            cpu.save_part("fpexc", vcpu)
        cpu.load_stash()
