"""The Linux arm64 host since v3.15: a task's registers are reloaded only on its way back to user mode.

TIF_FOREIGN_FPSTATE says that the registers do not hold current's state. `fpsimd_last_state` (per CPU) and
`thread.fpsimd_cpu` (per task) name each other as long as the registers of that CPU still hold that task's state.
Origin: 005f78cd8849 "arm64: defer reloading a task's FPSIMD state to userland resume" (Ard Biesheuvel, 2014).
"""

from __future__ import annotations

from fpstate.policies.base import Context, Policy, kernel_function


class DeferredHost(Policy):
    """v3.15 to v4.17: saves go to the current task's own image."""

    class Cpu(Policy.Cpu):
        last_state: Context | None = None  # fpsimd_last_state

    class Task(Policy.Task):
        foreign: bool = True  # TIF_FOREIGN_FPSTATE
        fpsimd_cpu: Policy.Cpu | None = None

    @kernel_function
    def fpsimd_save(self, cpu: Cpu, task: Task) -> None:
        if not task.foreign:
            cpu.save(task)

    def fpsimd_flush_cpu_state(self, cpu: Cpu, task: Task) -> None:
        cpu.last_state = None
        task.foreign = True

    @kernel_function
    def fpsimd_save_and_flush_cpu_state(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def fpsimd_flush_task_state(self, task: Task) -> None:
        task.fpsimd_cpu = None
        task.foreign = True

    @kernel_function
    def task_fpsimd_load(self, cpu: Cpu, task: Task) -> None:
        cpu.load(task)

    def fpsimd_bind_task_to_cpu(self, cpu: Cpu, task: Task) -> None:
        cpu.last_state = task
        task.fpsimd_cpu = cpu
        task.foreign = False

    @kernel_function
    def fpsimd_restore_current_state(self, cpu: Cpu, task: Task) -> None:
        self.task_fpsimd_load(cpu, task)
        self.fpsimd_bind_task_to_cpu(cpu, task)

    # Events.

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        self.fpsimd_save(cpu, task)
        next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        if task.foreign:
            self.fpsimd_restore_current_state(cpu, task)

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def fork(self, cpu: Cpu, task: Task, child: Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_task_state(child)

    def exec(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_flush_task_state(task)
        cpu.overwrite(task)

    def signal(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)

    def sigreturn(self, cpu: Cpu, task: Task) -> None:
        cpu.overwrite(task)
        self.task_fpsimd_load(cpu, task)
        self.fpsimd_bind_task_to_cpu(cpu, task)

    def ptrace_write(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        cpu.edit(tracee)
        self.fpsimd_flush_task_state(tracee)

    def cpu_down(self, cpu: Cpu) -> None:
        cpu.last_state = None

    def cpu_pm_enter(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save_and_flush_cpu_state(cpu, task)

    def vcpu_setreg(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)


class BindableHost(DeferredHost):
    """v4.18 on (e6b673b741ea): saves go to whatever `last_state` names, which may be a vCPU."""

    @kernel_function
    def fpsimd_save(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        if not task.foreign:
            cpu.save(cpu.last_state)

    @kernel_function
    def fpsimd_bind_state_to_cpu(self, cpu: DeferredHost.Cpu, context: Context) -> None:
        cpu.last_state = context
