"""The policies that learn, with counts that may end at any time: what holds here holds for each number they count to.

fpstate check examples/any_count.py:AnyDirty --cpus 2 --tasks 1 --vcpus 1

A counter that only says *not yet* has one value here for all of these, and the clock of a task says, at any time, that
it is over: `expired` is set by the world in each order. So each run of the policy with its own numbers is one of these
runs, with the clock set just before the handler in which the counter ends (tests/property/test_any_count.py looks at
each handler on each view). One clock is enough for a move, since one context is in a CPU's registers, and so one count
at most ends in it.
"""

from __future__ import annotations

from fpstate.policies.adaptive import PROBE, Adaptive, AdaptiveWiped
from fpstate.policies.adaptive_dirty import AdaptiveDirty
from fpstate.policies.base import bounded
from fpstate.policies.first_class import FirstClass
from fpstate.policies.host_format import FormatHost

MORE = PROBE + 1  # of `load_fp`: loads in advance are left, whatever their number


class AnyCount(Adaptive):
    """adaptive, for all `first` and `most` of 3 and more."""

    name = "any-count"
    first = most = MORE

    class Task(Adaptive.Task):
        expired: bool = False

    class Vcpu(Adaptive.Vcpu):
        load_fp: int = bounded(0, MORE)

    def guest_enter(self, cpu: FirstClass.Cpu, task: Task, vcpu: Vcpu) -> None:
        counts = not self.resident(cpu, vcpu) and vcpu.load_fp == MORE
        super().guest_enter(cpu, task, vcpu)
        if counts and task.expired:
            task.expired = False
        elif counts:
            vcpu.load_fp = MORE


class AnyWiped(AnyCount, AdaptiveWiped):
    """adaptive-wiped, for all `first` and `most` of 3 and more."""

    name = "any-count-wiped"


class AnyDirty(AnyCount, AdaptiveDirty):
    """adaptive-dirty, for all `first` and `most` of 3 and more, and all `settled` of 1 and more."""

    name = "any-count-dirty"
    settled = 1

    class Cpu(AdaptiveDirty.Cpu):
        stays: int = bounded(0, 1)

    class Task(AnyCount.Task, AdaptiveDirty.Task):
        pass

    class Vcpu(AnyCount.Vcpu, AdaptiveDirty.Vcpu):
        pass

    def arrive(self, cpu: Cpu, task: Task | FormatHost.Task, x: Task | Vcpu) -> None:
        counts = not self.elsewhere(cpu, x) and cpu.stays == 0 and self.resident(cpu, x)
        if not counts:
            super().arrive(cpu, task, x)
        elif task.expired:
            super().arrive(cpu, task, x)
            task.expired = False
