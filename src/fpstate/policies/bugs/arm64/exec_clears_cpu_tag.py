"""A3: exec clears the CPU tag to zero, and zero names a CPU."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """The flush zeroes the whole state, CPU tag included, and a tag of zero is CPU 0: here the only one."""

    name = "a3-faulty"

    def exec(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        task.fpsimd_cpu = cpu
        task.foreign = True
        cpu.overwrite(task)


class Fixed(DeferredHost):
    """The flush sets the tag to a CPU that does not exist."""

    name = "a3-fixed"


BUG = Bug(
    "A3",
    "exec clears the CPU tag and so revalidates CPU 0",
    "674c242c9323",
    Faulty,
    Fixed,
    "confidentiality",
    8,
    tasks=1,
)
