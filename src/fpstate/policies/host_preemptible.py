"""The Linux arm64 host since v6.8: kernel-mode NEON can be preempted, so it is a context of its own.

9b19700e623f, aefbab8e77eb, 2632e2521769 (v6.8), with the owner record cleared when kernel-mode state is loaded
(e92bee9f861b, v6.10).
"""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_deferred import BindableHost, DeferredHost


class PreemptibleHost(BindableHost):
    """TIF_KERNEL_FPSTATE marks a task inside a kernel NEON section; a switch saves and reloads that state eagerly."""

    preemptible_neon = True

    class Task(DeferredHost.Task):
        kernel_fpstate: bool = False  # TIF_KERNEL_FPSTATE
        kernel_fpsimd_cpu: Policy.Cpu | None = None

    def fpsimd_save_kernel_state(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        cpu.save(task.kernel)
        cpu.last_state = task.kernel
        task.kernel_fpsimd_cpu = cpu

    def fpsimd_load_kernel_state(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        if cpu.last_state is not task.kernel or task.kernel_fpsimd_cpu is not cpu:
            cpu.load(task.kernel)

    def thread_switch(self, cpu: DeferredHost.Cpu, task: Task, next: Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_save_kernel_state(cpu, task)
        else:
            self.fpsimd_save(cpu, task)
        if next.kernel_fpstate:
            self.fpsimd_load_kernel_state(cpu, next)
            self.fpsimd_flush_cpu_state(cpu, next)
        else:
            next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu

    def kernel_neon_begin(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        task.kernel_fpstate = True
        self.fpsimd_flush_cpu_state(cpu, task)

    def kernel_neon_end(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        task.kernel_fpstate = False

    def softirq_neon_begin(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_save_kernel_state(cpu, task)
        else:
            self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def softirq_neon_end(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        if task.kernel_fpstate:
            self.fpsimd_load_kernel_state(cpu, task)

    def fork(self, cpu: DeferredHost.Cpu, task: Task, child: Task) -> None:
        super().fork(cpu, task, child)
        child.kernel_fpstate = False
        child.kernel_fpsimd_cpu = None
