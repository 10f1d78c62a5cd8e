"""The SVE trap, put off by time, as proposed since 2023: SVE stays enabled for a second after a task's last trap.

Since 8c845e273104 (v6.2) a task whose state is loaded in FPSIMD form, because a system call let its SVE state go, traps
at its next use of SVE. Mark Brown, "[PATCH v7] arm64/fpsimd: Suppress SVE access traps when loading FPSIMD state", 30
July 2024 (v8: 20 March 2026): do_sve_acc() notes a time, HZ jiffies ahead, and task_fpsimd_load() disables SVE only
after that.
"""

from __future__ import annotations

from fpstate.policies.base import when
from fpstate.policies.host_flushed import BufferedHost
from fpstate.policies.host_format import Form, FormHost
from fpstate.policies.linux_6_16 import Linux72, Linux616


class SveTimeout(Linux72):
    """linux-7.2, but a state loaded in FPSIMD form leaves SVE enabled until the task's time is over."""

    name = "sve-timeout"
    kernels = ""
    source = "Mark Brown, [PATCH v7] arm64/fpsimd: Suppress SVE access traps when loading FPSIMD state, 30 July 2024"
    supports = Linux72.supports - {"sme"}  # two tasks with all that would be more than a view can hold

    class Task(BufferedHost.Task):
        expired: bool = when("sve", True)  # time_after(jiffies, thread.sve_timeout)

    def do_sve_acc(self, cpu: Linux616.Cpu, task: Task) -> None:
        task.expired = False
        super().do_sve_acc(cpu, task)

    def task_fpsimd_load(self, cpu: FormHost.Cpu, task: Task) -> None:
        keeps = task.fp_type is Form.FPSIMD and task.tif_sve and not task.expired
        if keeps:
            cpu.set_vl(task)
        super().task_fpsimd_load(cpu, task)
        if keeps:
            cpu.zero_sve()  # sve_flush_p: loading V has flushed the rest of Z
            task.tif_sve = True


class SveTimeoutSyscall(SveTimeout):
    """The same, and a system call after that time disables SVE even if nothing is loaded."""

    name = "sve-timeout-syscall"
    source = 'branch arm64-sve-trap-mitigation, "arm64/sve: Disable TIF_SVE on syscall once per second", 29 June 2026'

    def syscall(self, cpu: FormHost.Cpu, task: SveTimeout.Task) -> None:
        super().syscall(cpu, task)
        if task.tif_sve and task.expired:
            task.tif_sve = False
            cpu.user_sve_trap = True
