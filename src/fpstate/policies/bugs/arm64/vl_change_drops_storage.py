"""A26: a change of the SVE length frees storage that streaming mode needs too, and SME stays enabled."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost


class Faulty(FormatHost):
    """The storage is freed and allocated at the next SVE trap; streaming mode takes none."""

    name = "a26-faulty"

    def vl_change(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        DeferredHost.vl_change(self, cpu, task)
        task.fp_type = Form.FPSIMD


class Fixed(FormatHost):
    """It is allocated again at once if the task has SME enabled."""

    name = "a26-fixed"


BUG = Bug(
    "A26", "SVE length change drops storage while SME stays untrapped",
    "arm64/fpsimd: Ensure SME storage is allocated after SVE VL changes", Faulty, Fixed, "memory-safety", 10, tasks=1,
    events=("vl_change", "user_smstart", "interrupt"), features=("sme",),
)  # fmt: skip
