"""linux-4.15: the swap at each exit, on a host whose tasks may use SVE."""

from __future__ import annotations

from fpstate.policies.base import Policy, when
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.trap_per_entry import TrapPerEntry


class Linux415(TrapPerEntry):
    """Swapping 128-bit registers destroys what is above: a CPU whose record names SVE state forgets it.

    Who is current is not marked foreign: its V comes back by the swap, and its system call has discarded the rest.
    """

    name = "linux-4.15"
    kernels = "Linux v4.15 to v4.17"
    source = "17eed27b02da (kvm_fpsimd_flush_cpu_state, v4.15)"
    supports = frozenset({"sve", "aarch32", "nvhe", "barriers"})

    class Cpu(DeferredHost.Cpu):
        sve_in_use: bool = when("sve", False)  # fpsimd_last_state.sve_in_use

    def fpsimd_bind_task_to_cpu(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        super().fpsimd_bind_task_to_cpu(cpu, task)
        if self.sve:
            cpu.sve_in_use = task.tif_sve

    def guest_enter(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        if cpu.sve_in_use:  # kvm_fpsimd_flush_cpu_state
            cpu.last_state = None
        super().guest_enter(cpu, task, vcpu)

    def guest_exit(self, cpu: Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        super().guest_exit(cpu, task, vcpu)
        if not self.nvhe:
            cpu.user_sve_trap = True  # CPACR_EL1_DEFAULT
