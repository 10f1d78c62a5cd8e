"""B26: registers are swapped only for vCPUs that are noted as FPU users."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import SwitchedHost


class Fixed(SwitchedHost):
    """Every entry and exit swaps."""

    name = "b26-fixed"

    class Vcpu(Policy.Vcpu):
        uses_fpu: bool = False

    def swaps(self, vcpu: Vcpu) -> bool:
        return True

    def guest_enter(self, cpu: Policy.Cpu, task: SwitchedHost.Task, vcpu: Vcpu) -> None:
        if self.swaps(vcpu):
            cpu.stash_host()
            cpu.load(vcpu)

    def guest_exit(self, cpu: Policy.Cpu, task: SwitchedHost.Task, vcpu: Vcpu) -> None:
        if self.swaps(vcpu):
            cpu.save(vcpu)
            cpu.load_stash()


class Faulty(Fixed):
    """Only a guest that was seen to use the FPU, and a use of SSE is not seen."""

    name = "b26-faulty"

    def swaps(self, vcpu: Fixed.Vcpu) -> bool:
        return vcpu.uses_fpu


BUG = Bug(
    "B26", "swap only for vCPUs noted as FPU users (HAXM)", "intel/haxm pull 85", Faulty, Fixed, "confidentiality", 10,
    tasks=1, vcpus=1, events=("kvm",),
)  # fmt: skip
