"""The Xen hypervisor, which has no FP state of its own: its vCPUs are the threads of the world, their guests user mode.

Each is switched when the vCPU is, not at entries and exits.
"""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_switched import SwitchedHost


class XenEager(SwitchedHost):
    """Xen on Arm, and on x86 since 4.11 (vcpu_save_fpu, vcpu_restore_fpu_eager); firmware and emulation give back."""

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        if task.mm:
            cpu.save(task)

    def kernel_neon_end(self, cpu: Policy.Cpu, task: SwitchedHost.Task) -> None:
        if task.mm:
            cpu.load(task)
