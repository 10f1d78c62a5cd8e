"""N4: a guest's first FPU use shows the data registers of another guest (CVE-2015-8555, XSA-165)."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_first_use import FirstUseHost


class Faulty(FirstUseHost):
    """First use runs FNINIT, which resets control state only and leaves the data registers as they are."""

    name = "n4-faulty"

    class Cpu(Policy.Cpu):
        fresh: bool = True  # not used since reset: still zeros

    def fpu_init(self, cpu: Cpu, task: FirstUseHost.Task) -> None:
        if cpu.fresh:
            cpu.clear(task)
            cpu.fresh = False


class Fixed(FirstUseHost):
    """First use loads a whole clean image."""

    name = "n4-fixed"


BUG = Bug(
    "N4", "first FPU use does not clear data registers", "81818b3f2775", Faulty, Fixed, "confidentiality", 11, tasks=2,
    events=("base",), note="vCPUs are threads here; they have no fork, exec, signals or kernel-mode FP.",
)  # fmt: skip
