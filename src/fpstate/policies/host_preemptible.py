"""The Linux arm64 host since v6.8: kernel-mode NEON can be preempted, so it is a context of its own.

9b19700e623f, aefbab8e77eb, 2632e2521769 (v6.8), with the owner record cleared when kernel-mode state is loaded
(e92bee9f861b, v6.10). What came in v6.16 stands in `host_flushed`.
"""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_format import FormatHost, FormHost


class PreemptibleNeon(FormHost):
    """TIF_KERNEL_FPSTATE marks a task inside a kernel NEON section; a switch saves and reloads that state eagerly."""

    preemptible_neon = True

    class Task(FormHost.Task):
        kernel_fpstate: bool = False  # TIF_KERNEL_FPSTATE
        kernel_fpsimd_cpu: Policy.Cpu | None = None

    def fpsimd_save_kernel_state(self, cpu: FormHost.Cpu, task: Task) -> None:
        cpu.save(task.kernel)
        cpu.called("fpsimd_bind_state_to_cpu")
        cpu.last_state = task.kernel
        cpu.returned()
        task.kernel_fpsimd_cpu = cpu

    def fpsimd_load_kernel_state(self, cpu: FormHost.Cpu, task: Task) -> None:
        if cpu.last_state is not task.kernel or task.kernel_fpsimd_cpu is not cpu:
            cpu.load(task.kernel)

    def save_any_state(self, cpu: FormHost.Cpu, task: Task) -> None:
        """Save what is in the registers: the state of a section, or user state."""
        if task.kernel_fpstate:
            self.fpsimd_save_kernel_state(cpu, task)
        else:
            self.fpsimd_save(cpu, task)

    def resume_section(self, cpu: FormHost.Cpu, task: Task, next: Task) -> None:
        stays = cpu.last_state is next.kernel and next.kernel_fpsimd_cpu is cpu
        self.fpsimd_flush_cpu_state(cpu, next)
        if not stays:
            cpu.load(next.kernel)

    def thread_switch(self, cpu: FormHost.Cpu, task: Task, next: Task) -> None:
        self.save_any_state(cpu, task)
        if next.kernel_fpstate:
            self.resume_section(cpu, task, next)
        else:
            next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu

    def kernel_neon_begin(self, cpu: FormHost.Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        task.kernel_fpstate = True
        self.fpsimd_flush_cpu_state(cpu, task)

    def kernel_neon_end(self, cpu: FormHost.Cpu, task: Task) -> None:
        task.kernel_fpstate = False

    def softirq_neon_begin(self, cpu: FormHost.Cpu, task: Task) -> None:
        self.save_any_state(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def softirq_neon_end(self, cpu: FormHost.Cpu, task: Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_load_kernel_state(cpu, task)

    def fork(self, cpu: FormHost.Cpu, task: Task, child: Task) -> None:
        super().fork(cpu, task, child)
        child.kernel_fpstate = False
        child.kernel_fpsimd_cpu = None


class PreemptibleHost(PreemptibleNeon, FormatHost):
    """v6.8 to v6.15."""

    class Task(PreemptibleNeon.Task, FormatHost.Task):
        pass
