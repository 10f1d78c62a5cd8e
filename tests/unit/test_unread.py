"""What is taken for unread is what no handler reads: small policies in which something does, or nothing does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fpstate.check.run import check, search_for
from fpstate.paths.properties import bits_of
from fpstate.paths.scope import Scope
from fpstate.policies.base import Context, Policy
from fpstate.policies.catalogue import find_policy
from fpstate.policies.first_class import FirstClass
from fpstate.policies.linux_6_14 import Linux614
from fpstate.policies.trap_per_entry import TrapPerEntry
from fpstate.rows.learn import Rows
from fpstate.rows.unread import Unread

SMALL = Scope(2, 1, 1)
HOST = Scope(1, 2, 0)
FPSIMD_CPU = ("Task", "fpsimd_cpu", "last_state", False)
GUEST_FP_TRAP, USER_FP_TRAP = 1, 2


def unread(
    policy: type[Policy], properties: tuple[str, ...] = ("integrity", "memory-safety"), scope: Scope = SMALL
) -> Unread:
    """Return what is unread once a search has ended."""
    rows = Rows(policy, interruptible=True)
    search = search_for(rows, scope, bits_of(properties), fold=True, cores=1, zeros=True)
    assert search.run(1_000_000).complete
    assert search.unread is not None
    return search.unread


def pairs(
    policy: type[Policy], properties: tuple[str, ...] = ("integrity", "memory-safety"), scope: Scope = SMALL
) -> list[tuple[object, ...]]:
    """Return the pairs that a policy heeds alone."""
    return [(p.of, p.pointer.name, p.named_by.name, p.kernel) for p in unread(policy, properties, scope).pairs]


def test_a_trap_that_is_set_at_each_entry_is_unread_outside_of_guests() -> None:
    kernel, user, guest = unread(TrapPerEntry).bits
    assert kernel & GUEST_FP_TRAP
    assert user & GUEST_FP_TRAP
    assert not guest & GUEST_FP_TRAP


def test_what_the_kernel_reads_is_not_unread() -> None:
    class Reads(TrapPerEntry):
        name = "reads"

        def kernel_neon_begin(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task) -> None:
            if not cpu.guest_fp_trap:
                super().kernel_neon_begin(cpu, task)
            else:
                super().kernel_neon_begin(cpu, task)

    kernel, user, _ = unread(Reads).bits
    assert not (kernel | user) & GUEST_FP_TRAP


def test_what_is_not_written_on_each_way_into_a_guest_is_not_unread() -> None:
    class Sometimes(TrapPerEntry):
        name = "sometimes"

        def guest_enter(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task, vcpu: Policy.Vcpu) -> None:
            if task.foreign:
                super().guest_enter(cpu, task, vcpu)

    kernel, _, _ = unread(Sometimes).bits
    assert not kernel & GUEST_FP_TRAP


def test_what_is_read_after_a_point_is_not_unread() -> None:
    """Others may have written it in between; so what the handler itself wrote before does not count."""

    class Later(TrapPerEntry):
        name = "later"

        def exec(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task) -> Iterator[None]:  # type: ignore[override]
            cpu.guest_fp_trap = False
            yield
            if cpu.guest_fp_trap:
                task.foreign = True
            super().exec(cpu, task)

    assert not unread(Later).bits[0] & GUEST_FP_TRAP


def test_a_pair_alone_is_heeded() -> None:
    assert pairs(TrapPerEntry) == [FPSIMD_CPU]
    assert pairs(FirstClass) == [FPSIMD_CPU, ("Vcpu", "fpsimd_cpu", "last_state", False)]
    assert pairs(Linux614) == [FPSIMD_CPU, ("Task", "kernel_fpsimd_cpu", "last_state", True)]


class NotAtFork(TrapPerEntry):
    name = "not-at-fork"

    def fork(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task, child: TrapPerEntry.Task) -> None:
        self.fpsimd_save(cpu, task)
        child.foreign = True


class NoFork(TrapPerEntry):
    name = "no-fork"
    fork = None  # type: ignore[assignment]


class NamesAlone(TrapPerEntry):
    name = "names-alone"

    def exec(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task) -> None:
        super().exec(cpu, task)
        cpu.last_state = task
        cpu.last_state = None

    def ret_to_user(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task) -> None:
        if task.foreign:
            cpu.load(task)
            cpu.last_state = task
            task.foreign = False


class LooksElsewhere(TrapPerEntry):
    name = "looks-elsewhere"

    def thread_switch(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task, following: TrapPerEntry.Task) -> None:
        super().thread_switch(cpu, task, following)
        if following.fpsimd_cpu is not None and following.fpsimd_cpu is not cpu:
            following.fpsimd_cpu = None


class LooksHere(TrapPerEntry):
    name = "looks-here"

    def signal(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task) -> None:
        if task.fpsimd_cpu is not cpu:
            task.foreign = True
        super().signal(cpu, task)


class Backwards(TrapPerEntry):
    """Looks at its own side of the pair first."""

    name = "backwards"

    def thread_switch(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task, following: TrapPerEntry.Task) -> None:
        self.fpsimd_save(cpu, task)
        following.foreign = following.fpsimd_cpu is not cpu or cpu.last_state is not following


def test_the_order_in_which_a_pair_is_looked_at_does_not_matter() -> None:
    assert pairs(Backwards) == [FPSIMD_CPU]


@pytest.mark.parametrize("policy", [NotAtFork, NoFork, NamesAlone, LooksElsewhere, LooksHere])
def test_a_pointer_that_matters_alone_is_none(policy: type[Policy]) -> None:
    """A child has its parent's; a CPU names a context that may name it of old; another CPU's is told from none."""
    assert pairs(policy, scope=HOST) == []


def test_what_other_cpus_or_properties_look_at_is_a_pair_of_the_first_pointers() -> None:
    assert pairs(find_policy("first-class-dirty")) == pairs(FirstClass)
    assert pairs(find_policy("zephyr"), ("stale-pair", "memory-safety")) == pairs(find_policy("zephyr"))


def test_nothing_is_left_out_where_worlds_are_not_folded() -> None:
    scope = Scope(2, 1, 0)
    folded, whole = (check(TrapPerEntry, scope, fold=fold) for fold in (True, False))
    assert (folded.verdict, whole.verdict) == ("holds", "holds")
    assert folded.states * 2 < whole.states


class TwoAtOnce(TrapPerEntry):
    """What it does hangs on two pointers that both name a CPU in vain."""

    name = "two-at-once"

    def ptrace_write(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task, tracee: TrapPerEntry.Task) -> None:
        if cpu.last_state is None and task.fpsimd_cpu is cpu and tracee.fpsimd_cpu is cpu:
            return
        super().ptrace_write(cpu, task, tracee)


class ReadsMore(TrapPerEntry):
    """Where the pointer is another, it reads a flag, which is not the same in all views that have one decision."""

    name = "reads-more"

    class Cpu(TrapPerEntry.Cpu):
        flushed: bool = False

    def kernel_neon_begin(self, cpu: Cpu, task: TrapPerEntry.Task) -> None:  # type: ignore[override]
        super().kernel_neon_begin(cpu, task)
        cpu.flushed = True

    def fpsimd_bind_task_to_cpu(self, cpu: Cpu, task: TrapPerEntry.Task) -> None:  # type: ignore[override]
        super().fpsimd_bind_task_to_cpu(cpu, task)
        cpu.flushed = False

    def exec(self, cpu: Cpu, task: TrapPerEntry.Task) -> None:  # type: ignore[override]
        if not (cpu.last_state is None and task.fpsimd_cpu is cpu and cpu.flushed):
            cpu.overwrite(task)
        task.fpsimd_cpu = None
        task.foreign = True


class Remembers(TrapPerEntry):
    """What it has seen of the pointer it still knows after a point."""

    name = "remembers"

    def exec(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task) -> Iterator[None]:  # type: ignore[override]
        was_here = cpu.last_state is None and task.fpsimd_cpu is cpu
        yield
        if not was_here:
            cpu.overwrite(task)
        task.fpsimd_cpu = None
        task.foreign = True


class Halfway(TrapPerEntry):
    """A flag that is set on each way to user mode is read after a point of the way back."""

    name = "halfway"

    class Cpu(TrapPerEntry.Cpu):
        mark: bool = False

    def ret_to_user(self, cpu: Cpu, task: TrapPerEntry.Task) -> None:  # type: ignore[override]
        super().ret_to_user(cpu, task)
        cpu.mark = True

    def syscall(self, cpu: Cpu, task: TrapPerEntry.Task) -> Iterator[None]:  # type: ignore[override]
        yield
        if cpu.mark:
            task.foreign = False
        cpu.mark = False


class NotYet(TrapPerEntry):
    """Between two points of fork the child has its parent's pointer; the second does not always write it."""

    name = "not-yet"

    class Task(TrapPerEntry.Task):
        hit: bool = False

    def thread_switch(self, cpu: TrapPerEntry.Cpu, task: Task, following: Task) -> None:  # type: ignore[override]
        super().thread_switch(cpu, task, following)
        following.hit = True

    def signal(self, cpu: TrapPerEntry.Cpu, task: Task) -> None:  # type: ignore[override]
        super().signal(cpu, task)
        task.hit = False

    def fork(self, cpu: TrapPerEntry.Cpu, task: Task, child: Task) -> Iterator[None]:  # type: ignore[override]
        self.fpsimd_save(cpu, task)
        child.foreign = True
        if task.hit:
            child.fpsimd_cpu = None
        yield
        if not task.hit:
            child.fpsimd_cpu = None


class SeenBefore(TrapPerEntry):
    """Whom the CPU names is not read, and what may be in vain hangs on it all the same."""

    name = "seen-before"

    class Task(TrapPerEntry.Task):
        note: bool = False

    def signal(self, cpu: TrapPerEntry.Cpu, task: Task) -> None:  # type: ignore[override]
        super().signal(cpu, task)
        if not task.foreign:
            task.note = True
            task.fpsimd_cpu = None
            task.foreign = True

    def fork(self, cpu: TrapPerEntry.Cpu, task: Task, child: Task) -> None:  # type: ignore[override]
        super().fork(cpu, task, child)
        child.note = False

    def kernel_neon_begin(self, cpu: TrapPerEntry.Cpu, task: Task) -> None:  # type: ignore[override]
        if task.note and cpu.last_state is task and task.fpsimd_cpu is not cpu:
            task.foreign = True
        else:
            super().kernel_neon_begin(cpu, task)

    def kernel_neon_end(self, cpu: TrapPerEntry.Cpu, task: Task) -> None:
        if task.note and task.fpsimd_cpu is cpu:
            task.foreign = False

    def softirq_neon_end(self, cpu: TrapPerEntry.Cpu, task: Task) -> None:
        pass


class ChildWaits(TrapPerEntry):
    """At the point of fork the child has a pointer that is its parent's."""

    name = "child-waits"

    def fork(self, cpu: TrapPerEntry.Cpu, task: TrapPerEntry.Task, child: TrapPerEntry.Task) -> Iterator[None]:  # type: ignore[override]
        self.fpsimd_save(cpu, task)
        yield
        if cpu.last_state is task and not task.foreign:
            cpu.save(None)
        child.fpsimd_cpu = None
        child.foreign = True


class OtherNames(Policy):
    """Two pointers of the CPU, of which the second is called as that of a task is."""

    name = "other-names"

    class Cpu(Policy.Cpu):
        first: Context | None = None
        second: Context | None = None

    class Task(Policy.Task):
        second: Policy.Cpu | None = None

    def thread_switch(self, cpu: Cpu, task: Task, following: Task) -> None:
        cpu.save(task)
        cpu.load(following)
        following.second = cpu

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        cpu.first = task

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        cpu.save(task)

    def fork(self, cpu: Cpu, task: Task, child: Task) -> None:
        cpu.save(task)
        child.second = None


SCOPES: dict[type[Policy], Scope] = {
    TwoAtOnce: Scope(1, 2, 0),
    ReadsMore: Scope(1, 1, 0),
    Remembers: Scope(1, 1, 0),
    Halfway: Scope(1, 1, 0),
    SeenBefore: Scope(1, 1, 0),
    ChildWaits: Scope(1, 2, 0, 0, ("lifecycle", "signals", "neon", "base")),
    NotYet: Scope(1, 2, 0, 0, ("lifecycle", "signals", "neon", "base")),
}


@pytest.mark.parametrize("policy", SCOPES)
def test_what_is_heeded_by_the_way_is_found(policy: type[Policy]) -> None:
    """Each corrupts in one way only, which leaving too much out would hide."""
    folded, whole = (check(policy, SCOPES[policy], fold=fold) for fold in (True, False))
    assert (folded.verdict, whole.verdict) == ("violated", "violated")
    assert folded.depth == whole.depth


def test_pointers_are_told_apart_by_whose_they_are() -> None:
    folded, whole = (check(OtherNames, Scope(1, 2, 0), properties=["stale-pair"], fold=f) for f in (True, False))
    assert (folded.verdict, folded.depth) == (whole.verdict, whole.depth) == ("violated", 3)


def test_a_stale_record_that_a_child_inherits_is_found() -> None:
    """What its parent was last loaded on, and the record of a dead task there: the two make a pair that is none."""
    results = [check(NotAtFork, Scope(2, 2, 0), fold=fold) for fold in (True, False)]
    assert {(r.verdict, r.property, r.depth) for r in results} == {("violated", results[0].property, results[0].depth)}
