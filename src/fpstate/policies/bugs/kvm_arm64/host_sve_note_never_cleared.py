"""K3: KVM's note that the host had SVE enabled is never cleared."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.linux_4_18 import Linux418, Linux517


class Faulty(Linux517):
    """The note is set when SVE is found enabled at load, and stays set for later loads that find it trapped."""

    name = "k3-faulty"

    def kvm_arch_vcpu_load_fp(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        noted = vcpu.host_sve_enabled
        super().kvm_arch_vcpu_load_fp(cpu, task, vcpu)
        vcpu.host_sve_enabled = noted or vcpu.host_sve_enabled


class Fixed(Linux517):
    """The note is cleared at every load before the test."""

    name = "k3-fixed"


BUG = Bug(
    "K3", "note of host SVE enabled never cleared", "d52d165d67c5", Faulty, Fixed, "vector-length", 24, vcpus=1,
    events=("run_enter", "vcpu_load", "guest_enter", "guest_exit", "vcpu_put", "user_sve", "interrupt"),
    features=("sve",),
    note="The VMM uses SVE without the kernel knowing, first of all at another task's vector length.",
)  # fmt: skip
