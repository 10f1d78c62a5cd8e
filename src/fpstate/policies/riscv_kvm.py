"""RISC-V: host and guest are swapped at vcpu_load and vcpu_put, and since 2026 at guest entry if need be."""

from __future__ import annotations

from fpstate.policies.base import Context, Policy


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


class RiscvVectorHost(Policy):
    """The RISC-V host for vector registers, since v6.8: what was given up is loaded on the way to user mode.

    A system call discards them; what KVM_RUN finds is saved here at its beginning instead, so that nothing is lost.
    """

    class Task(Policy.Task):
        mm: bool = True
        dirty: bool = False  # sstatus.VS of user mode
        restore: bool = True  # TIF_RISCV_V_DEFER_RESTORE

    def vstate_save(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.dirty:
            cpu.save(task)
            task.dirty = False

    # Events.

    def ret_to_user(self, cpu: Policy.Cpu, task: Task) -> None:
        if task.restore:
            cpu.load(task)
            task.restore = False
        task.dirty = True

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        self.vstate_save(cpu, task)
        next.restore = True

    def kernel_neon_begin(self, cpu: Policy.Cpu, task: Task) -> None:
        self.vstate_save(cpu, task)
        task.restore = True

    def fork(self, cpu: Policy.Cpu, task: Task, child: Task) -> None:
        self.vstate_save(cpu, task)
        child.dirty = False
        child.restore = True

    def exec(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.overwrite(task)
        task.dirty = False
        task.restore = True

    def signal(self, cpu: Policy.Cpu, task: Task) -> None:
        self.vstate_save(cpu, task)

    def sigreturn(self, cpu: Policy.Cpu, task: Task) -> None:
        cpu.overwrite(task)
        task.dirty = False
        task.restore = True

    def ptrace_write(self, cpu: Policy.Cpu, task: Task, tracee: Task) -> None:
        cpu.edit(tracee)

    def cpu_pm_enter(self, cpu: Policy.Cpu, task: Task) -> None:
        self.kernel_neon_begin(cpu, task)


class RiscvKvm68(RiscvVectorHost):
    """The guest is loaded at vcpu_load; kernel code that uses vector after that destroys it."""

    name = "riscv-kvm-6.8"
    kernels = "Linux on RISC-V, v6.8 to 2026"
    source = "arch/riscv/kvm/vcpu_vector.c and kernel/kernel_mode_vector.c, v6.8, before b5060a4aa33d"

    def run_enter(self, cpu: Policy.Cpu, task: RiscvVectorHost.Task, vcpu: Policy.Vcpu) -> None:
        self.vstate_save(cpu, task)

    def vcpu_load(self, cpu: Policy.Cpu, task: RiscvVectorHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.stash_host()  # kvm_riscv_vcpu_host_vector_save, to host_context
        cpu.load(vcpu)

    def vcpu_put(self, cpu: Policy.Cpu, task: RiscvVectorHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)
        cpu.load_stash()  # kvm_riscv_vcpu_host_vector_restore

    def vcpu_setreg(self, cpu: Policy.Cpu, task: RiscvVectorHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Policy.Cpu, task: RiscvVectorHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)


class RiscvKvm(RiscvKvm68):
    """Loaded at entry, and saved by kernel code that uses vector."""

    name = "riscv-kvm"
    kernels = "Linux on RISC-V since b5060a4aa33d (2026)"
    source = "arch/riscv/kvm/vcpu_vector.c and kernel/kernel_mode_vector.c, b5060a4aa33d"

    class Cpu(Policy.Cpu):
        guest: Context | None = None  # RISCV_V_VCPU_CTX: the registers are those of the vCPU that runs here

    class Task(RiscvVectorHost.Task):
        need_guest: bool = False  # RISCV_V_VCPU_NEED_RESTORE

    def vcpu_load(self, cpu: Policy.Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.stash_host()
        task.need_guest = True

    def guest_enter(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        if task.need_guest:  # kvm_riscv_vcpu_flush_vector
            task.need_guest = False
            cpu.guest = vcpu
            cpu.load(vcpu)

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        if cpu.guest is not None:
            cpu.save(cpu.guest)
            cpu.guest = None
            task.need_guest = True
        else:
            super().kernel_neon_begin(cpu, task)

    def vcpu_put(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        if cpu.guest is vcpu:
            cpu.save(vcpu)
            cpu.guest = None
        task.need_guest = False
        cpu.load_stash()
