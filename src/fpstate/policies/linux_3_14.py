"""linux-3.14: everything eager, host and guest."""

from __future__ import annotations

from fpstate.policies.base import Policy


class Linux314(Policy):
    """Each thread switch saves and loads; each guest entry and exit saves and loads. No flags, no traps."""

    name = "linux-3.14"
    kernels = "Linux up to v3.14"
    source = "arch/arm64/kernel/process.c, kvm/hyp.S up to v3.14; before 005f78cd8849"

    class Task(Policy.Task):
        mm: bool = True  # current->mm: kernel threads have none, and no user registers

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save(task)
        if next.mm:
            cpu.load(next)

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.save(task)

    def kernel_neon_end(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.load(task)

    def guest_enter(self, cpu: Policy.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.stash_host()
        cpu.load(vcpu)

    def guest_exit(self, cpu: Policy.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)
        cpu.load_stash()

    def fork(self, cpu: Policy.Cpu, task: Task, child: Task) -> None:
        if task.mm:
            cpu.save(task)

    def exec(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)

    def signal(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.save(task)

    def sigreturn(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)

    def ptrace_write(self, cpu: Policy.Cpu, task: Task, tracee: Task) -> None:
        cpu.edit(tracee)

    def cpu_pm_enter(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.save(task)

    def cpu_pm_exit(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.load(task)

    def vcpu_setreg(self, cpu: Policy.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Policy.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)
