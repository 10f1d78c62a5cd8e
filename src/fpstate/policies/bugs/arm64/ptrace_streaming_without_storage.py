"""A24: a debugger enables streaming mode of a task that never used SME; the first use then traps and destroys it."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost


class Fixed(FormatHost):
    """Writing streaming-mode registers sets the flag that lifts the trap, and allocates what SME needs."""

    name = "a24-fixed"

    def sme_trap(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        super().sme_trap(cpu, task)
        if not task.tif_sve:
            cpu.zero_sve()  # sve_init_regs, as of v5.19


class Faulty(Fixed):
    """Mode and values are written, the flag is not."""

    name = "a24-faulty"

    def ptrace_streaming(self, cpu: DeferredHost.Cpu, task: FormatHost.Task, tracee: FormatHost.Task) -> None:
        cpu.alloc_sve(tracee)
        cpu.overwrite_sve(tracee)
        tracee.svcr_sm = True
        tracee.fp_type = Form.SVE
        self.fpsimd_flush_task_state(tracee)


BUG = Bug(
    "A24", "ptrace enables streaming mode without storage or trap change", "5d0a8d2fba50", Faulty, Fixed, "integrity",
    8, events=("ptrace_streaming", "user_sve"), features=("sme",),
)  # fmt: skip
