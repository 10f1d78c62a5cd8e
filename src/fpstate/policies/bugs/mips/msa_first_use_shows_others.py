"""R3: the first use of wide vectors shows the upper halves of another task."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_first_use import FirstUseHost


class Faulty(FirstUseHost):
    """At first use only the scalar halves are set; the upper ones were taken to be cleared by hardware."""

    name = "r3-faulty"

    class Cpu(Policy.Cpu):
        fresh: bool = True  # not used since reset: still zeros

    def fpu_init(self, cpu: Cpu, task: FirstUseHost.Task) -> None:
        if cpu.fresh:
            cpu.clear(task)
            cpu.fresh = False


class Fixed(FirstUseHost):
    """The upper halves are set to a fixed value at first use."""

    name = "r3-fixed"


BUG = Bug(
    "R3", "MSA first use shows upper vector halves of another task", "c9017757c532", Faulty, Fixed, "confidentiality",
    11, tasks=2, events=("base",),
    note="The registers are the upper halves alone, since loading V would clear those of SVE. "
    "The host was not modelled for fork, exec, exit and signals.",
)  # fmt: skip
