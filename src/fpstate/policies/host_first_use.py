"""The lazy host with eager saves: the trap is armed at each switch, the first use loads, the switch-out saves."""

from __future__ import annotations

from fpstate.policies.base import Policy


class FirstUseHost(Policy):
    """Xen on x86 before 4.11, with vCPUs as the threads of the world, and Linux on MIPS; fields are named as in Xen."""

    class Task(Policy.Task):
        initialised: bool = False  # fpu_initialised
        dirtied: bool = False  # fpu_dirtied: its state is in the registers

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.dirtied:
            cpu.save(task)
            task.dirtied = False
        cpu.user_fp_trap = True

    def user_fp_trap(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.user_fp_trap = False
        if task.initialised:
            cpu.load(task)
        else:
            self.fpu_init(cpu, task)
        task.initialised = True
        task.dirtied = True

    def fpu_init(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.clear(task)
