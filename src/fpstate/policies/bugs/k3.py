"""K3: KVM's note that the host had SVE enabled is never cleared."""

from __future__ import annotations

from fpstate.policies.bugs import k1
from fpstate.policies.bugs.a15 import SveHost
from fpstate.policies.bugs.bug import Bug


class Faulty(k1.Fixed):
    """The note is set when SVE is found enabled at load, and stays set for later loads that find it trapped."""

    name = "k3-faulty"

    def vcpu_load(self, cpu: SveHost.Cpu, task: SveHost.Task, vcpu: k1.Fixed.Vcpu) -> None:
        if not cpu.user_fp_trap:
            vcpu.host_sve_enabled = True


class Fixed(k1.Fixed):
    """The note is cleared at every load before the test."""

    name = "k3-fixed"


BUG = Bug(
    "K3", "note of host SVE enabled never cleared", "d52d165d67c5", Faulty, Fixed, "integrity", 24, vcpus=1,
    note="FP stands for SVE",
)  # fmt: skip
