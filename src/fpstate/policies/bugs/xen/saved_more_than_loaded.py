"""N5: all components are saved, but only the eager ones had been loaded."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_first_use import FirstUseHost


class Faulty(FirstUseHost):
    """A vCPU that did not touch the lazy components since it came in has them saved as its own."""

    name = "n5-faulty"

    def thread_switch(self, cpu: Policy.Cpu, task: FirstUseHost.Task, next: FirstUseHost.Task) -> None:
        cpu.save(task)  # XSAVES, in one compact area
        cpu.user_fp_trap = True


class Fixed(FirstUseHost):
    """Where all will be saved, all is loaded at the switch, and no trap is armed."""

    name = "n5-fixed"

    def thread_switch(self, cpu: Policy.Cpu, task: FirstUseHost.Task, next: FirstUseHost.Task) -> None:
        cpu.save(task)
        cpu.load(next)


BUG = Bug(
    "N5", "save set larger than restore set with XSAVES", "0129e1ee0d61", Faulty, Fixed, "confidentiality", 19, tasks=2,
    events=("base",),
    note="vCPUs are threads here; they have no fork, exec, signals or kernel-mode FP. The registers are the lazy "
    "components.",
)  # fmt: skip
