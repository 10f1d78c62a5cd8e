"""A15: the SVE trap handler, preempted twice, leaves a copy in the registers that no longer fits the task."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class SveHost(DeferredHost):
    """FP stands for SVE here, and the user trap for the SVE trap: armed at bind unless the task uses SVE."""

    class Cpu(DeferredHost.Cpu):
        user_fp_trap: bool = True

    class Task(DeferredHost.Task):
        sve: bool = False  # TIF_SVE

    def fpsimd_save(self, cpu: Cpu, task: Task) -> None:
        if not task.foreign and task.sve:
            cpu.save(task)

    def fpsimd_bind_task_to_cpu(self, cpu: Cpu, task: Task) -> None:
        super().fpsimd_bind_task_to_cpu(cpu, task)
        cpu.user_fp_trap = not task.sve

    def sve_to_memory(self, task: Task) -> None:
        """Widen the image of a task that is not live."""

    def user_fp_trap(self, cpu: Cpu, task: Task) -> Iterator[None]:
        if task.sve:
            return  # WARN_ON(1): "SVE access shouldn't have trapped"
        yield
        task.sve = True
        if task.foreign:
            self.sve_to_memory(task)
        else:
            self.fpsimd_bind_task_to_cpu(cpu, task)


class Faulty(SveHost):
    """A task that is not live gets SVE in memory only; its CPU tag still vouches for the registers it left."""

    name = "a15-faulty"


class Fixed(SveHost):
    """The branch for a task that is not live also invalidates its CPU tag."""

    name = "a15-fixed"

    def sve_to_memory(self, task: SveHost.Task) -> None:
        self.fpsimd_flush_task_state(task)


BUG = Bug(
    "A15", "SVE trap handler preempted twice", "751ecf6afd65", Faulty, Fixed, "trap-sanity", 10, cpus=2, tasks=1,
    note="FP stands for SVE",
)  # fmt: skip
