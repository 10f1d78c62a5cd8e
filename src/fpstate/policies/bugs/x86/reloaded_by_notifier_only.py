"""M-notifier: x86 KVM reloads guest registers in the preempt notifier only (v5.3)."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.x86.owner_pointer_over_preemption import X86Host


class Fixed(X86Host):
    """During KVM_RUN the registers are the guest's, and are tested again right before each guest entry."""

    name = "m-notifier-fixed"

    def save_fpregs(self, cpu: X86Host.Cpu, task: X86Host.Task) -> None:
        if not task.need_load:
            cpu.save(cpu.owner)

    def load_guest_fpu(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        if task.need_load:
            cpu.load(vcpu)
            cpu.owner = vcpu
            task.need_load = False

    def run_enter(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        self.save_fpregs(cpu, task)
        task.need_load = True

    def vcpu_load(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        self.load_guest_fpu(cpu, task, vcpu)

    def guest_enter(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        self.load_guest_fpu(cpu, task, vcpu)

    def vcpu_put(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        self.save_fpregs(cpu, task)
        task.need_load = True
        cpu.owner = None

    def vcpu_setreg(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)


class Faulty(Fixed):
    """Only sched-in reloads, but kernel code may take the registers between guest runs without a preemption."""

    name = "m-notifier-faulty"

    def guest_enter(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        pass


BUG = Bug(
    "M-notifier", "x86 guest registers reloaded by the notifier only", "2620fe268e80", Faulty, Fixed, "confidentiality",
    8, tasks=1, vcpus=1,
)  # fmt: skip
