"""B5: the FPU is enabled for user mode, and the context switch does nothing about it."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import SwitchedHost


class Fixed(SwitchedHost):
    """A switch saves and loads."""

    name = "b5-fixed"


class Faulty(Policy):
    """It has functions for that, which are empty."""

    name = "b5-faulty"


BUG = Bug(
    "B5", "FPU enabled for user mode, context switch is a stub (Asterinas)", "asterinas/asterinas issue 3920", Faulty,
    Fixed, "confidentiality", 8, events=("base",),
)  # fmt: skip
