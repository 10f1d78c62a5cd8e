"""The seL4 kernel from 14.0.0 (RFC-18): a flag of the thread says whether the FPU is switched with it; no faults."""

from __future__ import annotations

from fpstate.policies.base import Context, Policy


class SeL4Flag(Policy):
    """seL4 since 5035def0b9bf, on one core. Nothing is saved on the way to a thread that has the FPU disabled."""

    class Cpu(Policy.Cpu):
        user_fp_trap: bool = True
        owner: Context | None = None  # ksCurFPUOwner

    class Task(Policy.Task):
        mm: bool = True  # the idle thread has the flag set
        fpu_disabled: bool = False  # seL4_TCBFlag_fpuDisabled

    def switch_owner(self, cpu: Cpu, to: Task | None) -> None:
        if cpu.owner is not None:
            cpu.save(cpu.owner)
        if to is not None:
            cpu.load(to)
        cpu.owner = to
        cpu.user_fp_trap = to is None

    def lazy_fpu_restore(self, cpu: Cpu, task: Task) -> None:
        if not task.mm or task.fpu_disabled:
            cpu.user_fp_trap = True
        elif cpu.owner is task:
            cpu.user_fp_trap = False
        else:
            self.switch_owner(cpu, task)

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        self.lazy_fpu_restore(cpu, next)

    def exit(self, cpu: Cpu, task: Task) -> None:
        if cpu.owner is task:  # fpuRelease
            self.switch_owner(cpu, None)
