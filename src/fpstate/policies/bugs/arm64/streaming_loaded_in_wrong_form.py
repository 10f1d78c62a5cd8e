"""A27: where there is SME but no SVE, streaming registers are loaded from the wrong form."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost


class Faulty(FormatHost):
    """The recorded form is looked at only if the system has SVE."""

    name = "a27-faulty"

    def task_fpsimd_load(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        cpu.set_svcr(task.svcr_sm, task.svcr_za)
        if task.svcr_za:
            cpu.load_part("za", task)
        cpu.load(task)


class Fixed(FormatHost):
    """It is looked at if the system has SVE or SME."""

    name = "a27-fixed"


BUG = Bug(
    "A27", "streaming registers loaded in the wrong form", "0cab5b4964c7", Faulty, Fixed, "integrity", 13,
    events=("user_smstart", "interrupt"), features=("sme",),
    note="The system has no SVE: the events leave it out.",
)  # fmt: skip
