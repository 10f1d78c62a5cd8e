"""A6: the CPU's record is cleared, but the current task still counts as live."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Fixed(DeferredHost):
    """KVM cannot put the host's registers back after a guest (then: SVE's) and flushes; the flush marks current."""

    name = "a6-fixed"

    def kvm_fpsimd_flush_cpu_state(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        self.fpsimd_flush_cpu_state(cpu, task)

    def guest_enter(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_fp_trap = True

    def guest_fp_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_fp_trap = False
        self.fpsimd_save(cpu, task)
        cpu.load(vcpu)

    def guest_exit(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        if not cpu.guest_fp_trap:
            cpu.save(vcpu)
            self.kvm_fpsimd_flush_cpu_state(cpu, task)


class Faulty(Fixed):
    """KVM's flush clears the CPU's record and leaves the current task's foreign flag clear."""

    name = "a6-faulty"

    def kvm_fpsimd_flush_cpu_state(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.last_state = None


BUG = Bug(
    "A6", "CPU record cleared without marking current as foreign", "d8ad71fa38a9", Faulty, Fixed, "confidentiality", 14,
    vcpus=1, note="Recorded for the upper halves of SVE registers. On linux-4.15 itself nothing shows: the system call "
    "has dropped them already. Here all of FP is lost.",
)  # fmt: skip
