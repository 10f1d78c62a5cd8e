"""A8: sigreturn does not copy the frame into the task's image when SVE is not in use."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """The copy of the frame stands under a test meant for SVE only, and the old image is loaded."""

    name = "a8-faulty"

    def sigreturn(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        if task.tif_sve:  # fpsimd_update_current_state
            cpu.overwrite(task)
            task.tif_sve = False
        self.task_fpsimd_load(cpu, task)
        self.fpsimd_bind_task_to_cpu(cpu, task)


class Fixed(DeferredHost):
    """The frame is copied whether SVE is in use or not."""

    name = "a8-fixed"


BUG = Bug(
    "A8", "sigreturn does not copy the frame", "9de52a755cfb", Faulty, Fixed, "integrity", 11, tasks=1,
    events=("signals", "user_sve"), features=("sve",),
)  # fmt: skip
