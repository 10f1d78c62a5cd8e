"""M-flush: flushing a task's state does not mark it foreign."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """The flush makes the CPU tag invalid, but a task that is running now goes on using its registers."""

    name = "m-flush-faulty"

    def fpsimd_flush_task_state(self, task: DeferredHost.Task) -> None:
        task.fpsimd_cpu = None


class Fixed(DeferredHost):
    """The flush also sets the foreign flag."""

    name = "m-flush-fixed"


BUG = Bug(
    "M-flush", "flush of a task's state leaves it live", "efbc20249fee", Faulty, Fixed, "confidentiality", 6, tasks=1,
    note="a mutant: before that commit each caller set the flag itself",
)  # fmt: skip
