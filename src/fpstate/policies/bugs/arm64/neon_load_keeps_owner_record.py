"""A18: loading kernel-mode NEON state at a switch leaves the CPU's owner record valid."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost
from fpstate.policies.host_preemptible import PreemptibleHost


class Faulty(PreemptibleHost):
    """A switch to a task inside a NEON section sets its foreign flag, but not what that flag is computed from."""

    name = "a18-faulty"

    def thread_switch(self, cpu: FormatHost.Cpu, task: PreemptibleHost.Task, next: PreemptibleHost.Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_save_kernel_state(cpu, task)
        else:
            self.fpsimd_save(cpu, task)
        if next.kernel_fpstate:
            self.fpsimd_load_kernel_state(cpu, next)
            next.foreign = True
        else:
            next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu


class Fixed(PreemptibleHost):
    """The CPU's record is cleared when kernel-mode state is loaded."""

    name = "a18-fixed"


BUG = Bug(
    "A18", "kernel NEON state loaded, owner record left valid", "e92bee9f861b", Faulty, Fixed, "confidentiality", 13,
    cpus=2, tasks=1,
)  # fmt: skip
