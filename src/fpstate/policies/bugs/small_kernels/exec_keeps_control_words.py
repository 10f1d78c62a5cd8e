"""B30: exec keeps the control words of the program before."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import SwitchedHost


class Faulty(SwitchedHost):
    """exec resets the registers alone. FPMR stands for the control words, which a switch saves and loads."""

    name = "b30-faulty"
    supports = frozenset({"fpmr"})

    def thread_switch(self, cpu: Policy.Cpu, task: SwitchedHost.Task, next: SwitchedHost.Task) -> None:
        super().thread_switch(cpu, task, next)
        if task.mm:
            cpu.save_part("fpmr", task)
        if next.mm:
            cpu.load_part("fpmr", next)

    def exec(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)


class Fixed(Faulty):
    """The control words as well."""

    name = "b30-fixed"

    def exec(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        super().exec(cpu, task)
        cpu.overwrite_part("fpmr", task)
        cpu.load_part("fpmr", task)


BUG = Bug(
    "B30", "exec keeps control words (StarryOS)", "rcore-os/tgoskits 3a61e6a405", Faulty, Fixed, "confidentiality", 7,
    tasks=1, events=("exec",), features=("fpmr",),
)  # fmt: skip
