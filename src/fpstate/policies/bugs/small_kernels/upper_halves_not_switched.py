"""B2: AVX is enabled for everybody, and the switch saves what SSE has."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """XSAVE and XRSTOR with the mask read from XCR0."""

    name = "b2-fixed"
    supports = frozenset({"upper"})

    class Task(Policy.Task):
        mm: bool = True

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save(task)
            cpu.save_part("upper", task)
        if next.mm:
            cpu.load(next)
            cpu.load_part("upper", next)


class Faulty(Fixed):
    """FXSAVE and FXRSTOR leave the upper halves alone."""

    name = "b2-faulty"

    def thread_switch(self, cpu: Policy.Cpu, task: Fixed.Task, next: Fixed.Task) -> None:
        if task.mm:
            cpu.save(task)
        if next.mm:
            cpu.load(next)


BUG = Bug(
    "B2", "AVX enabled, switch saves SSE only (StarryOS)", "rcore-os/tgoskits pull 1329", Faulty, Fixed,
    "confidentiality", 8, events=("base",), features=("upper",),
    note="The same half of rcore-os/tgoskits pull 917 on LoongArch: bits 127:64 of vr0 to vr31.",
)  # fmt: skip
