"""B15: interrupt handlers compute with floats, and their entry keeps general registers only."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import SwitchedHost


class Faulty(SwitchedHost):
    """A switch saves and loads; interrupts know nothing of FP registers."""

    name = "b15-faulty"


class Fixed(Faulty):
    """Interrupt entry keeps them, and its exit puts them back."""

    name = "b15-fixed"

    def softirq_neon_begin(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        cpu.stash_host()

    def softirq_neon_end(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        cpu.load_stash()


BUG = Bug(
    "B15", "interrupt handlers compute with floats (RT-Thread)", "RT-Thread/rt-thread pull 8041", Faulty, Fixed,
    "confidentiality", 5, tasks=1, events=("softirq_neon_begin",), note="The interrupt handler is a softirq here.",
)  # fmt: skip
