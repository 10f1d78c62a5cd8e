"""B34: a debugger's change of vector length clears the SME flag of the debugger."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost


class Fixed(FormatHost):
    """SME state and flag are cleared of the task whose length it is."""

    name = "b34-fixed"

    def ptrace_vl(self, cpu: DeferredHost.Cpu, task: FormatHost.Task, tracee: FormatHost.Task) -> None:
        self.sve_sync_to_fpsimd(cpu, tracee)
        self.fpsimd_flush_task_state(tracee)
        tracee.tif_sve = False
        tracee.fp_type = Form.FPSIMD
        cpu.free_sve(tracee)
        tracee.svcr_sm = tracee.svcr_za = tracee.tif_sme = False
        cpu.free_za(tracee)


class Faulty(Fixed):
    """TIF_SME is cleared of the current task."""

    name = "b34-faulty"

    def ptrace_vl(self, cpu: DeferredHost.Cpu, task: FormatHost.Task, tracee: FormatHost.Task) -> None:
        enabled = tracee.tif_sme
        super().ptrace_vl(cpu, task, tracee)
        tracee.tif_sme = enabled
        task.tif_sme = False


BUG = Bug(
    "B34", "ptrace VL change clears the wrong task's SME flag", "arm64-fix-ptrace-tif-sme-v1, 2023-08", Faulty, Fixed,
    "memory-safety", 14, events=("interrupt", "user_sve", "user_smstart", "user_za", "ptrace_vl"), features=("sme",),
)  # fmt: skip
