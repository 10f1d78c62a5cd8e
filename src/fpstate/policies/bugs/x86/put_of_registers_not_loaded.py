"""M-mpx: x86 KVM puts guest registers that were never loaded, to clear part of them at INIT."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.x86 import reloaded_by_notifier_only
from fpstate.policies.bugs.x86.owner_pointer_over_preemption import X86Host


class Faulty(reloaded_by_notifier_only.Fixed):
    """Put and load around the change assume that the guest is in the registers; outside KVM_RUN the task is."""

    name = "m-mpx-faulty"

    def vcpu_reset(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        if task.need_load:
            cpu.load(task)
        cpu.save(vcpu)  # kvm_put_guest_fpu
        cpu.load(task)
        cpu.edit(vcpu)
        cpu.save(task)  # kvm_load_guest_fpu
        cpu.load(vcpu)
        self.fpregs_activate(cpu, task)


class Fixed(reloaded_by_notifier_only.Fixed):
    """The caller loads the guest first and puts it last; in effect only the image changes."""

    name = "m-mpx-fixed"

    def vcpu_reset(self, cpu: X86Host.Cpu, task: X86Host.Task, vcpu: Policy.Vcpu) -> None:
        self.save_fpregs(cpu, task)
        task.need_load = True
        cpu.owner = None
        cpu.load(vcpu)
        cpu.save(vcpu)
        cpu.edit(vcpu)


BUG = Bug(
    "M-mpx", "put of guest registers that were not loaded", "f958bd2314d1", Faulty, Fixed, "confidentiality", 8,
    tasks=1, vcpus=1,
)  # fmt: skip
