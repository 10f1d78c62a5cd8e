"""A5: a context switch in the middle of exec's flush puts the old registers back."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """The image is zeroed before the registers are disowned, and a preemption in between saves them over it."""

    name = "a5-faulty"

    def exec(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> Iterator[None]:
        cpu.overwrite(task)
        yield
        self.fpsimd_flush_task_state(task)


class Fixed(DeferredHost):
    """The whole flush is one section without preemption."""

    name = "a5-fixed"


BUG = Bug("A5", "preemption in exec puts the old registers back", "096622104e14", Faulty, Fixed, "confidentiality", 9)
