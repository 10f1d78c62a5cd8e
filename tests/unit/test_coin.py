"""A coin: a field of a CPU that falls in any way at each event, and says one thing where events are recorded."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

from fpstate.check.lockstep import compare_policies
from fpstate.check.run import HOLDS, VIOLATED, check, replay_path
from fpstate.errors import FpstateError
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, bounded
from fpstate.policies.first_class import FirstClass
from fpstate.replay.engine import replay
from fpstate.rows.fields import Fields
from fpstate.rows.learn import Rows
from tests import tiny

SMALL = Scope(1, 2, 0)


class Coin(Enum):
    """What may be done with the registers of a task that leaves."""

    SAVE = 0
    SAVE_TOO = 1
    DROP = 2


class Careless(FirstClass):
    """first-class, if the coin does not fall on DROP."""

    name = "careless"

    class Cpu(FirstClass.Cpu):
        coin: Coin = Coin.SAVE

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:  # noqa: A002
        if cpu.coin is Coin.DROP:
            cpu.unsaved = False
        super().thread_switch(cpu, task, next)


class Indifferent(Careless):
    """first-class, however the coin falls."""

    name = "indifferent"

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:  # noqa: A002
        if cpu.coin is not Coin.DROP:
            cpu.isb()
        FirstClass.thread_switch(self, cpu, task, next)


def test_one_way_to_fall_is_enough_to_go_wrong() -> None:
    """The path says how it fell, and its code leads there again."""
    result = check(Careless, SMALL)
    assert result.verdict == VIOLATED
    assert result.path is not None
    assert [text for step in result.path.steps for text in step.changed if text.startswith("coin")] == ["coin=DROP"]
    again = replay_path(Careless, SMALL, result.path.code)
    assert again.path is not None
    assert (again.verdict, again.path.wrong) == (VIOLATED, result.path.wrong)


def test_what_makes_no_difference_makes_no_states() -> None:
    result, plain = check(Indifferent, SMALL), check(FirstClass, SMALL)
    assert (result.verdict, result.states) == (HOLDS, plain.states)


def test_where_events_are_recorded_it_falls_on_its_first_value() -> None:
    steps = tiny.START + tiny.kvm_run(1, fp=True) * 3
    told = [replay(tiny.trace(steps), Rows(policy), maybe=True) for policy in (Careless, FirstClass)]
    assert told[0].wrong == told[1].wrong == 0
    assert told[0].counts.tolist() == told[1].counts.tolist()


@pytest.mark.parametrize("start", [True, bounded(0, 3, 1), bounded(0, 8)])
def test_a_coin_starts_with_its_first_value_of_few(start: object) -> None:
    annotations = {"coin": type(start)}
    cpu = type("Cpu", (Policy.Cpu,), {"coin": start, "__annotations__": annotations, "__module__": __name__})
    with pytest.raises(FpstateError, match="coin"):
        Fields(type("Wrong", (Policy,), {"name": "wrong", "Cpu": cpu}))


class Switched(FirstClass):
    """Wrong if the coin falls one way when a vCPU is put, and another at the switch that this is part of."""

    name = "switched"

    class Cpu(FirstClass.Cpu):
        coin: bool = False
        mark: bool = False

    def vcpu_put(self, cpu: Any, task: Any, vcpu: Any) -> None:
        cpu.mark = cpu.coin
        super().vcpu_put(cpu, task, vcpu)

    def thread_switch(self, cpu: Any, task: Any, next: Any) -> None:  # noqa: A002
        if cpu.mark and not cpu.coin:
            cpu.save(None)
        cpu.mark = False
        super().thread_switch(cpu, task, next)


class Softirq(FirstClass):
    """The same with the two halves of a softirq."""

    name = "softirq"

    class Cpu(FirstClass.Cpu):
        coin: bool = False
        mark: bool = False

    def softirq_neon_begin(self, cpu: Any, task: Any) -> None:
        cpu.mark = cpu.coin
        super().kernel_neon_begin(cpu, task)

    def softirq_neon_end(self, cpu: Any, task: Any) -> None:
        if cpu.mark and not cpu.coin:
            cpu.load(None)
        cpu.mark = False


@pytest.mark.parametrize(("policy", "steps"), [(Switched, 4), (Softirq, 1)])
def test_it_falls_anew_before_each_of_two_events_of_one_move(policy: type[Policy], steps: int) -> None:
    result = check(policy, Scope(1, 1, 1))
    assert result.verdict == VIOLATED
    assert result.path is not None
    assert len(result.path.steps) == steps
    assert "coin=True" in result.path.steps[-1].changed  # and then on its first value


def test_a_coin_is_no_pointer() -> None:
    cpu = type("Cpu", (Policy.Cpu,), {"coin": None, "__annotations__": {"coin": "Policy.Task | None"}})
    with pytest.raises(FpstateError, match="is a coin"):
        Fields(type("Wrong", (Policy,), {"name": "wrong", "Cpu": cpu}))


def test_policies_with_and_without_a_coin_can_be_compared() -> None:
    assert not compare_policies(Rows(Indifferent), Rows(FirstClass), SMALL).apart
