"""examples/any_count.py: each run of a policy with its own numbers is one of the runs with counts that end any time.

Handler by handler, on every path through it: whatever the counters are, some setting of the clocks makes the same
handler of the other policy do the same, and leave counters that stand for these, with no clock set.
"""

from __future__ import annotations

from itertools import product

import pytest

from fpstate.errors import FpstateError
from fpstate.policies.adaptive import Adaptive, AdaptiveWiped
from fpstate.policies.adaptive_dirty import AdaptiveDirty
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_policy
from fpstate.rows.decisions import Path, _paths
from fpstate.rows.fields import Field
from fpstate.rows.learn import Rows
from fpstate.rows.session import Decision
from fpstate.world.events import PARTICIPANTS, Event
from fpstate.world.operations import START_TIMER

MORE = 3
OWN = (Adaptive, AdaptiveWiped, AdaptiveDirty)
Codes = dict[tuple[str, str], int]


def numbered(policy: type[Policy], first: int, most: int, settled: int) -> type[Policy]:
    ends = {"first": first, "most": most, "settled": settled}
    return type(policy.__name__, (policy,), {"name": policy.name, "__module__": policy.__module__, **ends})


def any_count(policy: type[Policy]) -> type[Policy]:
    name = policy.__name__.replace("Adaptive", "Any")
    return find_policy(f"examples/any_count.py:{'AnyCount' if name == 'Any' else name}")


def stands_for(policy: type[Policy], name: str, code: int) -> int:
    """Return the code that stands for that of a counter, and any other code itself."""
    if name == "load_fp":
        return min(code, MORE)
    return int(code == policy.settled) if name == "stays" else code  # type: ignore[attr-defined]


def decided(rows: Rows, event: Event, known: Codes, clocks: tuple[int, int]) -> Decision | None:
    """Return what a handler does on a view, None if it asks for what is not known of it."""
    asked = {("task", "expired"): clocks[0], ("second", "expired"): clocks[1]} | known

    def choose(role: str, f: Field) -> int:
        return asked[role, f.name]

    try:
        return rows.run(event, choose)[0]
    except (KeyError, FpstateError):
        return None


def after(known: Codes, decision: Decision) -> Codes:
    return known | dict(decision.writes)


def follows(policy: type[Policy], rows: Rows, event: Event, path: Path, own: Decision) -> bool:
    """Tell whether some setting of the clocks makes the other policy follow."""
    known = {(role, f.name): code for role, f, code in path}
    seen = {(role, name): stands_for(policy, name, code) for (role, name), code in known.items()}
    goal = {(role, name): stands_for(policy, name, code) for (role, name), code in after(known, own).items()}
    for clocks in product((0, 1), (0, 1)):
        other = decided(rows, event, seen, clocks)
        if other is None or [op for op in other.ops if op[0] != START_TIMER] != own.ops:
            continue
        came = after(seen | {("task", "expired"): clocks[0], ("second", "expired"): clocks[1]}, other)
        if not came.pop(("task", "expired")) and not came.pop(("second", "expired")) and came == goal:
            return True
    return False


@pytest.mark.parametrize("features", ["", "nvhe", "aarch32", "barriers", "sve", "guest-sve"])
@pytest.mark.parametrize("numbers", [(3, 31, 7), (3, 4, 1), (9, 5, 2)])
@pytest.mark.parametrize("policy", OWN)
def test_each_handler_is_followed(policy: type[Policy], numbers: tuple[int, int, int], features: str) -> None:
    """Each handler, with each view, has its like; the counters may be anything up to their ends."""
    if features and features not in policy.supports:
        pytest.skip("the policy does not know that feature")
    wanted = [features] if features else []
    own = with_features(numbered(policy, *numbers), wanted)
    rows, other, first = Rows(own), Rows(with_features(any_count(policy), wanted)), max(numbers[:2])
    paths = 0
    for event in PARTICIPANTS:
        if rows.handler(event) is None:
            continue
        for path, decision in _paths(rows, event, kernel=False):
            within = all(code <= {"load_fp": first, "stays": numbers[2]}.get(f.name, code) for _, f, code in path)
            if decision is None or not within or any(f.name == "expired" for _, f, _ in path):
                continue
            paths += 1
            assert follows(own, other, event, path, decision), (event, [(r, f.name, c) for r, f, c in path])
    assert paths > 100


@pytest.mark.parametrize("wrong", ["guest_enter", "arrive"])
def test_a_count_that_does_not_end_is_found(wrong: str) -> None:
    """Without the clock the other policy is no match: the test can fail."""
    base = any_count(AdaptiveDirty)
    own = Rows(numbered(AdaptiveDirty, 3, 31, 7))
    deaf = type("Deaf", (base,), {"name": "deaf", wrong: getattr(AdaptiveDirty, wrong)})
    other = Rows(deaf)
    event = Event.GUEST_ENTER if wrong == "guest_enter" else Event.VCPU_LOAD
    cases = [(path, d) for path, d in _paths(own, event, kernel=False) if d is not None]
    assert not all(follows(own.policy, other, event, path, decision) for path, decision in cases)
