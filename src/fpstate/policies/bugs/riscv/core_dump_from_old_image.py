"""R2: a core dump shows old FP values of the thread that dumps."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.riscv_kvm import RiscvHost


class Faulty(RiscvHost):
    """The image is read for the current thread as for any other, without a save first."""

    name = "r2-faulty"

    def signal(self, cpu: Policy.Cpu, task: RiscvHost.Task) -> None:
        pass


class Fixed(RiscvHost):
    """If the thread is the current one, its registers are saved first."""

    name = "r2-fixed"


BUG = Bug(
    "R2", "core dump shows old FP values of the current task", "379eb01c2179", Faulty, Fixed, "integrity", 5, tasks=1,
    note="The reader of the image is a signal frame here; this world has no core dumps.",
)  # fmt: skip
