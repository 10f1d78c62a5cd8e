"""linux-6.16, linux-6.19 and linux-7.2: what KVM has done since v6.14, on the hosts of `host_flushed`.

From v6.16 on guests may be hypervisors themselves (KVM_CAP_ARM_EL2).
"""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.base import Policy
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_flushed import BufferedHost, StoredHost
from fpstate.policies.host_format import FormHost
from fpstate.policies.linux_6_14 import SaveAtLoad


class Linux616(StoredHost, SaveAtLoad):
    """A task's state is changed in its image alone; a barrier follows the trap writes at guest exit."""

    name = "linux-6.16"
    kernels = "Linux v6.16 to v6.18"
    source = "d3a181588df9, 929fa99b1215, 398edaa12f9c, 01098d893fa8, 257d0aa8e250 (v6.16)"
    supports = frozenset({"sve", "guest-sve", "sme", "fpmr", "aarch32", "nvhe", "barriers"})

    class Cpu(SaveAtLoad.Cpu, FormHost.Cpu):
        pass

    def guest_exit(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.isb()
        super().guest_exit(cpu, task, vcpu)
        if not self.nvhe:  # __deactivate_cptr_traps; traps are made anew on the way to user mode
            if self.sve:
                cpu.user_sve_trap = False
            if self.sme:
                cpu.user_sme_trap = False

    def nested_switch(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> Iterator[None]:
        self.vcpu_put(cpu, task, vcpu)
        yield  # preemption is off, softirqs are not
        self.vcpu_load(cpu, task, vcpu)


class Linux619(BufferedHost, Linux616):
    """Kernel NEON saves to a buffer that its user brings along (scoped_ksimd), one for each section."""

    name = "linux-6.19"
    kernels = "Linux v6.19 to v7.1"
    source = "arch/arm64/kernel/fpsimd.c, include/asm/simd.h of v6.19"


class Linux72(Linux619):
    """The same, but a vCPU keeps its registers while its guest hypervisor and that one's guest take turns."""

    name = "linux-7.2"
    kernels = "Linux v7.2 and v7.3"
    source = "arch/arm64/kvm/fpsimd.c (IN_NESTED_ERET, IN_NESTED_EXCEPTION) of v7.2, 7.2.13 and 7.3.4"

    def nested_switch(self, cpu: Linux616.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        """Do nothing: whoever's they are, the host's have been saved."""
