"""first-class-dirty: nothing is saved until somebody else needs the registers, wherever that is."""

from __future__ import annotations

from fpstate.policies.base import kernel_function
from fpstate.policies.first_class import FirstClass
from fpstate.policies.host_format import Form, FormatHost, Saves

Cpu = FirstClass.Cpu
Task = FormatHost.Task
Vcpu = FirstClass.Vcpu


class FirstClassDirty(FirstClass):
    """Dirty residency: a switch and vcpu_put do nothing; whoever needs a state live elsewhere interrupts that CPU.

    NetBSD's pcu(9) is the one kernel facility that leaves state dirty on another CPU like this. With SVE, who leaves
    says in what form he is to be saved; streaming mode and ZA are never left behind.
    """

    name = "first-class-dirty"
    source = "review of [PATCH v3 09/41], Dave Martin, 22 January 2018, taken to its end; no kernel does it"

    @kernel_function
    def fpsimd_save(self, cpu: Cpu, task: Task) -> None:
        self.bring_home(cpu, task, task, task.fp_type is Form.SVE)

    def bring_home(self, cpu: Cpu, task: Task, x: Task | Vcpu, wide: bool) -> None:
        """Bring the image of `x` up to date, whether it is live here or on another CPU."""
        if self.resident(cpu, x):
            self.give_up(cpu, task)
        else:
            self.fetch(cpu, x, wide)

    def fetch(self, cpu: Cpu, x: Task | Vcpu, wide: bool) -> None:
        if wide:
            cpu.fetch_sve(x)
        else:
            cpu.fetch(x)

    def give_up(self, cpu: Cpu, task: Task) -> None:
        """Save whoever is live here."""
        if cpu.unsaved and cpu.last_state is not None:  # an interrupt from another CPU may have taken what was here
            self.save_last_state(cpu, task)
        self.note_saved(cpu)

    def disown(self, cpu: Cpu, x: Task | Vcpu) -> None:
        """Let no CPU hold `x`, whose state is about to be replaced."""
        if self.resident(cpu, x):
            cpu.last_state = None
            self.note_saved(cpu)
        else:
            self.fetch(cpu, x, wide=False)

    @kernel_function
    def fpsimd_save_and_flush_cpu_state(self, cpu: Cpu, task: Task) -> None:
        self.give_up(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    @kernel_function
    def task_fpsimd_load(self, cpu: Cpu, task: Task) -> None:
        self.give_up(cpu, task)
        self.fpsimd_save(cpu, task)
        super().task_fpsimd_load(cpu, task)

    def load_guest(self, cpu: Cpu, vcpu: Vcpu) -> None:
        self.fetch(cpu, vcpu, vcpu.has_sve)
        super().load_guest(cpu, vcpu)

    # The host.

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        if not task.foreign and (cpu.sm or cpu.za):
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        elif not task.foreign and cpu.unsaved:  # else the image is right as it is
            task.fp_type = Form.SVE if task.tif_sve and not task.in_syscall else Form.FPSIMD
            task.svcr_sm = task.svcr_za = False
            if self.sve:
                cpu.to_save = Saves.SVE if task.fp_type is Form.SVE else Saves.FPSIMD
            if self.fpmr:
                cpu.save_part("fpmr", task)
        next.foreign = not self.resident(cpu, next)

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save_and_flush_cpu_state(cpu, task)

    def exec(self, cpu: Cpu, task: Task) -> None:
        self.disown(cpu, task)
        super().exec(cpu, task)

    def exit(self, cpu: Cpu, task: Task) -> None:
        self.disown(cpu, task)
        super().exit(cpu, task)

    def sigreturn(self, cpu: Cpu, task: Task) -> None:
        self.disown(cpu, task)
        super().sigreturn(cpu, task)

    def sigreturn_sve(self, cpu: Cpu, task: Task) -> None:
        self.disown(cpu, task)
        super().sigreturn_sve(cpu, task)

    def sigreturn_za(self, cpu: Cpu, task: Task) -> None:
        self.disown(cpu, task)
        super().sigreturn_za(cpu, task)

    def ptrace_write(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        self.fpsimd_save(cpu, tracee)
        super().ptrace_write(cpu, task, tracee)

    def ptrace_sve(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        self.fpsimd_save(cpu, tracee)
        super().ptrace_sve(cpu, task, tracee)

    def ptrace_streaming(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        self.fpsimd_save(cpu, tracee)
        super().ptrace_streaming(cpu, task, tracee)

    def ptrace_za(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        self.fpsimd_save(cpu, tracee)
        super().ptrace_za(cpu, task, tracee)

    def cpu_down(self, cpu: Cpu) -> None:
        if cpu.unsaved and cpu.last_state is not None:
            if cpu.to_save is Saves.SVE:
                cpu.save_sve(cpu.last_state)
            else:
                cpu.save(cpu.last_state)
        super().cpu_down(cpu)

    # The hypervisor.

    def guest_exit(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        super().guest_exit(cpu, task, vcpu)
        if self.fpmr and self.resident(cpu, vcpu):
            cpu.save_part("fpmr", vcpu)

    def vcpu_put(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        if cpu.last_state is vcpu:
            task.foreign = True

    def vcpu_setreg(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        self.bring_home(cpu, task, vcpu, vcpu.has_sve)
        super().vcpu_setreg(cpu, task, vcpu)

    def vcpu_reset(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        self.disown(cpu, vcpu)
        super().vcpu_reset(cpu, task, vcpu)

    def vcpu_free(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        self.disown(cpu, vcpu)
