"""O2: a destroyed thread of Genode is still the one whose state is in the FPU."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost


class Faulty(LazyHost):
    """Destruction of a thread does not look at the owner of the FPU."""

    name = "o2-faulty"

    def exit(self, cpu: LazyHost.Cpu, task: Policy.Task) -> None:
        pass


class Fixed(LazyHost):
    """The FPU is released on destruction."""

    name = "o2-fixed"


BUG = Bug(
    "O2", "destroyed thread still on the FPU (Genode)", "genodelabs/genode issue 1855", Faulty, Fixed,
    "memory-safety", 10, tasks=2, events=("-neon", "-pm"),
    note="Without kernel-mode FP and idle states, which would save for the dead thread before another thread does. "
    "Destruction from another CPU, while the owner is live there, is not in it.",
)  # fmt: skip
