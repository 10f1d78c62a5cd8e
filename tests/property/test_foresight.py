"""The least without foresight, against each way to choose, tried on traces of a few events."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.replay.bound import bound
from fpstate.replay.foresight import AHEAD, TRAPPED, loads_either_way
from fpstate.world.events import Event as E
from tests.property.test_bound import DESTROYS, EVERY, NEW_VALUE, NOBODY, OWNERS, Happening, traced
from tests.tiny import LOAD, VCPU, VMM

ENTRIES: list[Happening] = [
    (event, c, x) for event, x in ((E.RET_TO_USER, VMM), (E.RET_TO_USER, LOAD), (E.GUEST_ENTER, VCPU)) for c in (0, 1)
]
USES = (E.USER_FP, E.GUEST_FP)


def loads(happenings: list[Happening], ahead: set[int]) -> dict[int, int]:
    """Return how often each context is loaded, if those in `ahead` are at entry, and all others when they trap."""
    version, fresh = dict.fromkeys(OWNERS, 0), set(OWNERS)
    held = {0: (NOBODY, 0), 1: (NOBODY, 0)}
    made = dict.fromkeys(OWNERS, 0)
    for event, c, x in happenings:
        if event in DESTROYS:
            held[c] = (NOBODY, 0)
        elif event in NEW_VALUE:
            version[x] += 1
            (fresh.add if event in (E.EXEC, E.VCPU_RESET) else fresh.discard)(x)
        elif event != E.SIGNAL and (event in USES or x in ahead):
            if held[c] != (x, version[x]) and x not in fresh:
                made[x] += 1
                held[c] = (x, version[x])
            if event in USES:
                version[x] += 1
                held[c] = (x, version[x])
                fresh.discard(x)
    return made


@settings(max_examples=100, deadline=None)
@given(happenings=st.lists(st.sampled_from([*EVERY, *ENTRIES * 3]), min_size=1, max_size=14))
def test_it_is_the_least_of_all_ways_to_choose(happenings: list[Happening]) -> None:
    """Exact for each context where it alone is loaded in advance, and never more than where others are as well."""
    trace = traced(happenings)
    found = loads_either_way(trace, maybe=False)
    assert found[:, TRAPPED].sum() == bound(trace, maybe=False)[1]
    for size in range(len(OWNERS) + 1):
        for ahead in map(set, itertools.combinations(OWNERS, size)):
            made = loads(happenings, ahead)
            for x in OWNERS:
                least = int(found[x, AHEAD if x in ahead else TRAPPED])
                assert made[x] == least if ahead <= {x} else made[x] >= least
