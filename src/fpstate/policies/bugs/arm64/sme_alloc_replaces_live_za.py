"""A25: storage for ZA is allocated anew though there is some with a live value. A24's fix brought it in."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import FormatHost


class Faulty(FormatHost):
    """Writing streaming-mode registers replaces the storage of ZA by a new one."""

    name = "a25-faulty"

    def ptrace_streaming(self, cpu: DeferredHost.Cpu, task: FormatHost.Task, tracee: FormatHost.Task) -> None:
        super().ptrace_streaming(cpu, task, tracee)
        cpu.alloc_za(tracee)  # sme_alloc(target, false)


class Fixed(FormatHost):
    """Storage that exists is kept."""

    name = "a25-fixed"


BUG = Bug(
    "A25", "sme_alloc replaces a live ZA buffer", "dc7eb8755797", Faulty, Fixed, "integrity", 8,
    events=("ptrace_streaming", "ptrace_za", "user_za"), features=("sme",),
)  # fmt: skip
