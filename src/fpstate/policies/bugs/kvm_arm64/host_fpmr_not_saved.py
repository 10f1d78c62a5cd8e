"""M-fpmr: the host's FPMR is lost because the hypervisor saves it only for guests that have it."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.bugs.kvm_arm64 import host_sve_flag_and_trap_disagree
from fpstate.policies.linux_6_2 import Linux62


class Faulty(Linux62):
    """The hypervisor saves the host's V alone before it loads the guest."""

    name = "m-fpmr-faulty"
    supports = Linux62.supports | {"fpmr"}


class Fixed(host_sve_flag_and_trap_disagree.Fixed):
    """The host saves all it has before the guest is loaded."""

    name = "m-fpmr-fixed"


BUG = Bug(
    "M-fpmr", "host FPMR not saved for a guest without FPMR", "fbc7e61195e2", Faulty, Fixed, "integrity", 12, tasks=1,
    vcpus=1, events=("kvm",), features=("fpmr",),
    note="The third reason the fix gives. Guests of this world all use FPMR, so the guest's is loaded on both sides.",
)  # fmt: skip
