"""M-defer: kernel NEON between guest runs, with the host layer not told whose the registers are."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.defer_to_put import DeferToPut
from fpstate.policies.save_on_entry import SaveOnEntry


class Faulty(DeferToPut):
    """Guest registers stay live until put while the host's books say they are the current task's."""

    name = "m-defer-faulty"


class Fixed(SaveOnEntry):
    """The host's state is saved and marked foreign on the way in, and an exit binds the vCPU."""

    name = "m-defer-fixed"


BUG = Bug(
    "M-defer", "kernel NEON saves guest registers over the task's image", "review of [PATCH v3 09/41]", Faulty, Fixed,
    "confidentiality", 12, tasks=1, vcpus=1,
)  # fmt: skip
