"""The Xen hypervisor, which has no FP state of its own: its vCPUs are the threads of the world, their guests user mode.

Each is switched when the vCPU is, not at entries and exits.
"""

from __future__ import annotations

from fpstate.policies.base import Policy


class XenEager(Policy):
    """Xen on Arm, and on x86 since 4.11: save at switch-out, load at switch-in; firmware and emulation give back."""

    class Task(Policy.Task):
        mm: bool = True  # not the idle vCPU

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save(task)  # vcpu_save_fpu
        if next.mm:
            cpu.load(next)  # vcpu_restore_fpu_eager

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.save(task)

    def kernel_neon_end(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.load(task)
