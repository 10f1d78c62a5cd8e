"""B12: one flag says "prepared by the kernel" and "is a kernel thread that uses the FPU"."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """A region inside leaves the thread's own flag alone. A softirq stands for the region inside."""

    name = "b12-fixed"
    preemptible_neon = True

    class Task(Policy.Task):
        mm: bool = True
        fpu_kthread: bool = False  # between kernel_neon_begin and _end

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.fpu_kthread:
            cpu.save(task.kernel)
        elif task.mm:
            cpu.save(task)
        if next.fpu_kthread:
            cpu.load(next.kernel)
        elif next.mm:
            cpu.load(next)

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.save(task)
        task.fpu_kthread = True

    def kernel_neon_end(self, cpu: Policy.Cpu, task: Task) -> None:
        task.fpu_kthread = False
        if task.mm:
            cpu.load(task)

    def softirq_neon_begin(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.fpu_kthread:
            cpu.save(task.kernel)
        elif task.mm:
            cpu.save(task)

    def softirq_neon_end(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.fpu_kthread:
            cpu.load(task.kernel)
        elif task.mm:
            cpu.load(task)


class Faulty(Fixed):
    """Leaving the inner region clears the flag, and with it the thread's claim."""

    name = "b12-faulty"

    def softirq_neon_end(self, cpu: Policy.Cpu, task: Fixed.Task) -> None:
        super().softirq_neon_end(cpu, task)
        task.fpu_kthread = False


BUG = Bug(
    "B12", "one flag for a prepared region and an FPU kernel thread (FreeBSD)", "r366713", Faulty, Fixed, "integrity",
    7, tasks=1, kthreads=1, events=("neon",),
)  # fmt: skip
