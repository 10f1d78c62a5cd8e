"""Hosts that move registers at thread switches alone: small kernels, hypervisors whose vCPUs are threads."""

from __future__ import annotations

from fpstate.policies.base import Policy


class SwitchedHost(Policy):
    """Save at switch-out, load at switch-in."""

    class Task(Policy.Task):
        mm: bool = True  # not an idle or kernel thread

    def thread_switch(self, cpu: Policy.Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save(task)
        if next.mm:
            cpu.load(next)


class WideSwitchedHost(Policy):
    """The same with wide registers that every thread may use, and an area for them made at its first switch-in."""

    supports = frozenset({"sve"})

    class Cpu(Policy.Cpu):
        user_sve_trap: bool = False

    class Task(SwitchedHost.Task):
        made: bool = False

    def make_area(self, cpu: Cpu, next: Task) -> None:
        if not next.made:
            cpu.alloc_sve(next)
            cpu.widen(next)
            next.made = True

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        if task.mm:
            cpu.save_sve(task)
        if next.mm:
            self.make_area(cpu, next)
            cpu.set_vl(next)
            cpu.load_sve(next)
