"""What nobody will know of makes no difference: searches that leave it out find what searches of whole worlds find."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from fpstate.check.run import search_for
from fpstate.paths.properties import DEFAULT, bits_of, first_name
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_policy
from fpstate.rows.learn import Rows
from fpstate.rows.session import Decision
from fpstate.world.events import Event

Outcome = tuple[bool, int, str]


class Changed(Rows):
    """Rows of a policy of which one decision is another wherever it is made: it lacks an operation or a write."""

    event = Event.NONE
    decision: tuple[Any, ...] = ()
    lacks = 0

    def run(self, event: Event, *views: Any) -> tuple[Decision, bool]:
        decision, more = super().run(event, *views)
        if event == self.event and decision.key() == self.decision:
            if self.lacks < len(decision.ops):
                del decision.ops[self.lacks]
            else:
                decision.writes.pop(list(decision.writes)[self.lacks - len(decision.ops)])
        return decision, more


def changes(policy: type[Policy], scope: Scope, number: int, seed: int) -> Iterator[Changed]:
    """Yield rows with single changes of decisions that are made in a scope, at random, never the same twice."""
    rows = Rows(policy, interruptible=True)
    assert outcome(rows, scope, forget=True) == (True, 0, "")
    made = {(rows.chain(e, key)[0], rows.decide(e, key)[0].key()) for e, key in rows.names}
    ways = [(e, key, n) for e, key in sorted(made, key=repr) for n in range(len(key[0]) + len(key[1]))]
    for event, key, lacks in random.Random(seed).sample(ways, min(number, len(ways))):
        changed = Changed(policy, interruptible=True)
        changed.event, changed.decision, changed.lacks = event, key, lacks
        yield changed


def outcome(rows: Rows, scope: Scope, *, forget: bool) -> Outcome:
    """Return whether something is violated, at which depth, and what."""
    wanted = bits_of(DEFAULT)
    found = search_for(rows, scope, wanted, fold=True, cores=1, zeros=True, forget=forget).run(3_000_000)
    broken = found.violation[2] if found.violation else 0
    return found.complete, found.depth if broken else 0, first_name(broken) if broken else ""


CASES = (
    ("linux-4.18", (), Scope(2, 1, 1)),
    ("linux-6.14", (), Scope(2, 1, 1)),
    ("linux-6.16", (), Scope(1, 2, 1, 1)),
    ("first-class", (), Scope(2, 2, 0)),
    ("first-class-dirty", (), Scope(2, 1, 1)),
    ("adaptive-wiped", (), Scope(1, 2, 0)),
    ("zephyr", (), Scope(2, 2, 0)),
    ("linux-6.12.y", ("sve",), Scope(1, 1, 1, 0, ("all", "-ptrace"))),
    ("first-class", ("sve", "guest-sve"), Scope(1, 1, 1, 0, ("all", "-ptrace"))),
)


def compare_changes(case: tuple[str, tuple[str, ...], Scope], number: int, seed: int) -> int:
    """Compare searches of changed rows; return how many of the changes were found."""
    name, features, scope = case
    found = 0
    for rows in changes(with_features(find_policy(name), features), scope, number, seed):
        whole = outcome(rows, scope, forget=False)
        assert outcome(rows, scope, forget=True) == whole, (rows.event, rows.decision, rows.lacks)
        found += bool(whole[1])
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_single_changes_are_found_as_in_whole_worlds(case: tuple[str, tuple[str, ...], Scope]) -> None:
    """At the same depth, with the same property broken; or it holds in both."""
    assert compare_changes(case, 8, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=str)
def test_many_single_changes_are_found_as_in_whole_worlds(case: tuple[str, tuple[str, ...], Scope]) -> None:
    """The same, of sixty."""
    assert compare_changes(case, 60, seed=2)
