"""adaptive-dirty: the same, and where contexts keep coming back to their registers, nobody is saved when he leaves."""

from __future__ import annotations

from typing import ClassVar

from fpstate.policies.adaptive import Adaptive
from fpstate.policies.base import bounded
from fpstate.policies.first_class import FirstClass
from fpstate.policies.first_class_dirty import FirstClassDirty

MOST = 7


class AdaptiveDirty(Adaptive, FirstClassDirty):  # type: ignore[misc]  # both narrow the type of `task`
    """A CPU saves who leaves it, until `settled` of them came back to untouched registers and nobody from elsewhere.

    From then on it leaves them dirty. Whoever comes from another CPU interrupts that one if it has left him dirty, and
    the CPU he comes to begins anew.
    """

    name = "adaptive-dirty"
    source = "this project"
    settled: ClassVar[int] = MOST
    """Saves in vain before a CPU leaves contexts dirty. One interrupt costs as much as some 36 of them."""

    class Cpu(FirstClass.Cpu):
        stays: int = bounded(0, MOST)  # returns to untouched registers, while nobody has come from another CPU

    class Task(Adaptive.Task):
        dirty: bool = False  # left unsaved, and neither back nor fetched since

    class Vcpu(Adaptive.Vcpu):
        dirty: bool = False

    def arrive(self, cpu: Cpu, x: Task | Vcpu) -> None:
        self.note_arrival(cpu, x)
        if self.resident(cpu, x):
            x.dirty = False

    def note_arrival(self, cpu: Cpu, x: Task | Vcpu) -> None:
        if x.fpsimd_cpu is not None and x.fpsimd_cpu is not cpu:
            cpu.stays = 0
        elif cpu.stays < self.settled and self.resident(cpu, x):
            cpu.stays += 1

    def leaves_dirty(self, cpu: Cpu) -> bool:
        return cpu.stays == self.settled

    def leave(self, cpu: Cpu, task: Task, x: Task | Vcpu) -> None:
        x.dirty = self.leaves_dirty(cpu)
        if not x.dirty:
            self.give_up(cpu, task)

    def fetch(self, cpu: Cpu, x: Task | Vcpu, wide: bool) -> None:
        if x.dirty:
            super().fetch(cpu, x, wide)
        x.fpsimd_cpu = None
        x.dirty = False

    # Events.

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        self.arrive(cpu, next)
        if not task.foreign:
            self.leave(cpu, task, task)
        super().thread_switch(cpu, task, next)

    def vcpu_load(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        self.arrive(cpu, vcpu)

    def vcpu_put(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        if self.resident(cpu, vcpu):
            self.leave(cpu, task, vcpu)
        super().vcpu_put(cpu, task, vcpu)
