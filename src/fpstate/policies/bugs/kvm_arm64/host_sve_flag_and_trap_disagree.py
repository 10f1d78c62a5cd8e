"""K6: a task leaves KVM_RUN with SVE enabled and its SVE flag clear (CVE-2025-22013)."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost
from fpstate.policies.linux_6_2 import Linux62
from fpstate.policies.linux_6_14 import SaveAtLoad


class Faulty(Linux62):
    """Load clears the task's SVE flag but not the enable bit, which put then restores: what SVE writes is not saved."""

    name = "k6-faulty"


class Fixed(FormatHost, SaveAtLoad):
    """Load saves and flushes all host state, so that the way to user mode sets up flag and trap together."""

    name = "k6-fixed"
    supports = SaveAtLoad.supports | FormatHost.supports | {"guest-sve", "barriers"}

    class Cpu(SaveAtLoad.Cpu, FormatHost.Cpu):
        pass


BUG = Bug(
    "K6", "host SVE lost: flag and trap disagree", "fbc7e61195e2", Faulty, Fixed, "integrity", 20, vcpus=1,
    events=("kvm", "user_sve", "interrupt"), features=("sve",),
)  # fmt: skip
