"""The Linux arm64 host since v3.15: a task's registers are reloaded only on its way back to user mode.

TIF_FOREIGN_FPSTATE says that the registers do not hold current's state. `fpsimd_last_state` (per CPU) and
`thread.fpsimd_cpu` (per task) name each other as long as the registers of that CPU still hold that task's state.
Origin: 005f78cd8849 "arm64: defer reloading a task's FPSIMD state to userland resume" (Ard Biesheuvel, 2014).
SVE (v4.15, bc0ee4760364 and others): TIF_SVE says that a task's state is in SVE form; system calls drop it.
"""

from __future__ import annotations

from fpstate.policies.base import Context, Policy, kernel_function, when


class DeferredHost(Policy):
    """v3.15 to v4.17: saves go to the current task's own image."""

    supports = frozenset({"sve", "nvhe"})
    zeroes_v = False  # what a debugger writes in SVE form goes with zeros in the FPSIMD form (since v6.16)

    class Cpu(Policy.Cpu):
        last_state: Context | None = None  # fpsimd_last_state

    class Task(Policy.Task):
        foreign: bool = True  # TIF_FOREIGN_FPSTATE
        fpsimd_cpu: Policy.Cpu | None = None
        tif_sve: bool = when("sve", False)  # TIF_SVE: SVE is enabled, and the state is in SVE form

    @kernel_function
    def fpsimd_save(self, cpu: Cpu, task: Task) -> None:
        if not task.foreign:
            if task.tif_sve:
                cpu.save_sve(task)
            else:
                cpu.save(task)

    def fpsimd_flush_cpu_state(self, cpu: Cpu, task: Task) -> None:
        cpu.last_state = None
        task.foreign = True

    @kernel_function
    def fpsimd_save_and_flush_cpu_state(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def fpsimd_flush_task_state(self, task: Task) -> None:
        task.fpsimd_cpu = None
        task.foreign = True

    @kernel_function
    def task_fpsimd_load(self, cpu: Cpu, task: Task) -> None:
        if task.tif_sve:
            cpu.set_vl(task)
            cpu.load_sve(task)
        else:
            cpu.load(task)

    def fpsimd_bind_task_to_cpu(self, cpu: Cpu, task: Task) -> None:
        cpu.last_state = task
        task.fpsimd_cpu = cpu
        task.foreign = False
        if self.sve:
            cpu.user_sve_trap = not task.tif_sve

    @kernel_function
    def fpsimd_restore_current_state(self, cpu: Cpu, task: Task) -> None:
        self.task_fpsimd_load(cpu, task)
        self.fpsimd_bind_task_to_cpu(cpu, task)

    def fpsimd_update_current_state(self, cpu: Cpu, task: Task) -> None:
        self.task_fpsimd_load(cpu, task)
        self.fpsimd_bind_task_to_cpu(cpu, task)

    def sve_sync_to_fpsimd(self, cpu: Cpu, task: Task) -> None:
        if task.tif_sve:
            cpu.narrow(task)

    # Events.

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        self.fpsimd_save(cpu, task)
        next.foreign = cpu.last_state is not next or next.fpsimd_cpu is not cpu

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        if task.foreign:
            self.fpsimd_restore_current_state(cpu, task)

    def syscall(self, cpu: Cpu, task: Task) -> None:
        if task.tif_sve:  # sve_user_discard
            task.tif_sve = False
            cpu.user_sve_trap = True

    def sve_trap(self, cpu: Cpu, task: Task) -> None:
        self.do_sve_acc(cpu, task)

    @kernel_function
    def do_sve_acc(self, cpu: Cpu, task: Task) -> None:
        cpu.alloc_sve(task)
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_task_state(task)  # the way back to user mode reloads
        cpu.widen(task)
        if task.tif_sve:
            cpu.warn()
        task.tif_sve = True

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_cpu_state(cpu, task)

    def fork(self, cpu: Cpu, task: Task, child: Task) -> None:
        self.fpsimd_save(cpu, task)
        if self.sve:
            self.sve_sync_to_fpsimd(cpu, task)  # "Consistently preserve FPSIMD state during clone()", 2025
        self.fpsimd_flush_task_state(child)
        child.tif_sve = False

    def exec(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_flush_task_state(task)
        cpu.overwrite(task)
        if self.sve:
            task.tif_sve = False
            cpu.free_sve(task)

    def signal(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        if task.tif_sve:
            self.sve_sync_to_fpsimd(cpu, task)
            cpu.frame_sve(task)

    def sigreturn(self, cpu: Cpu, task: Task) -> None:
        cpu.overwrite(task)
        task.tif_sve = False
        self.fpsimd_update_current_state(cpu, task)

    def sigreturn_sve(self, cpu: Cpu, task: Task) -> None:
        cpu.alloc_sve(task)
        cpu.overwrite_sve(task)
        cpu.overwrite(task)
        task.tif_sve = True
        self.fpsimd_update_current_state(cpu, task)

    def ptrace_write(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        self.sve_sync_to_fpsimd(cpu, tracee)
        cpu.edit(tracee)
        if tracee.tif_sve:
            cpu.widen(tracee)  # sve_sync_from_fpsimd_zeropad
        self.fpsimd_flush_task_state(tracee)

    def ptrace_sve(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        cpu.alloc_sve(tracee)
        if self.zeroes_v:
            cpu.new_place(tracee)
        cpu.overwrite_sve(tracee)
        tracee.tif_sve = True
        self.fpsimd_flush_task_state(tracee)

    def vl_change(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_task_state(task)
        self.sve_sync_to_fpsimd(cpu, task)
        task.tif_sve = False
        cpu.free_sve(task)

    def cpu_down(self, cpu: Cpu) -> None:
        cpu.last_state = None

    def cpu_pm_enter(self, cpu: Cpu, task: Task) -> None:
        self.fpsimd_save_and_flush_cpu_state(cpu, task)

    def vcpu_setreg(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        if vcpu.has_sve:
            cpu.edit_sve(vcpu)
        else:
            cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)
        if vcpu.has_sve:
            cpu.overwrite_sve(vcpu)
            cpu.overwrite_part("zcr", vcpu)
        if self.fpmr:
            cpu.overwrite_part("fpmr", vcpu)
        if self.aarch32:
            cpu.overwrite_part("fpexc", vcpu)


class BindableHost(DeferredHost):
    """v4.18 to v5.12 (e6b673b741ea): saves go to whatever `last_state` names, which may be a vCPU."""

    @kernel_function
    def fpsimd_save(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        if not task.foreign:
            if task.tif_sve:
                cpu.save_sve(cpu.last_state)
            else:
                cpu.save(cpu.last_state)

    @kernel_function
    def fpsimd_bind_state_to_cpu(self, cpu: DeferredHost.Cpu, vcpu: Policy.Vcpu) -> None:
        cpu.last_state = vcpu

    def arm_guest_traps(self, cpu: DeferredHost.Cpu, vcpu: Policy.Vcpu, live: bool) -> None:
        """Have the guest trap at its first use, unless its state is live (in the hypervisor)."""
        cpu.guest_fp_trap = not live
        cpu.guest_sve_trap = not (live and vcpu.has_sve)
        if self.aarch32 and not live:
            cpu.force_fpexc()
        if vcpu.has_sve and live:  # fpsimd_lazy_switch_to_guest
            cpu.set_vl(vcpu)
            cpu.load_part("zcr", vcpu)

    def lift_guest_traps(self, cpu: DeferredHost.Cpu, vcpu: Policy.Vcpu) -> None:
        """Let the guest use FP, and SVE if it has it (in the hypervisor)."""
        cpu.guest_fp_trap = False
        if vcpu.has_sve:
            cpu.guest_sve_trap = False
        cpu.isb()

    def load_guest(self, cpu: DeferredHost.Cpu, vcpu: Policy.Vcpu) -> None:
        if vcpu.has_sve:
            cpu.set_vl(vcpu)
            cpu.load_sve(vcpu)
            cpu.load_part("zcr", vcpu)
        else:
            cpu.load(vcpu)
        if self.fpmr:
            cpu.load_part("fpmr", vcpu)
        if self.aarch32:
            cpu.load_part("fpexc", vcpu)

    def leave_live_guest(self, cpu: DeferredHost.Cpu, vcpu: Policy.Vcpu) -> None:
        """Take what a guest that is live has set, and let its longest vector length be in force."""
        if vcpu.has_sve:  # fpsimd_lazy_switch_to_host
            cpu.save_part("zcr", vcpu)
            cpu.set_vl(vcpu)
        if self.aarch32:
            cpu.save_part("fpexc", vcpu)


class InPlaceHost(BindableHost):
    """v5.13 to v6.1 (cccb78ce89c4): the first SVE use of a task whose registers are live widens them in place.

    With 751ecf6afd65 (v6.12 and stable): if they are not live, only the image is widened, and no CPU vouches for it.
    """

    @kernel_function
    def do_sve_acc(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.alloc_sve(task)
        if task.tif_sve:
            cpu.warn()
        task.tif_sve = True
        if task.foreign:  # sve_init_regs
            cpu.widen(task)
            self.fpsimd_flush_task_state(task)
        else:
            cpu.set_vl(task)
            cpu.zero_sve()
            self.fpsimd_bind_task_to_cpu(cpu, task)
