"""A30: a debugger writes SVE registers and leaves the SVE flag clear (CVE-2026-23114)."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost


class Fixed(FormatHost):
    """Form and flag are written together; the load warns if they disagree, and mends it."""

    name = "a30-fixed"

    def task_fpsimd_load(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        if task.fp_type is Form.SVE and not task.svcr_sm and not task.tif_sve:
            cpu.warn()
        super().task_fpsimd_load(cpu, task)


class Faulty(Fixed):
    """The flag is written under a test for SME."""

    name = "a30-faulty"

    def ptrace_sve(self, cpu: DeferredHost.Cpu, task: FormatHost.Task, tracee: FormatHost.Task) -> None:
        cpu.alloc_sve(tracee)
        cpu.overwrite_sve(tracee)
        tracee.fp_type = Form.SVE
        self.fpsimd_flush_task_state(tracee)


BUG = Bug(
    "A30", "ptrace SVE write leaves form and flag in disagreement", "128a7494a9f1", Faulty, Fixed, "trap-sanity", 5,
    events=("ptrace_sve", "user_sve", "interrupt"), features=("sve",),
    note="What is broken is the kernel's own warning (WARN_ON_ONCE); no register is.",
)  # fmt: skip
