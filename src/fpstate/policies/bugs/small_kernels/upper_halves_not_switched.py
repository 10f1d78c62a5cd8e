"""B2: AVX is enabled for everybody, and the switch saves what SSE has."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import SwitchedHost


class Faulty(SwitchedHost):
    """FXSAVE and FXRSTOR leave the upper halves alone."""

    name = "b2-faulty"
    supports = frozenset({"upper"})


class Fixed(Faulty):
    """XSAVE and XRSTOR with the mask read from XCR0."""

    name = "b2-fixed"

    def thread_switch(self, cpu: Policy.Cpu, task: SwitchedHost.Task, next: SwitchedHost.Task) -> None:
        super().thread_switch(cpu, task, next)
        if task.mm:
            cpu.save_part("upper", task)
        if next.mm:
            cpu.load_part("upper", next)


BUG = Bug(
    "B2", "AVX enabled, switch saves SSE only (StarryOS)", "rcore-os/tgoskits pull 1329", Faulty, Fixed,
    "confidentiality", 8, events=("base",), features=("upper",),
    note="The same half of rcore-os/tgoskits pull 917 on LoongArch: bits 127:64 of vr0 to vr31.",
)  # fmt: skip
