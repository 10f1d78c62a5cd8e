"""Hafnium's secure partitions beside Linux: ZA stays live while they run, since none of them can reach it."""

from __future__ import annotations

from fpstate.policies.base import Policy, when
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import FormatHost


class Hafnium(FormatHost):
    """Guests are the partitions: a call to one saves V and Z of the normal world, and leaves ZA enabled behind a trap.

    The normal world is Linux of v6.2 and never learns of a call. What is saved goes to a context of the CPU, Z
    too, since Linux hints no longer that it may be lost (bug A17). FPMR is not in it.
    """

    name = "hafnium"
    kernels = "Hafnium, as a secure partition manager"
    source = "hafnium: src/arch/aarch64/hypervisor/simd.c (plat_save_ns_simd_context), 2024"
    supports = frozenset({"sve", "sme", "barriers"})

    class Cpu(FormatHost.Cpu):
        ns_sm: bool = when("sme", False)  # ns_simd_ctx.svcr

    def guest_enter(self, cpu: Cpu, task: FormatHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.stash_host()
        if self.sve:
            cpu.stash_part("z")
        if self.sme:
            cpu.ns_sm = cpu.sm
            cpu.set_svcr(False, cpu.za)
        cpu.load(vcpu)

    def guest_exit(self, cpu: Cpu, task: FormatHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)
        if self.sme:
            cpu.set_svcr(cpu.ns_sm, cpu.za)
        cpu.load_stash()
        if self.sve:
            cpu.load_stash_part("z")

    def vcpu_setreg(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)
