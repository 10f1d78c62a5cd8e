"""Zephyr on arm64: the registers stay their last user's, on whatever CPU; who wants his back interrupts that CPU."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_lazy import LazyHost


class Zephyr(LazyHost):
    """Dirty residency as in first-class-dirty, for threads; code in an exception uses FP without a place for it.

    An exception that uses FP saves the owner and keeps interrupts out until it is over. That it is not counted where
    it only stores argument registers (va_start), which the trap handler carries out itself, cannot be said here: such
    a use moves nothing. Zephyr has no fork, exec, signals or guests. The first three do as arch_float_disable()
    does; a guest's run is taken for an exception that uses FP.
    """

    name = "zephyr"
    kernels = "Zephyr on arm64"
    source = "zephyr: arch/arm64/core/fpu.c, 0485c1a275b9"
    gives_up = ("transient exposure", "timing")

    class Task(Policy.Task):
        live_on: Policy.Cpu | None = None  # the CPU whose fpu_owner it is; the kernel looks at all of them

    def arch_flush_local_fpu(self, cpu: LazyHost.Cpu) -> None:
        if cpu.owner is not None:
            self.save_owner(cpu)
            cpu.owner = None
            cpu.user_fp_trap = True

    def flush_owned_fpu(self, cpu: LazyHost.Cpu, thread: Task) -> None:
        if cpu.owner is thread:
            self.arch_flush_local_fpu(cpu)
        else:
            cpu.fetch(thread, look=True)

    # Events.

    def thread_switch(self, cpu: LazyHost.Cpu, task: Task, next: Task) -> None:
        cpu.user_fp_trap = cpu.owner is not next

    def user_fp_trap(self, cpu: LazyHost.Cpu, task: Task) -> None:
        self.arch_flush_local_fpu(cpu)
        self.lift_trap(cpu)
        cpu.fetch(task, look=True)
        cpu.owner = task
        task.live_on = cpu
        cpu.load(task)

    def kernel_neon_begin(self, cpu: LazyHost.Cpu, task: Policy.Task) -> None:
        self.arch_flush_local_fpu(cpu)

    def fork(self, cpu: LazyHost.Cpu, task: Task, child: Task) -> None:
        self.flush_owned_fpu(cpu, task)
        child.live_on = None

    def exec(self, cpu: LazyHost.Cpu, task: Task) -> None:
        self.flush_owned_fpu(cpu, task)
        cpu.overwrite(task)

    def exit(self, cpu: LazyHost.Cpu, task: Task) -> None:
        self.flush_owned_fpu(cpu, task)

    def signal(self, cpu: LazyHost.Cpu, task: Task) -> None:
        self.flush_owned_fpu(cpu, task)

    def sigreturn(self, cpu: LazyHost.Cpu, task: Task) -> None:
        self.flush_owned_fpu(cpu, task)
        cpu.overwrite(task)

    def ptrace_write(self, cpu: LazyHost.Cpu, task: Task, tracee: Task) -> None:
        self.flush_owned_fpu(cpu, tracee)
        cpu.edit(tracee)

    def cpu_pm_enter(self, cpu: LazyHost.Cpu, task: Policy.Task) -> None:
        self.arch_flush_local_fpu(cpu)

    def cpu_down(self, cpu: LazyHost.Cpu) -> None:
        self.arch_flush_local_fpu(cpu)

    # Guests.

    def guest_enter(self, cpu: LazyHost.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        self.arch_flush_local_fpu(cpu)
        self.lift_trap(cpu)
        cpu.load(vcpu)

    def guest_exit(self, cpu: LazyHost.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)
        cpu.user_fp_trap = True

    def vcpu_setreg(self, cpu: LazyHost.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: LazyHost.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)
