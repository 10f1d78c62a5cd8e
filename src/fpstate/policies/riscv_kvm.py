"""riscv-kvm: host and guest are swapped at vcpu_load and vcpu_put, whether anyone uses FP or not."""

from __future__ import annotations

from fpstate.policies.base import Policy


class RiscvHost(Policy):
    """The RISC-V host: a thread is saved if it may have written since the last save, and loaded at each switch.

    Hardware says "may have written" (sstatus.FS = Dirty) at the first write. This world shows no such bit to kernel
    code, so here `dirty` is set on the way to user mode, and guests always write: saves are an upper bound.
    """

    class Task(Policy.Task):
        mm: bool = True
        dirty: bool = False

    def fstate_save(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.dirty:
            cpu.save(task)
            task.dirty = False

    # Events.

    def ret_to_user(self, cpu: Policy.Cpu, task: Task) -> None:
        task.dirty = True

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        self.fstate_save(cpu, task)  # __switch_to_fpu
        if next.mm:
            cpu.load(next)

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: Task) -> None:
        self.fstate_save(cpu, task)

    def kernel_neon_end(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.mm:
            cpu.load(task)

    def fork(self, cpu: Policy.Cpu, task: Task, child: Task) -> None:
        self.fstate_save(cpu, task)
        child.dirty = False

    def exec(self, cpu: Policy.Cpu, task: Task) -> None:
        task.dirty = False
        cpu.overwrite(task)
        cpu.load(task)

    def signal(self, cpu: Policy.Cpu, task: Task) -> None:
        self.fstate_save(cpu, task)

    def sigreturn(self, cpu: Policy.Cpu, task: Task) -> None:
        task.dirty = False
        cpu.overwrite(task)
        cpu.load(task)

    def ptrace_write(self, cpu: Policy.Cpu, task: Task, tracee: Task) -> None:
        cpu.edit(tracee)


class RiscvKvm(RiscvHost):
    """Linux on RISC-V: the registers are the guest's from vcpu_load to vcpu_put; the host is parked in between.

    Kernel-mode use between guest runs is taken to put back whatever it found; whether Linux always does that for a
    loaded guest was not checked.
    """

    name = "riscv-kvm"
    source = "arch/riscv/kvm/vcpu_fp.c, since v5.16"

    def vcpu_load(self, cpu: Policy.Cpu, task: RiscvHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.stash_host()  # kvm_riscv_vcpu_host_fp_save, to host_context
        cpu.load(vcpu)

    def vcpu_put(self, cpu: Policy.Cpu, task: RiscvHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)
        cpu.load_stash()  # kvm_riscv_vcpu_host_fp_restore

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: RiscvHost.Task) -> None:
        if task.mm:
            cpu.save(task)
            task.dirty = True  # what was saved may be the guest's

    def vcpu_setreg(self, cpu: Policy.Cpu, task: RiscvHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Policy.Cpu, task: RiscvHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)
