"""examples/any_learning.py: each run of a policy that learns is a run in which a coin stands for all it has learned.

Handler by handler, on every path through it: whatever was learned, the coin can fall so that the same handler of the
other policy does the same, and leaves fields that stand for these.
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

OWN = (Adaptive, AdaptiveWiped, AdaptiveDirty)
LEARNED = ("load_fp", "stays")
"""Fields that say nothing under the other policy; there they stay as they are at the start."""
Codes = dict[tuple[str, str], int]


def numbered(policy: type[Policy], first: int, most: int, settled: int) -> type[Policy]:
    ends = {"first": first, "most": most, "settled": settled}
    return type(policy.__name__, (policy,), {"name": policy.name, "__module__": policy.__module__, **ends})


def any_learning(policy: type[Policy]) -> type[Policy]:
    return find_policy(f"examples/any_learning.py:{policy.__name__.replace('Adaptive', 'AnyLearning')}")


def decided(rows: Rows, event: Event, known: Codes) -> Decision | None:
    """Return what a handler does on a view, None if it asks for what is not known of it."""

    def choose(role: str, f: Field) -> int:
        return 0 if f.name in LEARNED else known[role, f.name]

    try:
        return rows.run(event, choose)[0]
    except (KeyError, FpstateError):
        return None


def after(known: Codes, decision: Decision) -> Codes:
    """Return what is known after a handler, but for what is learned."""
    return {key: code for key, code in (known | dict(decision.writes)).items() if key[1] not in (*LEARNED, "coin")}


def stands_for(came: Codes, goal: Codes) -> bool:
    """Tell whether fields of the other policy stand for these: where tasks use SVE there is storage for it."""
    if any(came.get(key, 0) < goal[key] for key in goal if key[1] == "load_sve"):
        return False
    rest, wanted = ({key: code for key, code in codes.items() if key[1] != "load_sve"} for codes in (came, goal))
    return rest == wanted


def follows(rows: Rows, event: Event, path: Path, own: Decision) -> bool:
    """Tell whether the other policy follows, the coin falling in some way, from each view that stands for this one."""
    known = {(role, f.name): code for role, f, code in path}
    with_storage = [key for key, code in known.items() if key[1] == "load_sve" and not code]
    for more in product((0, 1), repeat=len(with_storage)):
        seen = known | dict(zip(with_storage, more, strict=True))
        ways = [decided(rows, event, seen | {("cpu", "coin"): coin}) for coin in range(3)]
        if not any(d and d.ops == own.ops and stands_for(after(seen, d), after(known, own)) for d in ways):
            return False
    return True


@pytest.mark.parametrize("features", ["", "nvhe", "aarch32", "barriers", "sve", "guest-sve"])
@pytest.mark.parametrize("numbers", [(3, 31, 7), (3, 4, 1), (9, 5, 2)])
@pytest.mark.parametrize("policy", OWN)
def test_each_handler_is_followed(policy: type[Policy], numbers: tuple[int, int, int], features: str) -> None:
    """Each handler, with each view, has its like; the counters may be anything up to their ends."""
    if features and features not in policy.supports:
        pytest.skip("the policy does not know that feature")
    wanted = [features] if features else []
    own = with_features(numbered(policy, *numbers), wanted)
    rows, other, first = Rows(own), Rows(with_features(any_learning(policy), wanted)), max(numbers[:2])
    paths = 0
    for event in PARTICIPANTS:
        if rows.handler(event) is None:
            continue
        for path, decision in _paths(rows, event, kernel=False):
            within = all(code <= {"load_fp": first, "stays": numbers[2]}.get(f.name, code) for _, f, code in path)
            if decision is None or not within:
                continue
            paths += 1
            assert follows(other, event, path, decision), (event, [(r, f.name, c) for r, f, c in path])
    assert paths > 100


@pytest.mark.parametrize("wrong", ["task_uses_fp", "vcpu_uses_fp", "leaves_dirty"])
def test_what_does_not_ask_the_coin_is_found(wrong: str) -> None:
    """Without the coin the other policy is no match: the test can fail."""
    own = Rows(numbered(AdaptiveDirty, 3, 31, 7))
    deaf = type("Deaf", (any_learning(AdaptiveDirty),), {"name": "deaf", wrong: lambda *_: False})
    other = Rows(deaf)
    events = (Event.GUEST_ENTER, Event.RET_TO_USER, Event.THREAD_SWITCH)
    cases = [(e, path, d) for e in events for path, d in _paths(own, e, kernel=False) if d is not None]
    assert not all(follows(other, event, path, decision) for event, path, decision in cases)
