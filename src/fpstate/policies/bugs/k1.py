"""K1: the host's SVE trap is put back for the wrong task."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.a15 import SveHost
from fpstate.policies.bugs.bug import Bug


class Fixed(SveHost):
    """KVM on VHE, where a guest's run ends with user SVE trapped: the setting found at load is put back at put."""

    name = "k1-fixed"

    class Vcpu(Policy.Vcpu):
        host_sve_enabled: bool = False  # KVM_ARM64_HOST_SVE_ENABLED

    def vcpu_load(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: Vcpu) -> None:
        vcpu.host_sve_enabled = not cpu.user_fp_trap

    def guest_enter(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = True

    def guest_fp_trap(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = False
        cpu.stash_host()
        cpu.load(vcpu)

    def guest_exit(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: Vcpu) -> None:
        if not cpu.guest_fp_trap:
            cpu.save(vcpu)
            cpu.load_stash()
        cpu.user_fp_trap = True  # CPACR_EL1_DEFAULT

    def vcpu_put(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: Vcpu) -> None:
        cpu.user_fp_trap = not vcpu.host_sve_enabled


class Faulty(Fixed):
    """The trap is put back only as the current task needs it, though the live registers may be another's."""

    name = "k1-faulty"

    def vcpu_put(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: Fixed.Vcpu) -> None:
        if not task.foreign:
            cpu.user_fp_trap = not task.sve


BUG = Bug(
    "K1", "host SVE trap put back for the wrong task", "b3eb56b629d1", Faulty, Fixed, "trap-sanity", 14, vcpus=1,
    note="FP stands for SVE",
)  # fmt: skip
