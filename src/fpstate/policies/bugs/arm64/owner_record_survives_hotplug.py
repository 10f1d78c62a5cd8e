"""A1: a stale owner record survives CPU hotplug."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """The per-CPU record is not cleared when the CPU dies, so its pair with the task looks valid afterwards."""

    name = "a1-faulty"

    def cpu_down(self, cpu: DeferredHost.Cpu) -> None:
        pass


class Fixed(DeferredHost):
    """A hotplug callback clears the record of the dead CPU."""

    name = "a1-fixed"


BUG = Bug(
    "A1", "stale owner record survives CPU hotplug", "32365e64a20e", Faulty, Fixed, "integrity", 9, cpus=2, tasks=1
)
