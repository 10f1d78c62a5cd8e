"""O4: hardware stacks the registers of a thread of RIOT on its stack after it has exited."""

from __future__ import annotations

from fpstate.policies.base import Context, Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """Exit clears "FP active", so that no frame waits for the registers. Cortex-M: exceptions only note the frame."""

    name = "o4-fixed"

    class Cpu(Policy.Cpu):
        user_fp_trap: bool = True  # stands for hardware that does its noted work at the next FP instruction
        noted: Context | None = None  # FPCCR.LSPACT and FPCAR

    class Task(Policy.Task):
        fp: bool = False  # CONTROL.FPCA; on a thread that waits, in its EXC_RETURN
        gone: bool = False

    def syscall(self, cpu: Cpu, task: Task) -> None:
        if task.fp:
            cpu.noted = task
            cpu.user_fp_trap = True

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        if cpu.noted is task:
            cpu.noted = None
        cpu.user_fp_trap = cpu.noted is not None or not task.fp

    def user_fp_trap(self, cpu: Cpu, task: Task) -> None:
        self.stack_noted(cpu)
        cpu.user_fp_trap = False
        if not task.fp:
            cpu.clear(task)
            task.fp = True

    def stack_noted(self, cpu: Cpu) -> None:
        if cpu.noted is not None:
            cpu.save(cpu.noted)
            cpu.noted = None

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        if task.fp and not task.gone:  # the first FP store of the switch
            self.stack_noted(cpu)
        if next.fp:
            self.stack_noted(cpu)
            cpu.load(next)

    def exit(self, cpu: Cpu, task: Task) -> None:
        task.gone = True
        cpu.noted = None


class Faulty(Fixed):
    """The note made on the way into the kernel outlives the thread whose stack it names."""

    name = "o4-faulty"

    def exit(self, cpu: Fixed.Cpu, task: Fixed.Task) -> None:
        task.gone = True


BUG = Bug(
    "O4", "hardware lazy stacking writes to the stack of an exited thread (RIOT)", "RIOT-OS/RIOT pull 18697", Faulty,
    Fixed, "memory-safety", 10, tasks=2, events=("exit",),
    note="RIOT has no fork, exec, signals or kernel-mode FP.",
)  # fmt: skip
