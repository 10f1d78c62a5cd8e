"""A19: leaving streaming mode after kernel-mode registers were loaded wipes them. A18's fix brought it in."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost
from fpstate.policies.host_preemptible import PreemptibleHost


class Faulty(PreemptibleHost):
    """The kernel-mode state is loaded, then the CPU's record cleared, which leaves streaming mode."""

    name = "a19-faulty"

    def thread_switch(self, cpu: FormatHost.Cpu, task: PreemptibleHost.Task, next: PreemptibleHost.Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_save_kernel_state(cpu, task)
        else:
            self.fpsimd_save(cpu, task)
        if next.kernel_fpstate:
            self.fpsimd_load_kernel_state(cpu, next)
            self.fpsimd_flush_cpu_state(cpu, next)
        else:
            next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu


class Fixed(PreemptibleHost):
    """The record is cleared, and streaming mode left, before the load."""

    name = "a19-fixed"


BUG = Bug(
    "A19", "SMSTOP after the load wipes kernel-mode registers", "01098d893fa8", Faulty, Fixed, "integrity", 10,
    tasks=1, kthreads=1, events=("kernel_neon_begin", "kernel_neon_end", "user_smstart", "interrupt"),
    features=("sme",), note="A kernel thread is in the NEON section.",
)  # fmt: skip
