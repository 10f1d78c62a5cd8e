"""P6: the first use of one register class reloads another from a stale image."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """The unavailable handler loads everything from memory, FP too, which is newer in the registers."""

    name = "p6-faulty"

    def do_sve_acc(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.alloc_sve(task)
        self.fpsimd_flush_task_state(task)
        cpu.widen(task)
        task.tif_sve = True


class Fixed(DeferredHost):
    """What is live is not taken from memory."""

    name = "p6-fixed"


BUG = Bug(
    "P6", "unavailable trap reloads stale parts", "3ac8ff1c475b", Faulty, Fixed, "integrity", 6, tasks=1,
    events=("user_sve", "interrupt"), features=("sve",),
    note="SVE stands for VMX. The transaction in which the trap came is not modelled; the reload of too much is.",
)  # fmt: skip
