"""B11: a task's state is taken from a signal frame without its SVE record."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """What stops a task puts both forms into the frame."""

    name = "b11-fixed"
    supports = frozenset({"sve"})

    class Cpu(Policy.Cpu):
        user_sve_trap: bool = False

    class Task(Policy.Task):
        mm: bool = True
        made: bool = False

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save_sve(task)
        if next.mm:
            if not next.made:
                cpu.alloc_sve(next)
                cpu.widen(next)
                next.made = True
            cpu.set_vl(next)
            cpu.load_sve(next)

    def signal(self, cpu: Cpu, task: Task) -> None:
        cpu.save_sve(task)
        cpu.narrow(task)
        cpu.frame_sve(task)


class Faulty(Fixed):
    """The copy is of the FPSIMD form alone."""

    name = "b11-faulty"

    def signal(self, cpu: Fixed.Cpu, task: Fixed.Task) -> None:
        cpu.save_sve(task)
        cpu.narrow(task)


BUG = Bug(
    "B11", "state taken from a signal frame without its SVE record (gVisor)", "google/gvisor issue 10900", Faulty,
    Fixed, "integrity", 6, tasks=1, events=("user_sve", "interrupt", "signal"), features=("sve",),
)  # fmt: skip
