"""Following values one by one says what a search that knows all of them says, at the same depth."""

from __future__ import annotations

import pytest

from fpstate.check.run import Question
from fpstate.paths.properties import DEFAULT, bits_of
from fpstate.paths.scope import Scope
from fpstate.policies.base import with_features
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.catalogue import bugs, find_policy
from fpstate.rows.learn import Rows
from tests.property.test_unread import changes

OF_MOVES = {name: bug for name, bug in bugs().items() if bug.property in DEFAULT}
FEW = ("A1", "A4", "A8", "A15", "A23-delivery", "A26", "B8", "B26", "K9", "M-clone", "M-fpexc", "M-mpx", "P4", "S6")
CASES = (
    ("linux-6.14", (), Scope(2, 1, 1)),
    ("linux-6.16", (), Scope(1, 2, 1, 1)),
    ("first-class-dirty", (), Scope(2, 1, 1)),
    ("examples/any_learning.py:AnyLearningDirty", (), Scope(1, 1, 1)),
    ("examples/any_learning.py:AnyLearningWiped", (), Scope(1, 2, 0)),
    ("linux-6.12.y", ("sve",), Scope(1, 1, 1, 0, ("all", "-ptrace"))),
    ("first-class", ("sve", "guest-sve"), Scope(1, 1, 1, 0, ("all", "-ptrace"))),
    ("examples/any_learning.py:AnyLearning", ("sve",), Scope(1, 1, 1)),
)


def same_both_ways(rows: Rows, scope: Scope) -> bool:
    """Compare the two ways to search; return whether something is violated."""
    question = Question(rows, scope, bits_of(DEFAULT), fold=True, cores=1)
    whole, (each, _) = question.search(3_000_000), question.one_by_one(3_000_000)
    assert whole.complete
    assert each.complete
    lengths = [len(end.path.steps) if end.path else 0 for end in (whole, each)]
    assert lengths[0] == lengths[1]
    return bool(whole.path)


def compare_bug(bug: Bug) -> None:
    scope = Scope(bug.cpus, bug.tasks, bug.vcpus, bug.kthreads, bug.events)
    for side, wrong in ((bug.faulty, True), (bug.fixed, False)):
        assert same_both_ways(Rows(with_features(side, bug.features), interruptible=True), scope) == wrong


@pytest.mark.parametrize("name", FEW)
def test_bugs_are_found_either_way(name: str) -> None:
    compare_bug(OF_MOVES[name])


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(set(OF_MOVES) - set(FEW)))
def test_every_bug_is_found_either_way(name: str) -> None:
    compare_bug(OF_MOVES[name])


def compare_changes(case: tuple[str, tuple[str, ...], Scope], number: int, seed: int) -> int:
    name, features, scope = case
    policy = with_features(find_policy(name), features)
    return sum(same_both_ways(rows, scope) for rows in changes(policy, scope, number, seed))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_single_changes_are_found_either_way(case: tuple[str, tuple[str, ...], Scope]) -> None:
    """Of rows; or it holds both ways."""
    assert compare_changes(case, 5, seed=3)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=str)
def test_many_single_changes_are_found_either_way(case: tuple[str, tuple[str, ...], Scope]) -> None:
    assert compare_changes(case, 12, seed=4)
