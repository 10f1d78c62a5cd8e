"""What is argued about in 2026: the naive way of each goes wrong as its page says, and the way proposed holds."""

from __future__ import annotations

import pytest

from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.paths.scope import Scope
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import find_policy

MODES = Scope(1, 1, 1, 0, ("base", "kvm", "neon", "guest_sve", "guest_sme"))


@pytest.mark.parametrize(
    ("name", "broken"),
    [("Written", "memory-safety"), ("InTrap", "mode-bits"), ("sme-guest-v12", ""), ("first-class-sme", "")],
)
def test_who_may_write_svcr_at_guest_entry(name: str, broken: str) -> None:
    """Where the registers may be somebody's, he must be given up first; and it cannot wait for the first trap."""
    policy = find_policy(name if "-" in name else f"examples/argued.py:{name}")
    found = check(with_features(policy, ["guest-sme"]), MODES, cores=1)
    assert (found.verdict, found.property) == (VIOLATED if broken else HOLDS, broken)
