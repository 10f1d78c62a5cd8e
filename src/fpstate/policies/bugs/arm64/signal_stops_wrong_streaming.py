"""A22: entering a signal handler leaves streaming mode in registers that are another task's."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import Form, FormatHost


class Fixed(FormatHost):
    """The frame is written with preemption on; what comes after looks whose registers these are."""

    name = "a22-fixed"

    def signal(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> Iterator[None]:
        self.fpsimd_save(cpu, task)
        self.sve_sync_to_fpsimd(cpu, task)
        if task.fp_type is Form.SVE:
            cpu.frame_sve(task)
        yield
        self.enter_signal_handler(cpu, task)


class Faulty(Fixed):
    """SMSTOP is executed, whatever is in the registers."""

    name = "a22-faulty"

    def enter_signal_handler(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        if task.svcr_sm:
            task.fp_type = Form.FPSIMD
        task.svcr_sm = task.svcr_za = False
        cpu.smstop()


BUG = Bug(
    "A22", "signal entry stops streaming mode of the wrong task",
    "arm64/signal: Avoid corruption of SME state when entering signal handler", Faulty, Fixed, "mode-bits", 13,
    events=("signal", "user_smstart", "interrupt"), features=("sme",),
)  # fmt: skip
