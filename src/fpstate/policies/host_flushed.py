"""The Linux arm64 host of 6.12.34, of v6.16 and of v6.19: the record is cleared before a section's state is loaded.

01098d893fa8 "Avoid clobbering kernel FPSIMD state with SMSTOP": clearing the record leaves streaming mode. 398edaa12f9c
"Do not discard modified SVE state": entering a system call says what is to be saved, until it is over or the state is
loaded anew. v6.16 (d3a181588df9, 929fa99b1215): whoever changes a task's state gives up the registers first, and
changes the image. v6.19: a section brings along where its state is to be saved.
"""

from __future__ import annotations

from fpstate.policies.base import kernel_function
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormHost, Saves
from fpstate.policies.host_preemptible import PreemptibleNeon


class FlushedHost(PreemptibleNeon):
    """The stable kernels 6.12.34 and later. A system call says in `to_save` what it lets go."""

    def resume_section(self, cpu: FormHost.Cpu, task: PreemptibleNeon.Task, next: PreemptibleNeon.Task) -> None:
        self.fpsimd_flush_cpu_state(cpu, task)
        cpu.load(next.kernel)  # always: the record that would spare it has just been cleared

    def note_syscall(self, cpu: FormHost.Cpu, task: FormHost.Task, inside: bool) -> None:
        cpu.to_save = Saves.FPSIMD if inside else Saves.CURRENT  # fpsimd_syscall_enter, fpsimd_syscall_exit


class StoredHost(FlushedHost):
    """v6.16 to v6.18: signals, sigreturn, fork and prctl give up the registers first; nothing is loaded in place."""

    zeroes_v = True

    def has_sve_form(self, task: FormHost.Task) -> bool:  # fpsimd_sync_to_effective_state_zeropad
        return task.fp_type is Form.SVE

    @kernel_function
    def fpsimd_save_and_flush_current_state(self, cpu: FormHost.Cpu, task: FormHost.Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_task_state(task)

    def fork(self, cpu: FormHost.Cpu, task: PreemptibleNeon.Task, child: PreemptibleNeon.Task) -> None:
        super().fork(cpu, task, child)
        self.fpsimd_flush_task_state(task)

    def signal(self, cpu: FormHost.Cpu, task: FormHost.Task) -> None:
        self.fpsimd_save_and_flush_current_state(cpu, task)
        self.sve_sync_to_fpsimd(cpu, task)
        if task.fp_type is Form.SVE:
            cpu.frame_sve(task)
        if task.svcr_sm:  # task_smstop_sm
            cpu.smstop_sm(task)
            task.fp_type = Form.FPSIMD
        task.svcr_sm = task.svcr_za = False

    def sigreturn(self, cpu: FormHost.Cpu, task: FormHost.Task) -> None:
        self.fpsimd_save_and_flush_current_state(cpu, task)
        super().sigreturn(cpu, task)

    def sigreturn_sve(self, cpu: FormHost.Cpu, task: FormHost.Task) -> None:
        self.fpsimd_save_and_flush_current_state(cpu, task)
        super().sigreturn_sve(cpu, task)

    def sigreturn_za(self, cpu: FormHost.Cpu, task: FormHost.Task) -> None:
        self.fpsimd_save_and_flush_current_state(cpu, task)
        super().sigreturn_za(cpu, task)

    def fpsimd_update_current_state(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        """Load nothing: the way back to user mode will."""

    def vl_change(self, cpu: FormHost.Cpu, task: FormHost.Task) -> None:
        self.fpsimd_save_and_flush_current_state(cpu, task)  # change_live_vector_length
        self.sve_sync_to_fpsimd(cpu, task)
        cpu.alloc_sve(task)
        if task.fp_type is Form.SVE:
            cpu.widen(task)


class BufferedHost(StoredHost):
    """v6.19 and later: a section brings the buffer its state is saved to; a softirq inside one brings its own.

    `task.kernel` stands for either: a softirq is over before its section can be switched out.
    """

    class Task(PreemptibleNeon.Task):
        kernel_fpsimd_state: bool = False  # the buffer of its section; false: NULL

    def fpsimd_flush_task_state(self, task: DeferredHost.Task) -> None:
        task.kernel_fpsimd_state = False  # type: ignore[attr-defined]
        super().fpsimd_flush_task_state(task)

    def fpsimd_save_kernel_state(self, cpu: FormHost.Cpu, task: Task) -> None:
        if not task.kernel_fpsimd_state:
            cpu.save(None)  # BUG_ON
        super().fpsimd_save_kernel_state(cpu, task)

    def kernel_neon_begin(self, cpu: FormHost.Cpu, task: Task) -> None:
        super().kernel_neon_begin(cpu, task)
        if task.kernel_fpsimd_state:
            cpu.warn()
        task.kernel_fpsimd_state = True

    def kernel_neon_end(self, cpu: FormHost.Cpu, task: Task) -> None:
        super().kernel_neon_end(cpu, task)
        if not task.kernel_fpsimd_state:
            cpu.warn()
        task.kernel_fpsimd_state = False

    def softirq_neon_begin(self, cpu: FormHost.Cpu, task: PreemptibleNeon.Task) -> None:
        if task.kernel_fpstate:
            cpu.save(task.kernel)
        else:
            self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def fpsimd_load_kernel_state(self, cpu: FormHost.Cpu, task: PreemptibleNeon.Task) -> None:
        cpu.load(task.kernel)
