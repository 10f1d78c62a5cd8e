"""K2: a vCPU's registers are saved as if they were the SVE state of the task that runs it."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.linux_4_18 import Linux418


class Faulty(Linux418):
    """Put gives the task its SVE flag back first and then saves the guest's registers by that flag."""

    name = "k2-faulty"

    def kvm_arch_vcpu_put_fp(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        task.tif_sve = vcpu.host_sve_in_use
        super().kvm_arch_vcpu_put_fp(cpu, task, vcpu)


class Fixed(Linux418):
    """Put saves first."""

    name = "k2-fixed"


BUG = Bug(
    "K2", "vCPU registers saved as the VMM's SVE state", "2955bcc8c309", Faulty, Fixed, "memory-safety", 11, vcpus=1,
    events=("kvm", "user_sve", "ptrace_sve"), features=("sve",),
    note="A system call drops the SVE flag, so a debugger has to set it again inside KVM_RUN's. The save goes to the "
    "SVE storage of the vCPU, which has none; the kernel's went to that of the task.",
)  # fmt: skip
