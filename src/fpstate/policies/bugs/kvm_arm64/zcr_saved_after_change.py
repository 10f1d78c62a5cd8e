"""M-zcr: saving a guest's registers changes its ZCR_EL1, which is saved only then."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.linux_4_18 import Linux418, Linux513


class Fixed(Linux513):
    """On nVHE the guest's ZCR_EL1 stays in the CPU from the trap to put, which saves it first."""

    name = "m-zcr-fixed"

    def activate_traps(self, cpu: DeferredHost.Cpu, vcpu: Linux418.Vcpu) -> None:
        cpu.guest_fp_trap = not vcpu.fp_enabled

    def leave_guest_length(self, cpu: DeferredHost.Cpu, vcpu: Linux418.Vcpu) -> None:
        pass

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        if vcpu.fp_enabled:
            cpu.save_part("zcr", vcpu)
        super().vcpu_put(cpu, task, vcpu)


class Faulty(Fixed):
    """The registers are saved first, at the longest length, which stands in ZCR_EL1 then."""

    name = "m-zcr-faulty"

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        owned = vcpu.fp_enabled
        Linux513.vcpu_put(self, cpu, task, vcpu)
        if owned:
            cpu.save_part("zcr", vcpu)


BUG = Bug(
    "M-zcr", "guest's ZCR_EL1 saved after it was changed", "b145a8437aab", Faulty, Fixed, "vector-length", 16, tasks=1,
    vcpus=1, events=("kvm", "guest_sve"), features=("guest-sve", "nvhe"),
    note="The commit came before SVE guests on nVHE did, so the faulty order was never in a release that had both.",
)  # fmt: skip
