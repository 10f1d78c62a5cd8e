"""S4: the owner of the FPU is a deleted vCPU."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost
from fpstate.policies.sel4_lazy import SeL4Lazy


class Fixed(SeL4Lazy):
    """The FPU is given away when a vCPU is cleared. Guests share the lazy scheme with threads."""

    name = "s4-fixed"

    def guest_enter(self, cpu: LazyHost.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_fp_trap = cpu.owner is not vcpu

    def guest_fp_trap(self, cpu: LazyHost.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_fp_trap = False
        self.switch_owner(cpu, vcpu)

    def vcpu_free(self, cpu: LazyHost.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        if cpu.owner is vcpu:
            self.switch_owner(cpu, None)


class Faulty(Fixed):
    """Only FPU faults change the owner; deletion of the vCPU does not."""

    name = "s4-faulty"

    def vcpu_free(self, cpu: LazyHost.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        pass


BUG = Bug(
    "S4", "owner pointer into a deleted vCPU", "e00f2e2148ae", Faulty, Fixed, "memory-safety", 11, tasks=1, vcpus=1,
    events=("kvm", "vcpu_free"),
    note="seL4 has no fork, exec, signals or kernel-mode FP.",
)  # fmt: skip
