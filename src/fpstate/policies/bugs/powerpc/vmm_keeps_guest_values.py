"""P4: after KVM_RUN the VMM goes on with the guest's FP registers."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.powerpc import PowerPc, PowerPcHv


class Faulty(PowerPcHv):
    """The thread's registers are saved on the way into KVM_RUN, but still count as valid."""

    name = "p4-faulty"

    def run_enter(self, cpu: PowerPc.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        if cpu.live is task:
            self.save_fpu(cpu, task)


class Fixed(PowerPcHv):
    """Saving also clears the valid bits."""

    name = "p4-fixed"


BUG = Bug(
    "P4", "VMM keeps guest FP values after KVM_RUN", "dc158d23b33d", Faulty, Fixed, "confidentiality", 14,
    tasks=1, vcpus=1,
)  # fmt: skip
