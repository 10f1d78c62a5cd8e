"""X12: a restore leaves registers of the last context in place (CVE-2006-1056)."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost


class Faulty(FormatHost):
    """FPMR stands for the last-instruction pointers: FXRSTOR does not write them unless an exception is pending."""

    name = "x12-faulty"

    class Cpu(FormatHost.Cpu):
        fresh: bool = True  # nobody's since reset

    def task_fpsimd_load(self, cpu: Cpu, task: FormatHost.Task) -> None:
        if cpu.fresh:
            cpu.load_part("fpmr", task)
            cpu.fresh = False
        cpu.load(task)


class Fixed(FormatHost):
    """They are written at each restore."""

    name = "x12-fixed"


BUG = Bug(
    "X12", "restore leaves last-instruction pointers of another", "4903062b5485", Faulty, Fixed, "confidentiality", 8,
    events=("base",), features=("fpmr",),
    note="The wrong test of the first Xen fix (XSA-52 to XSA-172) is about a status bit that hardware computes anew, "
    "and is not in it.",
)  # fmt: skip
