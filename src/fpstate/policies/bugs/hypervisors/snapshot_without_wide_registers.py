"""B35: a snapshot has the core registers, and a restored guest its old wide ones."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.linux_6_14 import Linux614


class Fixed(Linux614):
    """A restore writes all that the guest has."""

    name = "b35-fixed"


class Faulty(Linux614):
    """Reading the core FP registers of a vCPU with SVE fails, and the wide ones are not asked for."""

    name = "b35-faulty"

    def vcpu_setreg(self, cpu: Linux614.Cpu, task: Linux614.Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)


BUG = Bug(
    "B35", "snapshot without SVE (Cloud Hypervisor)", "cloud-hypervisor pull 8268", Faulty, Fixed, "integrity", 9,
    tasks=1, vcpus=1, events=("kvm", "guest_sve", "vcpu_setreg"), features=("guest-sve",),
    note="What userspace does with a snapshot is a write to all registers of the vCPU here.",
)  # fmt: skip
