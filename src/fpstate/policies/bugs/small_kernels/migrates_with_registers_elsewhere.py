"""O3: a thread of NuttX moves to another CPU while its FP state is only in the registers of the first."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_lazy import LazyHost


class Faulty(LazyHost):
    """Nothing is saved at a switch, as if the thread could only come back to this CPU."""

    name = "o3-faulty"


class Fixed(LazyHost):
    """With more than one CPU, the owner is saved at every switch."""

    name = "o3-fixed"

    def thread_switch(self, cpu: LazyHost.Cpu, task: Policy.Task, next: Policy.Task) -> None:
        self.switch_owner(cpu, None)


BUG = Bug(
    "O3", "thread migrates while its FP state is in another core's registers (NuttX)", "apache/nuttx pull 9515",
    Faulty, Fixed, "integrity", 12, cpus=2, tasks=2,
    events=("signals",),
    note="Without the events that go wrong even when the thread never runs on the other CPU: exit, exec, ptrace there, "
    "and kernel-mode FP.",
)  # fmt: skip
