"""The policies that learn, with a coin in the place of all that is learned: what holds here holds whatever is learned.

fpstate check examples/any_learning.py:AnyLearningDirty

`coin` falls in any way at each event, and `check` goes through all: whoever comes is loaded in advance, or runs behind
a trap; whoever leaves is saved, or left dirty. So each run of a policy that learns is one of these runs, however it
learns (tests/property/test_any_learning.py looks at each handler on each view; one coin is enough for an event, since
no event asks about two contexts).
"""

from __future__ import annotations

from enum import Enum

from fpstate.policies.adaptive import IDLE, PROBED, Adaptive, AdaptiveWiped
from fpstate.policies.adaptive_dirty import AdaptiveDirty
from fpstate.policies.base import bounded
from fpstate.policies.first_class import FirstClass


class Coin(Enum):
    """What is said of whoever is asked about."""

    NO = 0
    YES = 1
    YES_AND_SVE = 2


class AnyLearning(Adaptive):
    """adaptive, whatever it learns. Here `load_sve` says that a task has storage for SVE."""

    name = "any-learning"

    class Cpu(FirstClass.Cpu):
        coin: Coin = Coin.NO

    class Vcpu(Adaptive.Vcpu):
        load_fp: int = bounded(IDLE, PROBED)  # IDLE for ever: nothing is counted

    def task_uses_fp(self, cpu: Cpu, task: Adaptive.Task) -> bool:
        return cpu.coin is not Coin.NO

    def task_uses_sve(self, cpu: Cpu, task: Adaptive.Task) -> bool:
        return task.load_sve and cpu.coin is Coin.YES_AND_SVE

    def vcpu_uses_fp(self, cpu: Cpu, vcpu: Adaptive.Vcpu) -> bool:
        return cpu.coin is not Coin.NO

    def note_use(self, task: Adaptive.Task) -> None:
        pass

    def note_guest_use(self, vcpu: Adaptive.Vcpu) -> None:
        pass

    def sigreturn_sve(self, cpu: Cpu, task: Adaptive.Task) -> None:
        super().sigreturn_sve(cpu, task)
        task.load_sve = True

    def ptrace_sve(self, cpu: Cpu, task: Adaptive.Task, tracee: Adaptive.Task) -> None:
        super().ptrace_sve(cpu, task, tracee)
        tracee.load_sve = True

    def vl_change(self, cpu: Cpu, task: Adaptive.Task) -> None:
        super().vl_change(cpu, task)
        task.load_sve = True


class AnyLearningWiped(AnyLearning, AdaptiveWiped):
    """adaptive-wiped, whatever it learns."""

    name = "any-learning-wiped"

    class Cpu(AnyLearning.Cpu, AdaptiveWiped.Cpu):
        pass


class AnyLearningDirty(AnyLearning, AdaptiveDirty):
    """adaptive-dirty, whatever it learns."""

    name = "any-learning-dirty"

    class Cpu(AnyLearning.Cpu, AdaptiveDirty.Cpu):
        pass

    class Vcpu(AnyLearning.Vcpu, AdaptiveDirty.Vcpu):
        pass

    def note_arrival(self, cpu: Cpu, x: AdaptiveDirty.Task | AdaptiveDirty.Vcpu) -> None:
        pass

    def leaves_dirty(self, cpu: Cpu) -> bool:
        return cpu.coin is not Coin.NO
