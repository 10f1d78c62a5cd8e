"""A4: the registers of a dead task are given to the task that gets its memory."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """The child keeps the CPU tag copied from its parent, so an address in the CPU's record is taken for identity."""

    name = "a4-faulty"

    def fork(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, child: DeferredHost.Task) -> None:
        self.fpsimd_save(cpu, task)


class Fixed(DeferredHost):
    """Fork makes the child's tag invalid, so that no CPU's record can match."""

    name = "a4-fixed"


BUG = Bug(
    "A4", "registers of a dead task given to a recycled one", "071b6d4a5d34", Faulty, Fixed, "confidentiality", 12,
    note="the child takes the record of the dead task, whose values then count as its own old ones",
)  # fmt: skip
