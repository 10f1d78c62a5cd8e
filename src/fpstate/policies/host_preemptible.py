"""The Linux arm64 host since v6.8: kernel-mode NEON can be preempted, so it is a context of its own.

9b19700e623f, aefbab8e77eb, 2632e2521769 (v6.8), with the owner record cleared when kernel-mode state is loaded
(e92bee9f861b, v6.10), before it is loaded (01098d893fa8, v6.16): clearing it leaves streaming mode.
"""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_format import FormatHost


class PreemptibleHost(FormatHost):
    """TIF_KERNEL_FPSTATE marks a task inside a kernel NEON section; a switch saves and reloads that state eagerly."""

    preemptible_neon = True

    class Task(FormatHost.Task):
        kernel_fpstate: bool = False  # TIF_KERNEL_FPSTATE
        kernel_fpsimd_cpu: Policy.Cpu | None = None

    def fpsimd_save_kernel_state(self, cpu: FormatHost.Cpu, task: Task) -> None:
        cpu.save(task.kernel)
        cpu.last_state = task.kernel
        task.kernel_fpsimd_cpu = cpu

    def fpsimd_load_kernel_state(self, cpu: FormatHost.Cpu, task: Task) -> None:
        if cpu.last_state is not task.kernel or task.kernel_fpsimd_cpu is not cpu:
            cpu.load(task.kernel)

    def thread_switch(self, cpu: FormatHost.Cpu, task: Task, next: Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_save_kernel_state(cpu, task)
        else:
            self.fpsimd_save(cpu, task)
        if next.kernel_fpstate:
            stays = cpu.last_state is next.kernel and next.kernel_fpsimd_cpu is cpu
            self.fpsimd_flush_cpu_state(cpu, next)
            if not stays:
                cpu.load(next.kernel)
        else:
            next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu

    def kernel_neon_begin(self, cpu: FormatHost.Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        task.kernel_fpstate = True
        self.fpsimd_flush_cpu_state(cpu, task)

    def kernel_neon_end(self, cpu: FormatHost.Cpu, task: Task) -> None:
        task.kernel_fpstate = False

    def softirq_neon_begin(self, cpu: FormatHost.Cpu, task: Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_save_kernel_state(cpu, task)
        else:
            self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def softirq_neon_end(self, cpu: FormatHost.Cpu, task: Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_load_kernel_state(cpu, task)

    def fork(self, cpu: FormatHost.Cpu, task: Task, child: Task) -> None:
        super().fork(cpu, task, child)
        child.kernel_fpstate = False
        child.kernel_fpsimd_cpu = None
