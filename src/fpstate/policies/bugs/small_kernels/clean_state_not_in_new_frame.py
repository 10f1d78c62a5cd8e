"""B17: a clean state is restored from a frame in which nothing was saved."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """The save area is in the thread's control block, so what was clean is still there."""

    name = "b17-fixed"
    supports = frozenset({"dirty-bit"})

    class Task(Policy.Task):
        mm: bool = True

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if next.mm:
            cpu.load(next)
            cpu.dirty = False

    def syscall(self, cpu: Policy.Cpu, task: Task) -> None:
        if cpu.dirty:
            cpu.save(task)
            cpu.dirty = False

    def ret_to_user(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.load(task)


class Faulty(Fixed):
    """Each exception has a frame of its own on the stack."""

    name = "b17-faulty"

    def syscall(self, cpu: Policy.Cpu, task: Fixed.Task) -> None:
        cpu.new_place(task)
        super().syscall(cpu, task)


BUG = Bug(
    "B17", "clean state restored from a frame in which nothing was saved (NuttX)", "apache/nuttx 9577, 16266", Faulty,
    Fixed, "integrity", 9, tasks=1, events=("base",), features=("dirty-bit",),
)  # fmt: skip
