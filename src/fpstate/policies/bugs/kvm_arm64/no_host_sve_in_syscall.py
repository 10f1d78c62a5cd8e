"""K5: KVM takes it that a task in a system call has no SVE state, after system calls ceased to drop it."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost
from fpstate.policies.linux_6_2 import FpState, Linux62


class Faulty(Linux62):
    """The host of v6.2, whose tasks keep SVE enabled over system calls, under a load that neither asks nor saves."""

    name = "k5-faulty"

    def kvm_arch_vcpu_load_fp(self, cpu: FormatHost.Cpu, task: FormatHost.Task, vcpu: Linux62.Vcpu) -> None:
        vcpu.fp_state = FpState.HOST_OWNED
        if self.sve:
            vcpu.host_sve_enabled = not cpu.user_sve_trap


class Fixed(Linux62):
    """At load the task's state is made plain FPSIMD and its SVE flag cleared (fpsimd_kvm_prepare)."""

    name = "k5-fixed"


BUG = Bug(
    "K5", "no host SVE during a system call: no longer so", "93ae6b01bafe", Faulty, Fixed, "integrity", 14, tasks=1,
    vcpus=1, events=("kvm", "user_sve", "sigreturn_sve"), features=("sve",),
    note="Without v5.17's BUG_ON(TIF_SVE), which would have stopped it. Interrupts are left out of the events: with "
    "them the fix is the fault of K6.",
)  # fmt: skip
