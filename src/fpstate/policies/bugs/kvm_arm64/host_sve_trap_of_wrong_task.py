"""K1: the host's SVE trap is put back for the wrong task."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.linux_4_18 import Linux418


class Faulty(Linux418):
    """The trap is put back only as the current task needs it, though the live registers may be another's."""

    name = "k1-faulty"

    def kvm_arch_vcpu_put_fp(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        if vcpu.fp_enabled:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        task.tif_sve = vcpu.host_sve_in_use
        if not task.foreign:
            cpu.user_sve_trap = not task.tif_sve


class Fixed(Linux418):
    """The setting found at load is put back."""

    name = "k1-fixed"


BUG = Bug(
    "K1", "host SVE trap put back for the wrong task", "b3eb56b629d1", Faulty, Fixed, "trap-sanity", 14, vcpus=1,
    events=("kvm", "user_sve", "interrupt"), features=("sve",),
)  # fmt: skip
