"""The lazy host of small kernels: the registers belong to whoever used them last, and everybody else traps.

Minix 3, seL4 up to 13.0.0, Genode's own kernel, and on one CPU Zephyr (`zephyr` has what it does on several). NuttX on
arm64 was so once (bug O3), and saves with each exception now (`nuttx`). Nothing is saved when a thread stops running.
It is right on one CPU only: a state that is live on another CPU takes an interrupt to that CPU to fetch.
"""

from __future__ import annotations

from typing import ClassVar

from fpstate.policies.base import Context, Policy


class LazyHost(Policy):
    """Minix 3 with its rules for fork, exec and signals; the others differ in names."""

    kernel_traps: ClassVar[tuple[str, ...]] = ("user_fp_trap",)

    class Cpu(Policy.Cpu):
        user_fp_trap: bool = True
        owner: Context | None = None  # fpu_owner

    def lift_trap(self, cpu: Cpu) -> None:
        """Let the kernel touch the registers: the trap stops it, too."""
        cpu.user_fp_trap = False
        cpu.isb()

    def save_owner(self, cpu: Cpu) -> None:
        self.lift_trap(cpu)
        cpu.save(cpu.owner)

    def switch_owner(self, cpu: Cpu, to: Context | None) -> None:
        self.lift_trap(cpu)
        if cpu.owner is not None:
            cpu.save(cpu.owner)
        if to is not None:
            cpu.load(to)
        cpu.owner = to
        cpu.user_fp_trap = to is None

    def release(self, cpu: Cpu, task: Policy.Task) -> None:
        if cpu.owner is task:
            cpu.owner = None
            cpu.user_fp_trap = True

    # Events.

    def ret_to_user(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = cpu.owner is not task

    def user_fp_trap(self, cpu: Cpu, task: Policy.Task) -> None:
        self.switch_owner(cpu, task)

    def fork(self, cpu: Cpu, task: Policy.Task, child: Policy.Task) -> None:
        if cpu.owner is task:
            self.save_owner(cpu)

    def exec(self, cpu: Cpu, task: Policy.Task) -> None:
        self.release(cpu, task)
        cpu.overwrite(task)

    def exit(self, cpu: Cpu, task: Policy.Task) -> None:
        self.release(cpu, task)

    def signal(self, cpu: Cpu, task: Policy.Task) -> None:
        if cpu.owner is task:
            self.save_owner(cpu)

    def sigreturn(self, cpu: Cpu, task: Policy.Task) -> None:
        self.release(cpu, task)
        cpu.overwrite(task)

    def ptrace_write(self, cpu: Cpu, task: Policy.Task, tracee: Policy.Task) -> None:
        if cpu.owner is tracee:
            self.switch_owner(cpu, None)
        cpu.edit(tracee)

    def kernel_neon_begin(self, cpu: Cpu, task: Policy.Task) -> None:
        self.switch_owner(cpu, None)

    def cpu_pm_enter(self, cpu: Cpu, task: Policy.Task) -> None:
        self.switch_owner(cpu, None)
