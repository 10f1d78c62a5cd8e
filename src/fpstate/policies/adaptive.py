"""adaptive, adaptive-wiped: first-class residency that learns who uses FP, and loads his state before he asks.

A trap costs as much as many loads, and a load that was not needed moves the registers twice. So whoever is taken for a
user is loaded on the way in, without a trap, and whoever is not runs behind one. Only the trap shows a use: what is
loaded in advance is not seen to be used, so a vCPU is probed now and then, by a trap.
"""

from __future__ import annotations

from typing import ClassVar

from fpstate.policies.base import bounded, kernel_function, when
from fpstate.policies.first_class import FirstClass
from fpstate.policies.host_format import FormatHost

# What `load_fp` of a vCPU counts down: loads in advance, then the probe.
IDLE = 0  # armed until its next use
PROBED = 1  # armed for this stay, to see whether it still uses FP
PROBE = 2  # the next time it is not live it is probed
MOST = 31


class Adaptive(FirstClass):
    """Clean residency, no interrupts to other CPUs; tasks, vCPUs and tasks' SVE are loaded early if used lately."""

    name = "adaptive"
    source = "this project; `load_fp` is the word of arch/powerpc (restore_math), where it counts uses by tasks"
    supports = frozenset({"sve", "guest-sve", "aarch32", "nvhe", "barriers"})
    first: ClassVar[int] = 3
    """`load_fp` after a trap that no probe has asked for."""
    most: ClassVar[int] = MOST
    """`load_fp` after a probe that found a use."""

    class Task(FormatHost.Task):
        load_fp: bool = False  # it has used FP since exec, or its parent had at fork
        load_sve: bool = when("sve", False)  # the same with SVE, and its storage is there

    class Vcpu(FirstClass.Vcpu):
        load_fp: int = bounded(IDLE, MOST)

    # What is learned.

    def task_uses_fp(self, cpu: FirstClass.Cpu, task: Task) -> bool:
        return task.load_fp

    def task_uses_sve(self, cpu: FirstClass.Cpu, task: Task) -> bool:
        return task.load_sve

    def note_use(self, task: Task) -> None:
        task.load_fp = True

    def vcpu_uses_fp(self, cpu: FirstClass.Cpu, vcpu: Vcpu) -> bool:
        if vcpu.load_fp >= PROBE:
            vcpu.load_fp -= 1
        return vcpu.load_fp >= PROBE

    def note_guest_use(self, vcpu: Vcpu) -> None:
        vcpu.load_fp = self.most if vcpu.load_fp == PROBED else self.first

    def run_behind_trap(self, cpu: FirstClass.Cpu, task: FormatHost.Task, x: FormatHost.Task | Vcpu) -> None:
        """Do what is to be done before `x` runs with another's registers."""

    # The host.

    def ret_to_user(self, cpu: FirstClass.Cpu, task: Task) -> None:
        if not task.foreign or self.task_uses_fp(cpu, task):
            cpu.user_fp_trap = False
            if task.foreign:  # its state is loaded behind the trap that was
                cpu.isb()
            super().ret_to_user(cpu, task)
            return
        cpu.user_fp_trap = True
        self.run_behind_trap(cpu, task, task)
        if self.sve:
            cpu.user_sve_trap = True  # in the same register
            task.in_syscall = False

    def user_fp_trap(self, cpu: FirstClass.Cpu, task: Task) -> None:
        cpu.user_fp_trap = False
        cpu.isb()
        self.note_use(task)
        super().ret_to_user(cpu, task)

    def syscall(self, cpu: FirstClass.Cpu, task: Task) -> None:
        if not task.foreign:
            super().syscall(cpu, task)
        elif self.sve:  # it ran behind the trap: no registers of its own to discard
            task.in_syscall = True

    @kernel_function
    def task_fpsimd_load(self, cpu: FirstClass.Cpu, task: Task) -> None:
        super().task_fpsimd_load(cpu, task)
        if self.task_uses_sve(cpu, task) and not task.tif_sve:  # as its SVE trap would do
            cpu.set_vl(task)
            cpu.zero_sve()
            task.tif_sve = cpu.unsaved = True

    def sve_trap(self, cpu: FirstClass.Cpu, task: Task) -> None:
        task.load_sve = True
        super().sve_trap(cpu, task)

    def exec(self, cpu: FirstClass.Cpu, task: Task) -> None:
        super().exec(cpu, task)
        task.load_fp = task.load_sve = False

    def fork(self, cpu: FirstClass.Cpu, task: FormatHost.Task, child: Task) -> None:
        super().fork(cpu, task, child)
        child.load_sve = False  # it has no storage

    def vl_change(self, cpu: FirstClass.Cpu, task: Task) -> None:
        super().vl_change(cpu, task)
        task.load_sve = False

    # The hypervisor.

    def guest_enter(self, cpu: FirstClass.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if not self.resident(cpu, vcpu):
            if self.vcpu_uses_fp(cpu, vcpu):
                super().guest_fp_trap(cpu, task, vcpu)
            else:
                self.run_behind_trap(cpu, task, vcpu)
        super().guest_enter(cpu, task, vcpu)

    def guest_fp_trap(self, cpu: FirstClass.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.note_guest_use(vcpu)
        super().guest_fp_trap(cpu, task, vcpu)

    def vcpu_put(self, cpu: FirstClass.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if vcpu.load_fp == PROBED:
            vcpu.load_fp = IDLE
        super().vcpu_put(cpu, task, vcpu)


class AdaptiveWiped(Adaptive):
    """adaptive without transient exposure: whoever runs behind a trap finds zeros there."""

    name = "adaptive-wiped"
    gives_up = ("timing",)
    supports = frozenset({"aarch32", "nvhe", "barriers"})

    class Cpu(FirstClass.Cpu):
        wiped: bool = False  # the registers hold zeros

    def run_behind_trap(self, cpu: Cpu, task: FormatHost.Task, x: FormatHost.Task | Adaptive.Vcpu) -> None:
        if not cpu.wiped:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
            cpu.clear(x)
            cpu.wiped = True

    def fpsimd_flush_cpu_state(self, cpu: Cpu, task: FormatHost.Task) -> None:  # kernel NEON follows, or PM
        super().fpsimd_flush_cpu_state(cpu, task)
        cpu.wiped = False

    @kernel_function
    def task_fpsimd_load(self, cpu: Cpu, task: Adaptive.Task) -> None:
        cpu.wiped = False
        super().task_fpsimd_load(cpu, task)

    def load_guest(self, cpu: Cpu, vcpu: Adaptive.Vcpu) -> None:
        cpu.wiped = False
        super().load_guest(cpu, vcpu)

    def cpu_down(self, cpu: Cpu) -> None:
        super().cpu_down(cpu)
        cpu.wiped = False
