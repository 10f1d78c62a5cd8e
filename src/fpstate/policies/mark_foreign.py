"""mark-foreign: on the way in only note that host state may be live; save it when the guest overwrites it."""

from __future__ import annotations

from fpstate.policies.host_format import FormatHost
from fpstate.policies.save_on_entry import SaveOnEntry


class MarkForeign(SaveOnEntry):
    """Dave Martin's first suggestion, read lazily: a guest that never uses FP costs nothing at all."""

    name = "mark-foreign"
    source = "review of [PATCH v3 09/41], Dave Martin, 22 January 2018 (lazy reading); v4.18 took it up"

    class Vcpu(SaveOnEntry.Vcpu):
        host_live: bool = False

    def guest_enter(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if task.foreign:
            vcpu.loaded = False
        vcpu.host_live = not task.foreign and not vcpu.loaded
        self.arm_guest_traps(cpu, vcpu, vcpu.loaded)

    def guest_fp_trap(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.lift_guest_traps(cpu, vcpu)
        if vcpu.host_live:
            self.fpsimd_save(cpu, task)
            vcpu.host_live = False
        self.let_in(cpu, vcpu)
