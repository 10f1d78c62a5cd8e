"""The checker can fail: single changes of the rows of correct policies are found, or do no harm."""

from __future__ import annotations

import pytest

from fpstate.check.mutants import EQUAL, FOUND, HARMLESS, OPEN, try_mutants
from fpstate.paths.scope import Scope
from fpstate.policies.catalogue import find_policy


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linux-4.18", "first-class"])
def test_random_mutants_are_found_or_do_no_harm(name: str) -> None:
    """Of 40 mutants most are found; the rest reach the same states, or are correct policies themselves."""
    mutants = try_mutants(find_policy(name), Scope(2, 1, 1), Scope(2, 2, 1), seed=1, count=40)
    outcomes = [m.outcome for m in mutants]
    assert outcomes.count(FOUND) >= len(mutants) // 2
    assert outcomes.count(OPEN) == 0
    assert outcomes.count(FOUND) + outcomes.count(EQUAL) + outcomes.count(HARMLESS) == len(mutants)
    drops = [m for m in mutants if "drop" in m.what or "swap" in m.what]
    assert all(m.outcome != HARMLESS for m in drops), "an operation nobody needs"
