"""A34: SVE state that a debugger writes during a system call is thrown away later in that call."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.kvm_arm64 import host_sve_flag_and_trap_disagree
from fpstate.policies.host_format import Form, FormatHost
from fpstate.policies.linux_6_2 import Linux62


class Faulty(Linux62):
    """Loading a vCPU makes the task's state plain FPSIMD, whoever has written it since the call began."""

    name = "a34-faulty"


class Fixed(host_sve_flag_and_trap_disagree.Fixed):
    """Loading a vCPU saves the task's state in the form it has."""

    name = "a34-fixed"


class HostFaulty(FormatHost):
    """Each save inside a system call drops SVE; the way back to user mode may be preempted after the load."""

    name = "a34-host-faulty"

    def ret_to_user(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> Iterator[None]:
        if task.foreign:
            self.fpsimd_restore_current_state(cpu, task)
        yield
        if task.foreign:
            self.fpsimd_restore_current_state(cpu, task)
        if self.sve:
            task.in_syscall = False


class HostFixed(HostFaulty):
    """What is live is saved as it is: SVE if the task has it enabled."""

    name = "a34-host-fixed"

    def fpsimd_save(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        if task.foreign:
            return
        if task.tif_sve:
            cpu.save_sve(task)
        else:
            cpu.save(task)
        task.fp_type = Form.SVE if task.tif_sve else Form.FPSIMD


BUG = Bug(
    "A34", "SVE state written by ptrace dropped by vcpu_load", "fbc7e61195e2", Faulty, Fixed, "integrity", 11, vcpus=1,
    events=("run_enter", "vcpu_load", "vcpu_put", "user_sve", "ptrace_sve"), features=("sve",),
)  # fmt: skip
HOST = Bug(
    "A34-host", "SVE state written by ptrace dropped by a later save", "398edaa12f9c", HostFaulty, HostFixed,
    "integrity", 11, events=("user_sve", "ptrace_sve", "softirq_neon_begin"), features=("sve",),
    note="The fix's own words were not read; its commit id is from recollection.",
)  # fmt: skip
