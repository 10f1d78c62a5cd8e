"""The checker can fail: single changes of the rows of correct policies are found, or shown to do no harm."""

from __future__ import annotations

from collections import Counter

import pytest

from fpstate.check.mutants import FOUND, OPEN, SAME_OPERATIONS, SAME_VALUES, try_mutants
from fpstate.paths.scope import Scope
from fpstate.policies.catalogue import find_policy

SCOPES = [Scope(2, 1, 1), Scope(1, 2, 1), Scope(2, 2, 0)]


@pytest.mark.long
@pytest.mark.parametrize("name", ["linux-4.18", "first-class"])
def test_random_mutants_are_found_or_do_no_harm(name: str) -> None:
    """Of 25 mutants most are found; of the rest it is known over all orders of events what they do otherwise."""
    mutants = try_mutants(find_policy(name), SCOPES, seed=1, count=25)
    outcomes = Counter(m.outcome for m in mutants)
    assert outcomes[FOUND] >= len(mutants) // 2
    assert outcomes[OPEN] == 0
    assert outcomes[FOUND] + outcomes[SAME_OPERATIONS] + outcomes[SAME_VALUES] == len(mutants)
    lost = [m for m in mutants if m.what.endswith(("drop save", "drop load")) and m.outcome == SAME_OPERATIONS]
    assert not lost, "an operation was dropped, and as many are carried out"
