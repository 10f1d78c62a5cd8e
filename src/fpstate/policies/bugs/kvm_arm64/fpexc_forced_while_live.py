"""M-fpexc: FPEXC32_EL2.EN is forced although the guest's own value is live."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.linux_4_18 import Linux52, Linux418


class Faulty(Linux418):
    """It is forced at each entry of a 32-bit guest."""

    name = "m-fpexc-faulty"


class Fixed(Linux52):
    """It is forced only while the guest's registers are away."""

    name = "m-fpexc-fixed"


BUG = Bug(
    "M-fpexc", "FPEXC of a 32-bit guest forced while its own is live", "linux-4.18 against linux-5.2", Faulty, Fixed,
    "integrity", 9, tasks=1, vcpus=1, events=("kvm",), features=("aarch32",),
)  # fmt: skip
