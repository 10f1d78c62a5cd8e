"""Zircon (Fuchsia) on arm64: a thread's first eight loads wait for its first use, all later ones do not."""

from __future__ import annotations

from typing import ClassVar

from fpstate.policies.base import Policy, bounded

LAZY = 8  # use_lazy_fpu_restore(): "selected by measuring", on one workload


class Zircon(Policy):
    """A counter that never falls back: who has used FP in eight turns is loaded eagerly for good. No owner, no elision.

    Its hypervisor swaps at the guest's first use after each entry, at EL2, which CPACR_EL1 does not stop. Zircon has
    no fork, exec or signals, and no FP in the kernel: these do as suspending and resuming a thread does.
    """

    name = "zircon"
    kernels = "Zircon on arm64"
    source = "fuchsia: zircon/kernel/arch/arm64/fpu.cc, 288a902d4708; hypervisor/el2.S, 135f3f1d0d84"
    gives_up = ("transient exposure",)

    lazy: ClassVar[int] = LAZY

    class Cpu(Policy.Cpu):
        user_fp_trap: bool = True  # CPACR_EL1.FPEN

    class Task(Policy.Task):
        restores: int = bounded(0, LAZY)  # fp_restore_count

    def arm64_fpu_save_state(self, cpu: Cpu, task: Task) -> None:
        if not cpu.user_fp_trap:
            cpu.save(task)

    def arm64_fpu_restore_state(self, cpu: Cpu, task: Task) -> None:
        cpu.user_fp_trap = task.restores < self.lazy
        if not cpu.user_fp_trap:
            cpu.isb()
            cpu.load(task)

    # Events.

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        self.arm64_fpu_save_state(cpu, task)
        self.arm64_fpu_restore_state(cpu, next)

    def user_fp_trap(self, cpu: Cpu, task: Task) -> None:  # arm64_fpu_exception
        cpu.user_fp_trap = False
        cpu.isb()
        if task.restores < LAZY:  # always, since it traps only so long
            task.restores += 1
        cpu.load(task)

    def fork(self, cpu: Cpu, task: Task, child: Task) -> None:
        self.arm64_fpu_save_state(cpu, task)
        child.restores = 0

    def exec(self, cpu: Cpu, task: Task) -> None:
        cpu.overwrite(task)
        self.arm64_fpu_restore_state(cpu, task)

    def signal(self, cpu: Cpu, task: Task) -> None:
        self.arm64_fpu_save_state(cpu, task)

    def sigreturn(self, cpu: Cpu, task: Task) -> None:
        cpu.overwrite(task)
        self.arm64_fpu_restore_state(cpu, task)

    def ptrace_write(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        cpu.edit(tracee)

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        self.arm64_fpu_save_state(cpu, task)

    def kernel_neon_end(self, cpu: Cpu, task: Task) -> None:
        self.arm64_fpu_restore_state(cpu, task)

    # The hypervisor.

    def guest_enter(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:  # el2_hvc_resume
        cpu.guest_fp_trap = True

    def guest_fp_trap(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:  # el2_fp_resume
        cpu.guest_fp_trap = False
        cpu.isb()
        cpu.stash_host()
        cpu.load(vcpu)

    def guest_exit(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:  # el2_guest_exit
        if not cpu.guest_fp_trap:
            cpu.save(vcpu)
            cpu.load_stash()

    def vcpu_setreg(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)
