"""X2: the compiler keeps an old owner pointer over a point of preemption."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.base import Context, Policy
from fpstate.policies.bugs.bug import Bug


class X86Host(Policy):
    """The x86 host since v5.2 (5f409e20b794): registers are loaded on the way to user mode."""

    class Cpu(Policy.Cpu):
        owner: Context | None = None  # fpu_fpregs_owner_ctx

    class Task(Policy.Task):
        need_load: bool = True  # TIF_NEED_FPU_LOAD
        last_cpu: Policy.Cpu | None = None

    def fpregs_activate(self, cpu: Cpu, task: Task) -> None:
        cpu.owner = task
        task.last_cpu = cpu
        task.need_load = False

    def fpregs_restore_userregs(self, cpu: Cpu, task: Task) -> None:
        if task.need_load:
            if cpu.owner is not task or task.last_cpu is not cpu:
                cpu.load(task)
            self.fpregs_activate(cpu, task)

    def save_fpregs(self, cpu: Cpu, task: Task) -> None:
        if not task.need_load:
            cpu.save(task)

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        self.save_fpregs(cpu, task)
        next.need_load = True

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        self.fpregs_restore_userregs(cpu, task)

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        self.save_fpregs(cpu, task)
        task.need_load = True
        cpu.owner = None

    def fork(self, cpu: Cpu, task: Task, child: Task) -> None:
        self.save_fpregs(cpu, task)
        child.need_load = True
        child.last_cpu = None

    def exec(self, cpu: Cpu, task: Task) -> None:
        cpu.overwrite(task)
        cpu.clear(task)
        self.fpregs_activate(cpu, task)

    def signal(self, cpu: Cpu, task: Task) -> None:
        self.fpregs_restore_userregs(cpu, task)
        cpu.save(task)  # to the frame and to memory

    def sigreturn(self, cpu: Cpu, task: Task) -> None:
        cpu.overwrite(task)
        cpu.load(task)
        self.fpregs_activate(cpu, task)

    def ptrace_write(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        tracee.last_cpu = None
        cpu.edit(tracee)

    def cpu_down(self, cpu: Cpu) -> None:
        cpu.owner = None

    def cpu_pm_enter(self, cpu: Cpu, task: Task) -> None:
        self.kernel_neon_begin(cpu, task)


class Faulty(X86Host):
    """When the copy to the signal stack faults and is tried again, the owner of the CPU is not read again."""

    name = "x2-faulty"

    def signal(self, cpu: X86Host.Cpu, task: X86Host.Task) -> Iterator[None]:
        owner_is_task = cpu.owner is task
        self.fpregs_restore_userregs(cpu, task)
        yield  # the copy has faulted; the fault is served with preemption on
        if task.need_load:
            if not owner_is_task or task.last_cpu is not cpu:
                cpu.load(task)
            self.fpregs_activate(cpu, task)
        cpu.save(task)


class Fixed(X86Host):
    """The owner is read afresh."""

    name = "x2-fixed"

    def signal(self, cpu: X86Host.Cpu, task: X86Host.Task) -> Iterator[None]:
        self.fpregs_restore_userregs(cpu, task)
        yield
        self.fpregs_restore_userregs(cpu, task)
        cpu.save(task)


BUG = Bug("X2", "old owner pointer kept over a preemption", "59c4bd853abc", Faulty, Fixed, "confidentiality", 9)
