"""K2: a vCPU's registers are saved as if they were the SVE state of the task that runs it."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.linux_4_18 import Linux418


class Host(Linux418):
    """Whether to save SVE is read from the current task, and SVE is saved to it; the rest goes where the CPU says."""

    class Task(Linux418.Task):
        sve: bool = True  # TIF_SVE; every task uses SVE here

    class Vcpu(Linux418.Vcpu):
        host_sve_in_use: bool = False

    def fpsimd_save(self, cpu: Linux418.Cpu, task: Task) -> None:
        if not task.foreign:
            cpu.save(task if task.sve else cpu.last_state)

    def vcpu_load(self, cpu: Linux418.Cpu, task: Task, vcpu: Vcpu) -> None:
        vcpu.host_sve_in_use = task.sve
        super().vcpu_load(cpu, task, vcpu)

    def guest_exit(self, cpu: Linux418.Cpu, task: Task, vcpu: Vcpu) -> None:
        super().guest_exit(cpu, task, vcpu)
        if vcpu.fp_enabled:
            task.sve = False


class Faulty(Host):
    """Put gives the task its SVE flag back first and then saves the guest's registers by that flag."""

    name = "k2-faulty"

    def vcpu_put(self, cpu: Linux418.Cpu, task: Host.Task, vcpu: Host.Vcpu) -> None:
        task.sve = vcpu.host_sve_in_use
        super().vcpu_put(cpu, task, vcpu)


class Fixed(Host):
    """Put saves first."""

    name = "k2-fixed"

    def vcpu_put(self, cpu: Linux418.Cpu, task: Host.Task, vcpu: Host.Vcpu) -> None:
        super().vcpu_put(cpu, task, vcpu)
        task.sve = vcpu.host_sve_in_use


BUG = Bug(
    "K2", "vCPU registers saved as the VMM's SVE state", "2955bcc8c309", Faulty, Fixed, "confidentiality", 11, tasks=1,
    vcpus=1,
)  # fmt: skip
