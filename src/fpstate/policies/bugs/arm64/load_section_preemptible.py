"""A13: on PREEMPT_RT the load on the way to user mode can be preempted."""

from __future__ import annotations

from collections.abc import Iterator

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class Faulty(DeferredHost):
    """Bottom halves off is taken to mean no preemption, so another task may load between load and bind."""

    name = "a13-faulty"

    def ret_to_user(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> Iterator[None]:
        if task.foreign:
            self.task_fpsimd_load(cpu, task)
            yield
            self.fpsimd_bind_task_to_cpu(cpu, task)


class Fixed(DeferredHost):
    """The section also disables preemption."""

    name = "a13-fixed"


BUG = Bug(
    "A13",
    "PREEMPT_RT: load section can be preempted",
    "696207d4258b",
    Faulty,
    Fixed,
    "confidentiality",
    9,
    events=("all", "-softirq_neon_begin"),
    note="bottom halves are off in the section, but the world lets softirqs in wherever it lets preemption in",
)
