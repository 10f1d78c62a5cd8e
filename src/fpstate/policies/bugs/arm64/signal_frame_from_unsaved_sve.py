"""A23: whether a signal frame has an SVE record, and from what, is told by a flag that a system call leaves set."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost


class Faulty(FormatHost):
    """TIF_SVE is taken to mean that the state was saved in SVE form."""

    name = "a23-faulty"

    def signal(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        self.fpsimd_save(cpu, task)
        if task.tif_sve:
            cpu.narrow(task)
            cpu.frame_sve(task)


class Fixed(FormatHost):
    """The form recorded with the save decides."""

    name = "a23-fixed"


BUG = Bug(
    "A23-delivery", "signal frame built from SVE state that was not saved", "61da7c8e2a60", Faulty, Fixed, "integrity",
    9, tasks=1, events=("signal", "user_sve"), features=("sve",),
    note="In a system call only FPSIMD is saved, and the SVE flag stays.",
)  # fmt: skip
