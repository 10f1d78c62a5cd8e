"""first-class: vCPUs and tasks are equal contexts; only somebody else's load forces a reload."""

from __future__ import annotations

from typing import ClassVar

from fpstate.policies.base import Policy, kernel_function
from fpstate.policies.host_format import FormatHost, Saves


class FirstClass(FormatHost):
    """Dave Martin's "ultimately": whose the registers are is a fact about a CPU and a context, and put keeps it.

    Clean residency: whoever stops running is saved if he may have written, but stays in the registers until they are
    loaded with something else. A vCPU has a `fpsimd_cpu` like a task; `foreign` is about the task that runs, or the
    vCPU it has loaded.
    """

    name = "first-class"
    source = "review of [PATCH v3 09/41], Dave Martin, 22 January 2018; no kernel does all of it"
    gives_up: ClassVar[tuple[str, ...]] = ("transient exposure", "timing")
    supports = frozenset({"sve", "guest-sve", "sme", "fpmr", "aarch32", "nvhe", "barriers"})

    class Cpu(FormatHost.Cpu):
        unsaved: bool = False  # the registers may be newer than the image of `last_state`

    class Vcpu(Policy.Vcpu):
        fpsimd_cpu: Policy.Cpu | None = None

    @kernel_function
    def fpsimd_save(self, cpu: Cpu, task: FormatHost.Task) -> None:
        if cpu.unsaved and not task.foreign:
            self.save_last_state(cpu, task)
        self.note_saved(cpu)

    def note_saved(self, cpu: Cpu) -> None:
        cpu.unsaved = False
        if self.sve:
            cpu.to_save = Saves.CURRENT

    @kernel_function
    def task_fpsimd_load(self, cpu: Cpu, task: FormatHost.Task) -> None:
        super().task_fpsimd_load(cpu, task)
        self.note_saved(cpu)

    def resident(self, cpu: Cpu, x: FormatHost.Task | Vcpu) -> bool:
        return cpu.last_state is x and x.fpsimd_cpu is cpu

    # The host.

    def ret_to_user(self, cpu: Cpu, task: FormatHost.Task) -> None:
        if not task.foreign:
            self.fpsimd_bind_task_to_cpu(cpu, task)  # a guest run may have left other traps
        super().ret_to_user(cpu, task)
        cpu.unsaved = True

    def enter_signal_handler(self, cpu: Cpu, task: FormatHost.Task) -> None:
        super().enter_signal_handler(cpu, task)
        cpu.unsaved = cpu.unsaved or not task.foreign  # leaving a mode changes registers

    def exit(self, cpu: Cpu, task: FormatHost.Task) -> None:
        self.fpsimd_flush_task_state(task)

    def cpu_down(self, cpu: Cpu) -> None:
        super().cpu_down(cpu)
        self.note_saved(cpu)

    # The hypervisor.

    def guest_enter(self, cpu: Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        live = self.resident(cpu, vcpu)
        self.arm_guest_traps(cpu, vcpu, live)
        if live:
            self.save_as_guest(cpu, vcpu)
            if self.aarch32:
                cpu.load_part("fpexc", vcpu)  # forced, perhaps, for another guest's trap
            cpu.unsaved = True

    def guest_fp_trap(self, cpu: Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.lift_guest_traps(cpu, vcpu)
        self.fpsimd_save_and_flush_cpu_state(cpu, task)
        self.load_guest(cpu, vcpu)
        self.fpsimd_bind_state_to_cpu(cpu, vcpu)
        vcpu.fpsimd_cpu = cpu
        cpu.unsaved = True

    def guest_exit(self, cpu: Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if not self.nvhe:
            cpu.user_sve_trap = cpu.user_sme_trap = True  # made anew on the way to user mode
        if self.resident(cpu, vcpu):
            self.leave_live_guest(cpu, vcpu)
            task.foreign = False

    def vcpu_put(self, cpu: Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if cpu.last_state is vcpu:
            self.fpsimd_save(cpu, task)
            task.foreign = True

    def vcpu_setreg(self, cpu: Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        super().vcpu_setreg(cpu, task, vcpu)
        vcpu.fpsimd_cpu = None

    def vcpu_reset(self, cpu: Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        super().vcpu_reset(cpu, task, vcpu)
        vcpu.fpsimd_cpu = None
