"""trap-per-entry: swap at the guest's first FP use after each entry, swap back at the exit."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_deferred import DeferredHost


class TrapPerEntry(DeferredHost):
    """The armed trap is the only state: still armed at exit means nothing to swap back."""

    name = "trap-per-entry"
    kernels = "Linux v4.3 to v4.17"
    source = "33c76a0b8126 (v4.3), c13d1683df16 (in C); until e6b673b741ea (v4.18)"
    gives_up = ("transient exposure",)
    supports = frozenset({"aarch32", "nvhe", "barriers"})

    def guest_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        if self.aarch32:
            cpu.force_fpexc()
        cpu.guest_fp_trap = True

    def guest_fp_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_fp_trap = False
        cpu.isb()
        cpu.stash_host()  # even when the registers are nobody's
        cpu.load(vcpu)
        if self.aarch32:
            cpu.load_part("fpexc", vcpu)

    def guest_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        if not cpu.guest_fp_trap:
            if self.aarch32:
                cpu.save_part("fpexc", vcpu)
            cpu.save(vcpu)
            cpu.load_stash()
