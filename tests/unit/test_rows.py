"""Rows: what a handler may do, and the one clear error when it does something else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import Enum

import pytest

from fpstate.check.run import check
from fpstate.errors import FpstateError
from fpstate.paths.scope import Scope, build
from fpstate.policies.base import Context, Policy, bounded, with_features
from fpstate.policies.catalogue import find_policy
from fpstate.policies.host_deferred import DeferredHost
from fpstate.rows.decisions import decision_table
from fpstate.rows.fields import Field
from fpstate.rows.learn import Rows
from fpstate.rows.session import Undecided, op_text
from fpstate.world.events import N_EVENTS, Event
from fpstate.world.operations import LOAD, N_COUNTS, OOPS, SAVE, carry_out
from fpstate.world.state import CURRENT, POINTER, kernel_of, own
from fpstate.world.table import ELSEWHERE, H_CPU_POINTER, H_TASK, R_NEXT, R_OPS, R_POINTERS, R_TASK, TASK, new_report
from fpstate.world.verdicts import NULL_POINTER, OK


def refused(policy: type[Policy], event: Event = Event.RET_TO_USER) -> str:
    with pytest.raises(FpstateError) as caught:
        Rows(policy).learn(event, 0)
    return str(caught.value)


class Plain(Policy):
    name = "plain"

    class Task(Policy.Task):
        flag: bool = False


def test_a_row_holds_operations_new_words_and_pointers() -> None:
    """The return to user of the deferred host, task foreign: load, bind, flag cleared."""

    class Host(DeferredHost):
        name = "host"

    rows = Rows(Host)
    foreign = rows.fields.words[1]
    r = rows.learn(Event.RET_TO_USER, foreign << int(rows.table.handlers[Event.RET_TO_USER, H_TASK]))
    row = rows.table.rows[r]
    assert row[R_OPS] == 1
    assert row[R_OPS + 1] == LOAD | TASK << 8
    assert row[R_TASK] == 0
    assert row[R_POINTERS] == (1 + TASK) | 2 << 6
    assert [name for name, op in rows.traces[r] if op == 0] == ["fpsimd_restore_current_state", "task_fpsimd_load"]


def test_an_unknown_field_names_the_nearest_and_the_line() -> None:
    """Reading what was never declared is refused with the field meant and the handler's line."""

    class Typo(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> None:
            if task.flog:  # type: ignore[attr-defined]
                cpu.load(task)

    message = refused(Typo)
    assert "did you mean 'flag'" in message
    assert f"{__file__}:{Typo.ret_to_user.__code__.co_firstlineno + 1}" in message


def test_a_handler_that_answers_differently_is_refused() -> None:
    """A handler that depends on more than the view cannot become a row."""
    turn = itertools.count()

    class Dice(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> None:
            task.flag = next(turn) % 2 == 0

    assert "answers differently" in refused(Dice)


def test_a_policy_cannot_remember_in_itself() -> None:
    """State kept on self would be invisible to the checker."""

    class Memory(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> None:
            self.last = task

    assert "cannot keep 'last' in itself" in refused(Memory)


def test_impossible_requests_are_refused() -> None:
    """Only contexts can be saved, only declared values assigned, only entities in view pointed to."""

    class SavesACpu(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> None:
            cpu.save(cpu)  # type: ignore[arg-type]

    class AssignsANumber(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> None:
            task.flag = 3  # type: ignore[assignment]

    class Returns(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> int:
            return 3

    assert "asks for the impossible" in refused(SavesACpu)
    assert "expected False, True" in refused(AssignsANumber)
    assert "returns 3" in refused(Returns)


def test_a_pointer_to_somebody_not_in_view_can_be_saved_through_but_not_looked_into() -> None:
    """Kernel code may follow last->image; it may not know more of that context."""

    class Through(Policy):
        name = "through"

        class Cpu(Policy.Cpu):
            last: Context | None = None

        def ret_to_user(self, cpu: Cpu, task: Policy.Task) -> None:
            cpu.save(cpu.last)

    class Into(Through):
        def ret_to_user(self, cpu: Through.Cpu, task: Policy.Task) -> None:
            cpu.last.flag = True  # type: ignore[union-attr]

    rows = Rows(Through)
    key = ELSEWHERE << int(rows.table.handlers[Event.RET_TO_USER, H_CPU_POINTER])
    assert rows.table.rows[rows.learn(Event.RET_TO_USER, key)][R_OPS + 1] == SAVE | ELSEWHERE << 8
    assert rows.table.rows[rows.learn(Event.RET_TO_USER, 0)][R_OPS + 1] & 255 == OOPS
    with pytest.raises(FpstateError):
        Rows(Into).learn(Event.RET_TO_USER, key)


def test_enums_and_counters_are_packed_and_checked() -> None:
    """A field's codes cover its range and nothing else."""

    class Colour(Enum):
        RED = "red"
        GREEN = "green"
        BLUE = "blue"

    class Wide(Policy):
        name = "wide"

        class Task(Policy.Task):
            colour: Colour = Colour.GREEN
            uses: int = bounded(2, 5)

        def syscall(self, cpu: Policy.Cpu, task: Task) -> None:
            task.colour = Colour.BLUE
            task.uses += 1

    rows = Rows(Wide)
    word = rows.fields.words[1]
    assert word == 1
    assert rows.table.rows[rows.learn(Event.SYSCALL, word << 2)][R_TASK] == 2 | 1 << 2
    with pytest.raises(FpstateError, match="expected 2, 3, 4, 5"):
        rows.learn(Event.SYSCALL, (word | 3 << 2) << 2)


def test_a_view_that_is_too_wide_is_refused() -> None:
    """A view of more than 38 bits is a mistake in the policy."""

    class Huge(Policy):
        name = "huge"

        class Task(Policy.Task):
            a: int = bounded(0, 255)
            b: int = bounded(0, 255)
            c: int = bounded(0, 255)
            d: int = bounded(0, 255)
            e: int = bounded(0, 255)

        def syscall(self, cpu: Policy.Cpu, task: Task) -> None:
            task.a = 0

    with pytest.raises(FpstateError, match="42 bits to 'syscall'"):
        Rows(Huge)


def test_a_handler_with_a_misspelt_name_is_refused() -> None:
    """A method named nearly like an event is a handler that would never be called."""

    class Typo(Plain):
        def thread_swich(self, cpu: Policy.Cpu, task: Plain.Task, next: Plain.Task) -> None:  # noqa: A002
            cpu.save(task)

    with pytest.raises(FpstateError, match="did you mean 'thread_switch'"):
        Rows(Typo)


def test_errors_of_the_handler_itself_are_told_as_such() -> None:
    """An exception, an exit, a wrong signature: one error with the line, never a traceback or a silent end."""

    class Raises(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> None:
            raise SystemExit(0)

    class TakesTooFew(Plain):
        def ret_to_user(self, cpu: Policy.Cpu) -> None:
            cpu.guest_fp_trap = True

    class NeedsAnArgument(Plain):
        def __init__(self, x: int) -> None:
            pass

    assert "raises SystemExit" in refused(Raises)
    assert "it is called with cpu, task" in refused(TakesTooFew)
    with pytest.raises(FpstateError, match="cannot be made"):
        Rows(NeedsAnArgument)


def test_too_many_points_are_refused() -> None:
    """A handler that yields without end has no table."""

    class Endless(Plain):
        def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> Iterator[None]:
            for _ in range(600):
                task.flag = not task.flag
                yield

    with pytest.raises(FpstateError, match="too many points"):
        check(Endless, Scope(1, 1, 0, 0, ("base",)))


class Untyped(Policy):
    name = "untyped"

    class Task(Policy.Task):
        flag = False


class Endless(Policy):
    name = "endless"

    def ret_to_user(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        while True:
            pass


def test_a_field_without_a_type_is_refused_with_its_line() -> None:
    with pytest.raises(FpstateError, match=r"test_rows.py:\d+: field 'Untyped.Task.flag' has no type"):
        Rows(Untyped)


def test_a_handler_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endless, "handler_seconds", 0.1)
    rows = Rows(Endless)
    with pytest.raises(FpstateError, match="has not ended"):
        rows.learn(Event.RET_TO_USER, 0)


class Wide(Policy):
    name = "wide"

    class Task(Policy.Task):
        a: int = bounded(0, 255)
        b: int = bounded(0, 255, start=7)
        c: int = bounded(0, 255)

    def syscall(self, cpu: Policy.Cpu, task: Task) -> None:
        task.a = task.b


def test_rows_of_wide_views_are_found_by_pages() -> None:
    """Two views far apart get rows of their own; one that lies between them is not known."""
    rows = Rows(Wide)
    low, high = (b << 2 + 8 for b in (1, 255))
    for key in (low, high):
        rows.learn(Event.SYSCALL, key)
    assert rows.known(Event.SYSCALL, low)
    assert rows.known(Event.SYSCALL, high)
    assert not rows.known(Event.SYSCALL, 2 << 2 + 8)
    assert [int(rows.table.rows[r, R_TASK]) & 255 for r in (0, 1)] == [1, 255]


class Lines(Plain):
    """A handler of several lines, two of which ask for operations on one path."""

    def ret_to_user(self, cpu: Policy.Cpu, task: Plain.Task) -> None:
        task.flag = not task.flag
        if task.flag:
            cpu.load(task)
            cpu.save(task)


def test_a_row_knows_the_line_of_its_first_operation() -> None:
    """That is where a path's blame points to; a row without operations is its handler's first line."""
    rows = Rows(Lines)
    begins = Lines.ret_to_user.__code__.co_firstlineno
    loads = rows.learn(Event.RET_TO_USER, 0)
    does_nothing = rows.learn(Event.RET_TO_USER, 1 << int(rows.table.handlers[Event.RET_TO_USER, H_TASK]))
    assert rows.where[loads] == f"{__file__}:{begins + 3}"
    assert rows.where[does_nothing] == f"{__file__}:{begins}"


def test_pointers_that_a_place_cannot_hold_are_refused() -> None:
    """A CPU may point to two contexts, a task or vCPU to two CPUs: not to three, and not the other way round."""

    class TwoEach(Policy):
        name = "two-each"

        class Cpu(Policy.Cpu):
            first: Context | None = None
            second: Context | None = None

        class Task(Policy.Task):
            first: Policy.Cpu | None = None
            second: Policy.Cpu | None = None

    class ThirdContext(TwoEach):
        class Cpu(TwoEach.Cpu):
            third: Context | None = None

    class ThirdCpu(TwoEach):
        class Task(TwoEach.Task):
            third: Policy.Cpu | None = None

    class CpuOfACpu(Policy):
        name = "cpu-of-a-cpu"

        class Cpu(Policy.Cpu):
            other: Policy.Cpu | None = None

    class ContextOfATask(Policy):
        name = "context-of-a-task"

        class Task(Policy.Task):
            other: Context | None = None

    assert [f.shift for f in Rows(TwoEach).fields.lists["Cpu"] if f.pointer] == [0, 1]
    for policy in (ThirdContext, ThirdCpu, CpuOfACpu, ContextOfATask):
        with pytest.raises(FpstateError, match="not a pointer this place can hold"):
            Rows(policy)


def test_an_image_named_before_a_point_is_not_used_after_it() -> None:
    """Others may have run at the point, so what a pointer named then may be somebody else by now."""

    class Remembers(Policy):
        name = "remembers"

        class Cpu(Policy.Cpu):
            last: Context | None = None

        def syscall(self, cpu: Cpu, task: Policy.Task) -> Iterator[None]:
            last = cpu.last
            yield
            cpu.save(last)

    class ReadsAgain(Remembers):
        def syscall(self, cpu: Remembers.Cpu, task: Policy.Task) -> Iterator[None]:
            yield
            cpu.save(cpu.last)

    def learned(policy: type[Policy]) -> int:
        rows = Rows(policy, interruptible=True)
        key = ELSEWHERE << int(rows.table.handlers[Event.SYSCALL, H_CPU_POINTER])
        rows.learn(Event.SYSCALL, key)
        r = rows.learn(N_EVENTS + 1, key)
        return int(rows.table.rows[r, R_OPS + 1])

    assert learned(ReadsAgain) == SAVE | ELSEWHERE << 8
    with pytest.raises(FpstateError, match=r"uses what cpu\.last named before a point"):
        learned(Remembers)


def test_where_a_handler_stands_hangs_on_what_it_has_read() -> None:
    """Not on all that was in view: points that differ in what nobody looked at are one."""

    class Looks(Policy):
        name = "looks"

        class Task(Policy.Task):
            seen: bool = False
            unseen: bool = False

        def syscall(self, cpu: Policy.Cpu, task: Task) -> Iterator[None]:
            first = task.seen
            yield
            if first:
                cpu.save(task)

    rows = Rows(Looks, interruptible=True)
    shift = {f.name: f.shift for f in rows.fields.lists["Task"]}
    base = int(rows.table.handlers[Event.SYSCALL, H_TASK])
    next_of = {}
    for seen, unseen in ((0, 0), (0, 1), (1, 0), (1, 1)):
        key = (seen << shift["seen"] | unseen << shift["unseen"]) << base
        next_of[seen, unseen] = int(rows.table.rows[rows.learn(Event.SYSCALL, key), R_NEXT])
    assert next_of == {(0, 0): 1, (0, 1): 1, (1, 0): 2, (1, 1): 2}
    assert [rows.decide(N_EVENTS + point, 0)[0].ops for point in (1, 2)] == [[], [(SAVE, TASK, 0)]]


@pytest.mark.parametrize("name", ["linux-5.13", "linux-6.1.y", "linux-6.12.y", "linux-7.2"])
def test_a_kernel_function_is_entered_once(name: str) -> None:
    """Also where a policy's method goes on to the one it overrides: a tracer shows one call."""
    rows = Rows(with_features(find_policy(name), ["sve"]))
    for foreign in (0, 1):

        def view(_: str, f: Field, foreign: int = foreign) -> int:
            return foreign * (f.name == "foreign")

        assert rows.run(Event.SVE_TRAP, view)[0].trace.count(("do_sve_acc", 0)) == 1


@pytest.mark.parametrize("mode", ["sm", "za"])
def test_streaming_mode_is_changed_by_operations_alone(mode: str) -> None:
    """SVCR is no variable: writing it loses registers, so a handler must say so. A task's field may be called so."""

    class Assigns(Policy):
        name = "assigns"
        supports = frozenset({"sve", "sme"})

        class Task(Policy.Task):
            sm: bool = False
            za: bool = False

        def ret_to_user(self, cpu: Policy.Cpu, task: Task) -> None:
            setattr(task, mode, True)

    class AssignsCpu(Assigns):
        def ret_to_user(self, cpu: Policy.Cpu, task: Assigns.Task) -> None:
            setattr(cpu, mode, True)

    Rows(with_features(Assigns, ["sme"])).learn(Event.RET_TO_USER, 0)
    assert f"sets cpu.{mode}; SVCR is changed by set_svcr and smstop" in refused(with_features(AssignsCpu, ["sme"]))


def test_an_oops_with_a_target_comes_about_for_kernel_mode_state_alone() -> None:
    """As for code that looks for more than a section's state has."""
    rows = Rows(find_policy("linux-4.18"))
    _, world = build(Scope(1, 2, 0), rows)
    report = new_report(N_COUNTS)
    code = OOPS | ELSEWHERE << 8
    context = int(world.cpu[0, CURRENT])
    for owner, verdict in ((own(context), OK), (kernel_of(context), NULL_POINTER), (0, OK)):
        world.cpu[0, POINTER] = owner
        assert carry_out(world, code, 0, context, context, report) == verdict
    assert carry_out(world, OOPS, 0, context, context, report) == NULL_POINTER
    assert op_text(code, {ELSEWHERE: "whom last_state names"}) == "oops if whom last_state names is kernel-mode state"


def test_what_a_view_does_not_decide_is_a_line_of_the_table() -> None:
    """And a refusal, with its sentence, to an engine that needs it."""

    class Unsure(Policy):
        name = "unsure"

        class Cpu(Policy.Cpu):
            last: Context | None = None

        def exec(self, cpu: Cpu, task: Policy.Task) -> None:
            if cpu.last is not None and cpu.last is not task:
                raise Undecided("does what hangs on more than the view")
            cpu.overwrite(task)

    table = {rule.when: rule.then for rule in decision_table(Unsure) if rule.event == "exec"}
    assert table["cpu.last = another",] == ("not decided by what is in view",)
    assert table["cpu.last = task",] == ("overwrite task",)
