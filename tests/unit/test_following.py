"""When values are followed one by one, which, and what is said of it."""

from __future__ import annotations

import pytest

from fpstate.check import following, run
from fpstate.check.run import HOLDS, INCOMPLETE, VIOLATED, check
from fpstate.paths.properties import DEFAULT, bits_of
from fpstate.paths.scope import Scope, build
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import bugs, find_policy
from fpstate.rows.fields import features_of
from fpstate.rows.learn import Rows

SMALL = Scope(1, 1, 1, 0, ("all", "-ptrace"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "FEW", 1000)


def is_worth_it(features: tuple[str, ...], properties: tuple[str, ...]) -> bool:
    policy = with_features(find_policy("first-class"), features)
    return following.is_worth_it(features_of(policy), build(SMALL, Rows(policy))[0], bits_of(properties))


def test_all_that_may_be_wrong_with_values_must_be_looked_for() -> None:
    """A leak is found as a break of integrity; a wrong length ends a row where it is known alone."""
    assert is_worth_it(("sve",), DEFAULT)
    assert is_worth_it(("sve",), (*DEFAULT, "down-mode"))
    assert not is_worth_it(("sve",), ("confidentiality",))
    assert not is_worth_it(("sve",), ("integrity", "confidentiality"))
    assert not is_worth_it(("sve",), (*DEFAULT, "lost-update"))
    assert not is_worth_it((), DEFAULT)


def test_each_class_of_one_context_of_each_kind_is_followed() -> None:
    policy = with_features(find_policy("first-class"), ("guest-sve",))
    each = following.each(Scope(2, 2, 2, 1, plain_vcpus=1), features_of(policy))
    of: dict[str, tuple[str, ...]] = {"A": ("V", "Z", "the vector length"), "vcpu0": ("V", "Z", "the vector length")}
    of |= {"vcpu1": ("V", "Z", "the vector length"), "idle0": ("V",), "kthread0": ("V",)}
    assert set(each) == {f"{k} of {x}" for x, classes in of.items() for k in classes}
    assert len(set(each.values())) == len(each)


@pytest.mark.usefixtures("few")
def test_what_was_followed_is_said() -> None:
    result = check(with_features(find_policy("first-class"), ("sve",)), SMALL)
    assert result.verdict == HOLDS
    assert result.followed == ("V of A", "Z of A", "the vector length of A", "V of vcpu0", "V of idle0")
    assert result.caveats()[0].startswith("followed one by one, in a search each: V of A, Z of A")
    assert result.to_json()["followed"] == list(result.followed)


@pytest.mark.usefixtures("few")
def test_a_bound_is_reached_in_each_search() -> None:
    result = check(with_features(find_policy("first-class"), ("sve",)), SMALL, max_states=1001)
    assert result.verdict == INCOMPLETE


def test_nothing_is_followed_where_there_are_few_states() -> None:
    assert check(with_features(find_policy("first-class"), ("sve",)), SMALL).followed == ()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", ["K1", "K3", "K6"])
def test_what_is_found_is_told_with_all_values_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = bugs()[name]
    scope, policy = (
        Scope(bug.cpus, bug.tasks, bug.vcpus, bug.kthreads, bug.events),
        with_features(bug.faulty, bug.features),
    )
    found = check(policy, scope)
    monkeypatch.setattr(run, "FEW", 10**9)
    whole = check(policy, scope)
    assert found.followed
    assert found.depth == whole.depth
    assert found.path is not None
    assert whole.path is not None
    assert found.verdict == whole.verdict == VIOLATED
    assert len(found.path.steps) == len(whole.path.steps)
    assert run.replay_path(policy, scope, found.path.code).path == found.path
