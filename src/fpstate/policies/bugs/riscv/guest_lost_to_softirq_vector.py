"""R7: a softirq that uses vector between two guest runs destroys the guest's registers."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.riscv_kvm import RiscvKvm, RiscvKvm68


class Faulty(RiscvKvm68):
    """The host's rules for kernel-mode vector look at user mode's state only, and KVM_RUN has none that is dirty."""

    name = "r7-faulty"


class Fixed(RiscvKvm):
    """A loaded guest is noted; kernel code saves it, and the next entry loads it again."""

    name = "r7-fixed"


BUG = Bug(
    "R7", "softirq that uses vector destroys a loaded guest's registers", "b5060a4aa33d", Faulty, Fixed,
    "confidentiality", 9, tasks=1, vcpus=1,
)  # fmt: skip
