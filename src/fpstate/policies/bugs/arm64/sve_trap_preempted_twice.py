"""A15: the SVE trap handler, preempted twice, leaves a copy in the registers that no longer fits the task."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost, InPlaceHost


class Fixed(InPlaceHost):
    """The handler may be preempted before it takes the registers; what it widens in memory no CPU vouches for."""

    name = "a15-fixed"

    def sve_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> Iterator[None]:
        yield
        self.do_sve_acc(cpu, task)


class Faulty(Fixed):
    """A task that is not live gets SVE in memory only; its CPU tag still vouches for the registers it left."""

    name = "a15-faulty"

    def do_sve_acc(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.alloc_sve(task)
        if task.tif_sve:
            cpu.warn()
        task.tif_sve = True
        if task.foreign:
            cpu.widen(task)
        else:
            cpu.zero_sve()
            self.fpsimd_bind_task_to_cpu(cpu, task)


BUG = Bug(
    "A15", "SVE trap handler preempted twice", "751ecf6afd65", Faulty, Fixed, "vector-length", 10, cpus=2, tasks=1,
    events=("user_sve", "interrupt"), features=("sve",),
    note="Found first: a save of the stale registers as SVE, at whatever length. Returning to user mode instead, the "
    "task traps again with SVE enabled.",
)  # fmt: skip
