"""B38: a CPU goes down in streaming mode."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import FormatHost


class Faulty(FormatHost):
    """The registers are given up, and SVCR stays: a shared SME unit is seen as in use."""

    name = "b38-faulty"


class Fixed(FormatHost):
    """SM and ZA are left before the CPU goes down."""

    name = "b38-fixed"

    def cpu_down(self, cpu: DeferredHost.Cpu) -> None:
        super().cpu_down(cpu)
        cpu.smstop()


BUG = Bug(
    "B38", "CPU goes down in streaming mode", "arm64/fpsimd: Ensure that offlined CPUs are not using SME, 2024-06",
    Faulty, Fixed, "down-mode", 9, cpus=2, tasks=1, events=("interrupt", "user_smstart", "hotplug"), features=("sme",),
)  # fmt: skip
