"""A20: loading the mode of a task resets its FPMR, which had been loaded before."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import Form, FormatHost


class Faulty(FormatHost):
    """FPMR is loaded first, then SVCR."""

    name = "a20-faulty"

    def task_fpsimd_load(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        cpu.load_part("fpmr", task)
        cpu.set_svcr(task.svcr_sm, task.svcr_za)
        if task.svcr_za:
            cpu.load_part("za", task)
        if task.fp_type is Form.SVE:
            cpu.load_sve(task)
        else:
            cpu.load(task)


class Fixed(FormatHost):
    """SVCR is loaded first."""

    name = "a20-fixed"


BUG = Bug(
    "A20", "FPMR reset by the streaming-mode change during load", "e5fa85fce08b", Faulty, Fixed, "integrity", 10,
    tasks=1, events=("softirq_neon_begin", "user_smstart", "interrupt"), features=("sme", "fpmr"),
)  # fmt: skip
