"""B1: a debugger's write to vector registers is lost, since a system call had discarded them."""

from __future__ import annotations

from enum import Enum

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug


class State(Enum):
    """sstatus.VS of a task."""

    INITIAL = 0  # nothing worth saving, nothing to restore
    LIVE = 1


class Fixed(Policy):
    """A write from outside makes the image count again. V and Z stand for floating-point and vector registers."""

    name = "b1-fixed"
    supports = frozenset({"sve"})

    class Task(Policy.Task):
        mm: bool = True
        vs: State = State.INITIAL

    def ret_to_user(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.user_sve_trap = task.vs is State.INITIAL

    def sve_trap(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.alloc_sve(task)
        cpu.set_vl(task)
        cpu.zero_sve()
        task.vs = State.LIVE

    def syscall(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.zero_sve()
        task.vs = State.INITIAL

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.vs is State.LIVE:
            cpu.save_sve(task)
        elif task.mm:
            cpu.save(task)
        if next.vs is State.LIVE:
            cpu.set_vl(next)
            cpu.load_sve(next)
        elif next.mm:
            cpu.load(next)
            cpu.zero_sve()

    def ptrace_sve(self, cpu: Policy.Cpu, task: Task, tracee: Task) -> None:
        self.write(cpu, tracee)
        tracee.vs = State.LIVE

    def write(self, cpu: Policy.Cpu, tracee: Task) -> None:
        cpu.alloc_sve(tracee)
        cpu.overwrite_sve(tracee)
        cpu.overwrite(tracee)


class Faulty(Fixed):
    """One state stands for what the registers hold and for what the image holds."""

    name = "b1-faulty"

    def ptrace_sve(self, cpu: Policy.Cpu, task: Fixed.Task, tracee: Fixed.Task) -> None:
        self.write(cpu, tracee)


BUG = Bug(
    "B1", "debugger's write to vector registers lost after a system call", "linux-riscv RFC of March 2026", Faulty,
    Fixed, "integrity", 9, events=("user_sve", "interrupt", "ptrace_sve"), features=("sve",),
)  # fmt: skip
