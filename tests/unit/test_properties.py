"""Properties of states: each has a policy that breaks it and nothing else, and one next to it that does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.paths.properties import DEFAULT
from fpstate.paths.scope import Scope
from fpstate.policies.base import Context, Policy
from fpstate.policies.host_deferred import DeferredHost

EVENTS = ("base", "neon", "lifecycle")
OF_PAIRS = ("stale-pair", "dangling-pair", "lost-update", "transient-exposure")


class Pairs(Policy):
    """Always saves and loads, so that nothing hangs on who names whom; and keeps pairs that are true."""

    name = "pairs"

    class Cpu(Policy.Cpu):
        last: Context | None = None

    class Task(Policy.Task):
        cpu: Policy.Cpu | None = None
        in_registers: bool = False

    def save(self, cpu: Cpu, task: Task) -> None:
        if task.in_registers:
            cpu.save(task)
        task.in_registers = False

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:  # noqa: A002
        self.save(cpu, task)

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        if not task.in_registers:
            cpu.load(task)
        task.in_registers = True
        cpu.last = task
        task.cpu = cpu

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        self.save(cpu, task)
        cpu.last = None

    def fork(self, cpu: Cpu, task: Task, child: Task) -> None:
        self.save(cpu, task)
        child.in_registers = False
        child.cpu = None

    def exec(self, cpu: Cpu, task: Task) -> None:
        task.in_registers = False
        task.cpu = None
        cpu.overwrite(task)

    def exit(self, cpu: Cpu, task: Task) -> None:
        self.save(cpu, task)
        cpu.last = None


class Stale(Pairs):
    """Kernel NEON leaves the CPU's record as it was."""

    def kernel_neon_begin(self, cpu: Pairs.Cpu, task: Pairs.Task) -> None:
        self.save(cpu, task)


class Dangling(Pairs):
    """The record still names a dead thread, whose successor begins with its parent's note of the CPU."""

    def exit(self, cpu: Pairs.Cpu, task: Pairs.Task) -> None:
        self.save(cpu, task)

    def fork(self, cpu: Pairs.Cpu, task: Pairs.Task, child: Pairs.Task) -> Iterator[None]:  # type: ignore[override]
        yield
        super().fork(cpu, task, child)


class Lost(Pairs):
    """What a dead thread has in the registers is not saved: nobody will miss it."""

    def exit(self, cpu: Pairs.Cpu, task: Pairs.Task) -> None:
        task.in_registers = False
        cpu.last = None


class Exposing(DeferredHost):
    """The next thread runs behind a trap, with the registers as they are."""

    name = "exposing"

    def ret_to_user(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.user_fp_trap = task.foreign

    def user_fp_trap(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.user_fp_trap = False
        self.fpsimd_restore_current_state(cpu, task)


class TrapsOverItsOwn(DeferredHost):
    """User mode runs behind a trap after each system call; behind it lie its own values and nobody else's."""

    name = "traps-over-its-own"

    class Task(DeferredHost.Task):
        trapped: bool = False

    def ret_to_user(self, cpu: DeferredHost.Cpu, task: Task) -> None:  # type: ignore[override]
        cpu.user_fp_trap = not task.trapped
        if task.foreign:
            self.fpsimd_restore_current_state(cpu, task)

    def user_fp_trap(self, cpu: DeferredHost.Cpu, task: Task) -> None:
        cpu.user_fp_trap = False
        task.trapped = True

    def syscall(self, cpu: DeferredHost.Cpu, task: Task) -> None:  # type: ignore[override]
        task.trapped = False


@pytest.mark.parametrize(
    ("policy", "breaks"),
    [(Stale, "stale-pair"), (Dangling, "dangling-pair"), (Lost, "lost-update"), (Exposing, "transient-exposure")],
)
def test_each_is_broken_by_a_policy_that_is_right_otherwise(policy: type[Policy], breaks: str) -> None:
    """Whatever is read is right, and of the properties of states this one is broken and no other."""
    scope = Scope(1, 2, 0, 0, EVENTS)
    others = tuple(name for name in OF_PAIRS if name != breaks)
    assert check(policy, scope, properties=(*DEFAULT, *others), cores=1).verdict == HOLDS
    found = check(policy, scope, properties=[breaks], cores=1)
    assert (found.verdict, found.property) == (VIOLATED, breaks)


@pytest.mark.parametrize("policy", [Pairs, TrapsOverItsOwn])
def test_each_holds_where_there_is_no_cause(policy: type[Policy]) -> None:
    """True pairs, every value kept, and a lazy policy behind whose trap lies nothing of others."""
    assert check(policy, Scope(1, 2, 0, 0, EVENTS), properties=(*DEFAULT, *OF_PAIRS), cores=1).verdict == HOLDS
