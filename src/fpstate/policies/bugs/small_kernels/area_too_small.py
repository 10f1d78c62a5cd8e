"""B36: the area for a task's registers is allocated with too small a size."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import WideSwitchedHost


class Fixed(WideSwitchedHost):
    """The size is that of what is written. A task that has not run yet begins with zeros, which no area is read for."""

    name = "b36-fixed"

    class Task(WideSwitchedHost.Task):
        saved: bool = False

    def thread_switch(self, cpu: WideSwitchedHost.Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save_sve(task)
            task.saved = True
        if next.mm:
            self.make_area(cpu, next)
            cpu.set_vl(next)
            if next.saved:
                cpu.load_sve(next)
            else:
                cpu.clear(next)
                cpu.zero_sve()


class Faulty(Fixed):
    """The compacted size has no room for the wide registers, and the standard format is written."""

    name = "b36-faulty"

    def make_area(self, cpu: WideSwitchedHost.Cpu, next: Fixed.Task) -> None:
        pass


BUG = Bug(
    "B36", "XSAVE area allocated with the compacted size (Asterinas)", "asterinas/asterinas issue 3920", Faulty, Fixed,
    "memory-safety", 5, tasks=1, events=("user_sve", "interrupt"), features=("sve",),
    note="Room for the wide registers is storage of its own here.",
)  # fmt: skip
