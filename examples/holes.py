"""A skeleton of policies that learn who uses FP: what is open is which sides learn, from what, and how fast.

fpstate search examples/holes.py:Learning --traces contended.vhe,kneon.vhe,mmio-fp.vhe -o found.py
"""

from __future__ import annotations

from fpstate.policies.base import bounded
from fpstate.policies.first_class import FirstClass
from fpstate.policies.holes import hole
from fpstate.policies.host_format import FormatHost

MOST = 7


class Learning(FirstClass):
    """first-class, and a count on each vCPU and task of how likely it is to use FP before it is replaced."""

    name = "learning"

    # vCPUs: loaded at entry, without a trap, from this count on; more than MOST is never.
    guest_load_from = hole(1, 2, 4, MOST + 1)
    guest_trap_adds = hole(1, 2, MOST)
    guest_reload_takes = hole(0, 1, 2)
    guest_idle_takes = hole(0, 1, MOST)
    guest_start = hole(0, MOST)
    guest_is_probed = hole(False, True)
    setreg_forgets = hole(False, True)
    reset_forgets = hole(False, True)

    # Tasks: loaded on the way to user mode from this count on, else behind a trap.
    task_load_from = hole(0, 1, 2, 4)
    task_trap_adds = hole(1, 2, MOST)
    task_reload_takes = hole(0, 1, 2)
    fork_inherits = hole(True, False)
    exec_forgets = hole(True, False)
    signal_counts = hole(False, True)
    sigreturn_counts = hole(False, True)

    # What is given up when: some of these are wrong, and the search has to find out.
    put_saves = hole(True, False)
    neon_saves = hole(True, False)
    trap_saves = hole(True, False)
    pm_flushes = hole(True, False)
    exit_forgets = hole(True, False)

    class Task(FormatHost.Task):
        uses: int = bounded(0, MOST)

    class Vcpu(FirstClass.Vcpu):
        uses: int = bounded(0, MOST)
        probing: bool = False

    # The host.

    def ret_to_user(self, cpu: FirstClass.Cpu, task: Task) -> None:
        early = task.uses >= self.task_load_from
        cpu.user_fp_trap = task.foreign and not early
        if cpu.user_fp_trap:
            return
        if task.foreign:
            task.uses = max(0, task.uses - self.task_reload_takes)
        super().ret_to_user(cpu, task)

    def user_fp_trap(self, cpu: FirstClass.Cpu, task: Task) -> None:
        cpu.user_fp_trap = False
        task.uses = min(MOST, task.uses + self.task_trap_adds)
        super().ret_to_user(cpu, task)

    def fork(self, cpu: FirstClass.Cpu, task: Task, child: Task) -> None:
        super().fork(cpu, task, child)
        if not self.fork_inherits:
            child.uses = 0

    def exec(self, cpu: FirstClass.Cpu, task: Task) -> None:
        super().exec(cpu, task)
        if self.exec_forgets:
            task.uses = 0

    def exit(self, cpu: FirstClass.Cpu, task: Task) -> None:
        if self.exit_forgets:
            super().exit(cpu, task)

    def signal(self, cpu: FirstClass.Cpu, task: Task) -> None:
        super().signal(cpu, task)
        if self.signal_counts:
            task.uses = min(MOST, task.uses + 1)

    def sigreturn(self, cpu: FirstClass.Cpu, task: Task) -> None:
        super().sigreturn(cpu, task)
        if self.sigreturn_counts:
            task.uses = min(MOST, task.uses + 1)

    def kernel_neon_begin(self, cpu: FirstClass.Cpu, task: Task) -> None:
        if self.neon_saves:
            self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def cpu_pm_enter(self, cpu: FirstClass.Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        if self.pm_flushes:
            self.fpsimd_flush_cpu_state(cpu, task)

    # The hypervisor.

    def guest_enter(self, cpu: FirstClass.Cpu, task: Task, vcpu: Vcpu) -> None:
        if not self.resident(cpu, vcpu) and vcpu.uses >= self.guest_load_from and not vcpu.probing:
            vcpu.uses = max(0, vcpu.uses - self.guest_reload_takes)
            vcpu.probing = self.guest_is_probed and vcpu.uses < self.guest_load_from
            super().guest_fp_trap(cpu, task, vcpu)
        super().guest_enter(cpu, task, vcpu)

    def guest_fp_trap(self, cpu: FirstClass.Cpu, task: Task, vcpu: Vcpu) -> None:
        vcpu.uses = min(MOST, vcpu.uses + self.guest_trap_adds + self.guest_start)
        vcpu.probing = False
        if not self.trap_saves:
            cpu.unsaved = False
        super().guest_fp_trap(cpu, task, vcpu)

    def vcpu_put(self, cpu: FirstClass.Cpu, task: Task, vcpu: Vcpu) -> None:
        if cpu.last_state is not vcpu:
            vcpu.uses = max(0, vcpu.uses - self.guest_idle_takes)
        if self.put_saves:
            super().vcpu_put(cpu, task, vcpu)
        elif cpu.last_state is vcpu:
            task.foreign = True

    def vcpu_setreg(self, cpu: FirstClass.Cpu, task: Task, vcpu: Vcpu) -> None:
        super().vcpu_setreg(cpu, task, vcpu)
        if self.setreg_forgets:
            vcpu.uses = 0

    def vcpu_reset(self, cpu: FirstClass.Cpu, task: Task, vcpu: Vcpu) -> None:
        super().vcpu_reset(cpu, task, vcpu)
        if self.reset_forgets:
            vcpu.uses = 0
