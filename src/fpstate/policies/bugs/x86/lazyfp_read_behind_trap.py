"""X1: LazyFP (CVE-2018-3665): registers left behind a trap can be read by speculation."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.linux_3_14 import Linux314


class Faulty(Policy):
    """A task's registers stay in place for the next one with only CR0.TS before them: the trap is taken for a wall."""

    name = "x1-faulty"

    class Task(Policy.Task):
        has_fpu: bool = False

    def unlazy_fpu(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.has_fpu:
            cpu.save(task)

    def drop_fpu(self, cpu: Policy.Cpu, task: Task) -> None:
        task.has_fpu = False
        cpu.user_fp_trap = True  # stts

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        self.unlazy_fpu(cpu, task)
        self.drop_fpu(cpu, task)

    def user_fp_trap(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.user_fp_trap = False  # clts
        cpu.load(task)
        task.has_fpu = True

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: Task) -> None:
        self.unlazy_fpu(cpu, task)
        self.drop_fpu(cpu, task)

    def fork(self, cpu: Policy.Cpu, task: Task, child: Task) -> None:
        self.unlazy_fpu(cpu, task)
        child.has_fpu = False

    def exec(self, cpu: Policy.Cpu, task: Task) -> None:
        self.drop_fpu(cpu, task)
        cpu.overwrite(task)

    def signal(self, cpu: Policy.Cpu, task: Task) -> None:
        self.unlazy_fpu(cpu, task)

    def sigreturn(self, cpu: Policy.Cpu, task: Task) -> None:
        self.drop_fpu(cpu, task)
        cpu.overwrite(task)

    def ptrace_write(self, cpu: Policy.Cpu, task: Task, tracee: Task) -> None:
        cpu.edit(tracee)


class Fixed(Linux314):
    """Registers are switched eagerly, and no trap is armed."""

    name = "x1-fixed"


BUG = Bug(
    "X1", "LazyFP: speculative read behind the trap", "243435bf67e8 and 146dfe9277c2 (Xen)", Faulty, Fixed,
    "transient-exposure", 8, events=("all", "-neon"),
    note="kernel-mode FPU use leaves its values behind the trap too, on a shorter path",
)  # fmt: skip
