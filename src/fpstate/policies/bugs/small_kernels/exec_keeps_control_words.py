"""B30: exec keeps the control words of the program before."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """exec resets registers and control words. FPMR stands for the control words."""

    name = "b30-fixed"
    supports = frozenset({"fpmr"})

    class Task(Policy.Task):
        mm: bool = True

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save(task)
            cpu.save_part("fpmr", task)
        if next.mm:
            cpu.load(next)
            cpu.load_part("fpmr", next)

    def exec(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)
        cpu.overwrite_part("fpmr", task)
        cpu.load_part("fpmr", task)


class Faulty(Fixed):
    """Only the registers are."""

    name = "b30-faulty"

    def exec(self, cpu: Policy.Cpu, task: Fixed.Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)


BUG = Bug(
    "B30", "exec keeps control words (StarryOS)", "rcore-os/tgoskits 3a61e6a405", Faulty, Fixed, "confidentiality", 7,
    tasks=1, events=("exec",), features=("fpmr",),
)  # fmt: skip
