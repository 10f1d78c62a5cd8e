"""S7: a thread that enables the FPU for itself keeps trapping."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.sel4_flag import SeL4Flag


class Fixed(SeL4Flag):
    """A changed flag of the current thread is applied at once. Threads start with the FPU disabled."""

    name = "s7-fixed"

    class Task(SeL4Flag.Task):
        fpu_disabled: bool = True

    def syscall(self, cpu: SeL4Flag.Cpu, task: Task) -> None:
        task.fpu_disabled = False  # seL4_TCB_SetFlags on itself
        self.lazy_fpu_restore(cpu, task)

    def user_fp_trap(self, cpu: SeL4Flag.Cpu, task: Task) -> None:
        if task.fpu_disabled:  # its pager enables it; the switch back to it applies that
            task.fpu_disabled = False
            self.lazy_fpu_restore(cpu, task)


class Faulty(Fixed):
    """The flag reaches the hardware only at a switch, and none follows."""

    name = "s7-faulty"

    def syscall(self, cpu: SeL4Flag.Cpu, task: Fixed.Task) -> None:
        task.fpu_disabled = False


BUG = Bug(
    "S7", "thread that enables FPU for itself keeps trapping", "78c3b11a0236", Faulty, Fixed, "trap-sanity", 5, tasks=1,
    events=("base",), note="seL4 has no fork, exec, signals or kernel-mode FP.",
)  # fmt: skip
