"""B8: the saved control word of a new thread switches the FPU off."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost


class Faulty(LazyHost):
    """FPEXC is part of what is loaded, and in the initial context its EN is 0: the use that was trapped traps again."""

    name = "b8-faulty"

    class Task(Policy.Task):
        enabled: bool = False  # FPEXC.EN in the image

    def user_fp_trap(self, cpu: LazyHost.Cpu, task: Task) -> None:
        self.switch_owner(cpu, task)
        cpu.user_fp_trap = not task.enabled


class Fixed(Faulty):
    """The initial FPEXC has EN."""

    name = "b8-fixed"

    class Task(Policy.Task):
        enabled: bool = True


BUG = Bug(
    "B8", "a new thread's saved control word switches the FPU off", "77f5fab0a", Faulty, Fixed, "trap-sanity", 5,
    tasks=1, events=("base",), note="seL4 has no fork, exec, signals or kernel-mode FP.",
)  # fmt: skip
