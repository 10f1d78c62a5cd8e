"""The Linux arm64 host since v6.2: what form a state was saved in is recorded, and SVE stays enabled over system calls.

baa8515281b3 "Track the saved FPSIMD state type separately to TIF_SVE", deeb8f9a80fd "Have KVM explicitly say which FP
registers to save", 8c845e273104 "Leave SVE enabled on syscall if we don't context switch". SME as of v6.2
(8bd7f91c03d8, b42990d3bf77 in v5.19), with the fixes of e5fa85fce08b (FPMR after SVCR), 61da7c8e2a60 and c94f2f326146
(signal frames by saved form), ea8ccfddbce0 (storage at sigreturn), d2907cbe9ea0, a90878f297d3 (FPMR at exec) and
d3eaab3c7090 (a task preempted in its SME trap).
"""

from __future__ import annotations

from enum import Enum

from fpstate.policies.base import Policy, kernel_function, when
from fpstate.policies.host_deferred import DeferredHost, InPlaceHost


class Form(Enum):
    """What form an image was saved in last: FP_STATE_FPSIMD, FP_STATE_SVE."""

    FPSIMD = 0
    SVE = 1


class Saves(Enum):
    """What to save when the registers are given up: `cpu_fp_state.to_save`."""

    CURRENT = 0  # what TIF_SVE and the system call at hand say
    FPSIMD = 1
    SVE = 2


class FormHost(InPlaceHost):
    """What v6.2 and all later ones do; how they know that a system call lets SVE go is left to `note_syscall`."""

    supports = frozenset({"sve", "sme", "fpmr", "nvhe"})

    class Cpu(DeferredHost.Cpu):
        to_save: Saves = when("sve", Saves.CURRENT)

    class Task(DeferredHost.Task):
        fp_type: Form = when("sve", Form.FPSIMD)
        tif_sme: bool = when("sme", False)  # TIF_SME: SME is enabled
        svcr_sm: bool = when("sme", False)  # thread.svcr
        svcr_za: bool = when("sme", False)

    @kernel_function
    def fpsimd_save(self, cpu: Cpu, task: Task) -> None:
        if not task.foreign:
            self.save_last_state(cpu, task)

    def save_last_state(self, cpu: Cpu, task: Task) -> None:
        """Save to whatever `last_state` names, in the form that `to_save` says."""
        if self.fpmr:
            cpu.save_part("fpmr", cpu.last_state)
        whole = self.saves_current(cpu, task) if cpu.to_save is Saves.CURRENT else cpu.to_save is Saves.SVE
        if self.sme and cpu.last_state is task:
            task.svcr_sm, task.svcr_za = cpu.sm, cpu.za
        if self.guest_sme or (self.sme and cpu.last_state is task):
            if cpu.za:
                cpu.save_part("za", cpu.last_state)
            whole = whole or cpu.sm
        if whole:
            cpu.save_sve(cpu.last_state)
        else:
            cpu.save(cpu.last_state)
        if cpu.last_state is task:
            task.fp_type = Form.SVE if whole else Form.FPSIMD

    def saves_current(self, cpu: Cpu, task: Task) -> bool:
        """Tell whether SVE state of the current task is live that no system call lets go."""
        return task.tif_sve

    def note_syscall(self, cpu: Cpu, task: Task, inside: bool) -> None:
        """Note that `task` is in a system call, or no longer."""

    def fpsimd_flush_cpu_state(self, cpu: Cpu, task: Task) -> None:
        if self.sme:
            cpu.smstop()
        super().fpsimd_flush_cpu_state(cpu, task)

    @kernel_function
    def task_fpsimd_load(self, cpu: Cpu, task: Task) -> None:
        if task.fp_type is Form.FPSIMD:
            task.tif_sve = False  # stop tracking SVE for this task until its next use
        elif not task.svcr_sm:
            task.tif_sve = True
        if task.fp_type is Form.SVE and task.tif_sve:
            cpu.set_vl(task)
        if self.sme:
            cpu.set_svcr(task.svcr_sm, task.svcr_za)
            if task.svcr_za:
                cpu.load_part("za", task)
        if self.fpmr:
            cpu.load_part("fpmr", task)  # after SVCR: a change of mode resets it
        if task.fp_type is Form.SVE:
            cpu.load_sve(task)
        else:
            cpu.load(task)

    def fpsimd_bind_task_to_cpu(self, cpu: Cpu, task: Task) -> None:
        super().fpsimd_bind_task_to_cpu(cpu, task)
        if self.sve:
            cpu.to_save = Saves.CURRENT
        if self.sme:
            cpu.user_sme_trap = not task.tif_sme

    @kernel_function
    def fpsimd_bind_state_to_cpu(self, cpu: Cpu, vcpu: Policy.Vcpu) -> None:
        cpu.last_state = vcpu
        self.save_as_guest(cpu, vcpu)

    def save_as_guest(self, cpu: Cpu, vcpu: Policy.Vcpu) -> None:
        """Note in what form the registers of a guest are to be saved."""
        if self.sve:
            cpu.to_save = Saves.SVE if vcpu.has_sve else Saves.FPSIMD

    def sve_sync_to_fpsimd(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        if task.fp_type is Form.SVE:
            cpu.narrow(task)

    # Events.

    def syscall(self, cpu: Cpu, task: Task) -> None:
        if self.sve:
            if cpu.sm:  # fp_user_discard
                cpu.set_svcr(False, cpu.za)
            if task.tif_sve:
                cpu.zero_sve()
            self.note_syscall(cpu, task, inside=True)

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        if task.foreign:
            self.fpsimd_restore_current_state(cpu, task)
        if self.sve:
            self.note_syscall(cpu, task, inside=False)

    @kernel_function
    def do_sve_acc(self, cpu: Cpu, task: Task) -> None:
        if task.foreign:
            task.fp_type = Form.SVE
        super().do_sve_acc(cpu, task)

    def sme_trap(self, cpu: Cpu, task: Task) -> None:
        cpu.alloc_sve(task, flush=False)  # do_sme_acc
        cpu.alloc_za(task)
        if task.tif_sme:
            cpu.warn()
        task.tif_sme = True
        if task.foreign:
            self.fpsimd_flush_task_state(task)  # d3eaab3c7090
        else:
            self.fpsimd_bind_task_to_cpu(cpu, task)

    def fork(self, cpu: DeferredHost.Cpu, task: Task, child: Task) -> None:
        super().fork(cpu, task, child)
        child.fp_type = Form.FPSIMD
        child.svcr_sm = child.svcr_za = child.tif_sme = False

    def exec(self, cpu: Cpu, task: Task) -> None:
        super().exec(cpu, task)
        task.fp_type = Form.FPSIMD
        self.overwrite_fpmr(cpu, task)  # a90878f297d3
        if self.sme:
            task.tif_sme = task.svcr_sm = task.svcr_za = False
            cpu.free_za(task)

    def signal(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        self.sve_sync_to_fpsimd(cpu, task)
        if task.fp_type is Form.SVE:
            cpu.frame_sve(task)
        if self.sme:
            self.enter_signal_handler(cpu, task)

    def enter_signal_handler(self, cpu: Cpu, task: Task) -> None:
        """Leave streaming mode and ZA, in the task's own registers ("Avoid corruption of SME state", 2024)."""
        if task.svcr_sm or task.svcr_za:
            if task.foreign:
                self.fpsimd_restore_current_state(cpu, task)
            if task.svcr_sm:
                task.fp_type = Form.FPSIMD
            task.svcr_sm = task.svcr_za = False
            cpu.smstop()

    def sigreturn(self, cpu: Cpu, task: Task) -> None:
        self.forget(cpu, task)
        task.fp_type = Form.FPSIMD
        self.overwrite_fpmr(cpu, task)
        super().sigreturn(cpu, task)

    def sigreturn_sve(self, cpu: Cpu, task: Task) -> None:
        self.forget(cpu, task)
        task.fp_type = Form.SVE
        self.overwrite_fpmr(cpu, task)
        super().sigreturn_sve(cpu, task)

    def sigreturn_za(self, cpu: Cpu, task: Task) -> None:
        cpu.alloc_sve(task, flush=False)
        cpu.alloc_za(task)
        cpu.overwrite_part("za", task)
        self.forget(cpu, task)
        task.tif_sme = task.svcr_za = True
        task.fp_type = Form.FPSIMD
        self.overwrite_fpmr(cpu, task)
        super().sigreturn(cpu, task)

    def forget(self, cpu: Cpu, task: Task) -> None:
        task.svcr_sm = task.svcr_za = False

    def overwrite_fpmr(self, cpu: Cpu, task: Task) -> None:
        if self.fpmr:
            cpu.overwrite_part("fpmr", task)

    def ptrace_write(self, cpu: DeferredHost.Cpu, task: Task, tracee: Task) -> None:
        self.sve_sync_to_fpsimd(cpu, tracee)
        cpu.edit(tracee)
        if self.has_sve_form(tracee):
            cpu.widen(tracee)
        self.fpsimd_flush_task_state(tracee)

    def has_sve_form(self, task: Task) -> bool:
        """Tell whether a change of the FPSIMD form goes to the SVE form, too (sve_sync_from_fpsimd_zeropad)."""
        return task.tif_sve or task.svcr_sm

    def ptrace_sve(self, cpu: DeferredHost.Cpu, task: Task, tracee: Task) -> None:
        tracee.fp_type = Form.SVE
        super().ptrace_sve(cpu, task, tracee)

    def ptrace_streaming(self, cpu: DeferredHost.Cpu, task: Task, tracee: Task) -> None:
        cpu.alloc_sve(tracee)
        if not tracee.tif_sme:
            cpu.alloc_za(tracee)
        if self.zeroes_v:
            cpu.new_place(tracee)
        cpu.overwrite_sve(tracee)
        tracee.tif_sme = tracee.svcr_sm = True
        tracee.fp_type = Form.SVE
        self.fpsimd_flush_task_state(tracee)

    def ptrace_za(self, cpu: DeferredHost.Cpu, task: Task, tracee: Task) -> None:
        if not tracee.tif_sme:
            cpu.alloc_sve(tracee, flush=False)  # it may enter streaming mode without a trap from now on
            cpu.alloc_za(tracee)
        cpu.overwrite_part("za", tracee)
        tracee.tif_sme = tracee.svcr_za = True
        self.fpsimd_flush_task_state(tracee)

    def vl_change(self, cpu: Cpu, task: Task) -> None:
        super().vl_change(cpu, task)
        task.fp_type = Form.FPSIMD
        cpu.alloc_sve(task)  # "Ensure SME storage is allocated after SVE VL changes", whether there is SME or not


class FormatHost(FormHost):
    """v6.2 to v6.15. `in_syscall` stands for in_syscall(current_pt_regs()), which a child has from its parent."""

    class Task(FormHost.Task):
        in_syscall: bool = when("sve", True)

    def saves_current(self, cpu: FormHost.Cpu, task: Task) -> bool:
        return task.tif_sve and not task.in_syscall

    def note_syscall(self, cpu: FormHost.Cpu, task: Task, inside: bool) -> None:
        task.in_syscall = inside

    def forget(self, cpu: FormHost.Cpu, task: Task) -> None:
        super().forget(cpu, task)
        if self.sve:
            task.in_syscall = False  # forget_syscall
