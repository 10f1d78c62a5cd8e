"""save-on-entry: the host's state is saved and marked foreign on the way in; vcpu_put restores nothing."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.host_format import FormatHost


class SaveOnEntry(FormatHost):
    """Dave Martin's first suggestion, read eagerly: save before the first guest run, reload at return to user.

    So that kernel NEON between guest runs finds the right owner, an exit binds the vCPU: foreign then means "the
    registers are not valid for whatever last_state says".
    """

    name = "save-on-entry"
    source = "review of [PATCH v3 09/41], Dave Martin, 22 January 2018 (eager reading); v6.14 does it at vcpu_load"
    gives_up = ("transient exposure", "timing")

    supports = frozenset({"sve", "guest-sve", "sme", "fpmr", "aarch32", "nvhe", "barriers"})

    class Vcpu(Policy.Vcpu):
        loaded: bool = False

    def ret_to_user(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        if not task.foreign:
            self.fpsimd_bind_task_to_cpu(cpu, task)  # a guest run may have left other traps
        super().ret_to_user(cpu, task)

    def guest_enter(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if task.foreign:
            vcpu.loaded = False  # whoever took the registers has saved what was there
        elif not vcpu.loaded:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        self.arm_guest_traps(cpu, vcpu, vcpu.loaded)

    def guest_fp_trap(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.lift_guest_traps(cpu, vcpu)
        self.let_in(cpu, vcpu)

    def let_in(self, cpu: FormatHost.Cpu, vcpu: Vcpu) -> None:
        if self.sme:
            cpu.smstop()  # a guest has neither mode; whose it was has been saved
        self.load_guest(cpu, vcpu)
        vcpu.loaded = True

    def guest_exit(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if not self.nvhe:
            cpu.user_sve_trap = cpu.user_sme_trap = True  # made anew on the way to user mode
        if vcpu.loaded:
            self.leave_live_guest(cpu, vcpu)
            self.fpsimd_bind_state_to_cpu(cpu, vcpu)
            task.foreign = False

    def vcpu_put(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if vcpu.loaded:
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
            vcpu.loaded = False
