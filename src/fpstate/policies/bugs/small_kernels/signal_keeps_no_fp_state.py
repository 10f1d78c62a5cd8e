"""B3: a signal frame has general registers only."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import SwitchedHost


class Fixed(SwitchedHost):
    """FP state goes to the frame and comes back from it."""

    name = "b3-fixed"

    def signal(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        cpu.save(task)

    def sigreturn(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)


class Faulty(Fixed):
    """Delivery and return leave FP registers as they are: after the handler they are the handler's."""

    name = "b3-faulty"

    def signal(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        pass

    def sigreturn(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        pass


BUG = Bug(
    "B3", "signals keep no FP state (StarryOS)", "rcore-os/tgoskits pull 917", Faulty, Fixed, "integrity", 7, tasks=1,
    events=("signals",),
)  # fmt: skip
