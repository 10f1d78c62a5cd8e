"""B11: a task's state is taken from a signal frame without its SVE record."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import WideSwitchedHost


class Faulty(WideSwitchedHost):
    """What stops a task copies the FPSIMD form alone."""

    name = "b11-faulty"

    def signal(self, cpu: WideSwitchedHost.Cpu, task: WideSwitchedHost.Task) -> None:
        cpu.save_sve(task)
        cpu.narrow(task)


class Fixed(Faulty):
    """Both forms are put into the frame."""

    name = "b11-fixed"

    def signal(self, cpu: WideSwitchedHost.Cpu, task: WideSwitchedHost.Task) -> None:
        super().signal(cpu, task)
        cpu.frame_sve(task)


BUG = Bug(
    "B11", "state taken from a signal frame without its SVE record (gVisor)", "google/gvisor issue 10900", Faulty,
    Fixed, "integrity", 6, tasks=1, events=("user_sve", "interrupt", "signal"), features=("sve",),
)  # fmt: skip
