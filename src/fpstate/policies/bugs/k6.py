"""K6: a task leaves KVM_RUN with SVE enabled and its SVE flag clear (CVE-2025-22013)."""

from __future__ import annotations

from fpstate.policies.bugs import k1
from fpstate.policies.bugs.a15 import SveHost
from fpstate.policies.bugs.bug import Bug


class Faulty(k1.Fixed):
    """Load clears the task's SVE flag but not the enable bit, which put then restores: what SVE writes is not saved."""

    name = "k6-faulty"

    def vcpu_load(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: k1.Fixed.Vcpu) -> None:
        self.fpsimd_save(cpu, task)  # fpsimd_kvm_prepare drops this, as system calls may; here it is kept
        task.sve = False
        super().vcpu_load(cpu, task, vcpu)


class Fixed(k1.Fixed):
    """Load saves and flushes all host state, so that the way to user mode sets up flag and trap together."""

    name = "k6-fixed"

    def vcpu_load(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: k1.Fixed.Vcpu) -> None:
        self.fpsimd_save_and_flush_cpu_state(cpu, task)

    def vcpu_put(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: k1.Fixed.Vcpu) -> None:
        pass


BUG = Bug(
    "K6", "host SVE lost: flag and trap disagree", "fbc7e61195e2", Faulty, Fixed, "integrity", 20, vcpus=1,
    note="FP stands for SVE",
)  # fmt: skip
