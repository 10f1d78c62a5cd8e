"""The seL4 kernel up to 13.0.0: the owner of the FPU changes by faults, and is dropped after many exits without one."""

from __future__ import annotations

from fpstate.policies.base import Policy, bounded
from fpstate.policies.host_lazy import LazyHost

MOST = 3  # CONFIG_FPU_MAX_RESTORES_SINCE_SWITCH is 64


class SeL4Lazy(LazyHost):
    """seL4 before 5035def0b9bf. The owner is ksActiveFPUState; without one the FPU is off already."""

    class Cpu(LazyHost.Cpu):
        restores: int = bounded(0, MOST)  # ksFPURestoresSinceSwitch

    def ret_to_user(self, cpu: Cpu, task: Policy.Task) -> None:
        if cpu.owner is None:  # lazyFPURestore
            return
        if cpu.restores == MOST:
            self.switch_owner(cpu, None)
            cpu.restores = 0
        else:
            cpu.user_fp_trap = cpu.owner is not task
            cpu.restores += 1

    def user_fp_trap(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.restores = 0  # handleFPUFault
        self.switch_owner(cpu, task)
