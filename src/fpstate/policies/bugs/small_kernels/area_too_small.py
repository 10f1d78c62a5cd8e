"""B36: the area for a task's registers is allocated with too small a size."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.hypervisors.frame_without_wide_registers import Fixed as Wide


class Fixed(Wide):
    """The size is that of what is written."""

    name = "b36-fixed"


class Faulty(Wide):
    """The compacted size has no room for the wide registers, and the standard format is written."""

    name = "b36-faulty"

    def thread_switch(self, cpu: Wide.Cpu, task: Wide.Task, next: Wide.Task) -> None:
        if task.mm:
            cpu.save_sve(task)
        if next.mm:
            cpu.set_vl(next)
            cpu.load(next)


BUG = Bug(
    "B36", "XSAVE area allocated with the compacted size (Asterinas)", "asterinas/asterinas issue 3920", Faulty, Fixed,
    "memory-safety", 5, tasks=1, events=("user_sve", "interrupt"), features=("sve",),
    note="Room for the wide registers is storage of its own here.",
)  # fmt: skip
