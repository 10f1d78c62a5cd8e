"""K8, K9: the vector length a guest has chosen is still in force when its registers are saved at the longest one."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.linux_4_18 import Linux418, Linux513


class K9Faulty(Linux513):
    """The length is left as the guest hypervisor set it, until and over vcpu_put."""

    name = "k9-faulty"

    def vcpu_put(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Linux418.Vcpu) -> None:
        Linux418.vcpu_put(self, cpu, task, vcpu)


class K9Fixed(Linux513):
    """vcpu_put sets the longest length before it saves."""

    name = "k9-fixed"


class K8Faulty(Linux513):
    """The same; but kernel NEON between exit and put saves as well."""

    name = "k8-faulty"


class K8Fixed(Linux513):
    """The length is switched at each exit."""

    name = "k8-fixed"

    def leave_guest_length(self, cpu: DeferredHost.Cpu, vcpu: Linux418.Vcpu) -> None:
        cpu.save_part("zcr", vcpu)
        cpu.set_vl(vcpu)


K9 = Bug(
    "K9", "guest's SVE saved with a length smaller than the layout", "2e3cf82063a0", K9Faulty, K9Fixed,
    "vector-length", 8, tasks=1, vcpus=1, events=("kvm", "guest_sve"), features=("guest-sve", "nvhe"),
    note="A host at EL1 stands for the host of a guest hypervisor: both find the guest's length after an exit.",
)  # fmt: skip
K8 = Bug(
    "K8", "guest's vector length in force while a softirq uses NEON", "59419f10045b", K8Faulty, K8Fixed,
    "vector-length", 8, tasks=1, vcpus=1, events=("kvm", "guest_sve", "softirq_neon_begin"),
    features=("guest-sve", "nvhe"),
)  # fmt: skip
