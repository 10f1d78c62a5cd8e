"""What each policy of the package shows others, as it was checked: a table that `make docs` makes, kept beside it.

Both are properties of a policy, not of a trace: whether another's values lie behind nothing but a trap, and whether a
clock tells that another has used FP.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TypedDict

from fpstate.policies.base import Policy

FILE = Path(__file__).with_name("shown.json")


class Shown(TypedDict):
    """What came of a check: its verdict, the scope in words, and how many states or pairs were looked at."""

    verdict: str
    scope: str
    states: int


@cache
def table() -> dict[str, dict[str, Shown]]:
    """Return what was found, by policy and property."""
    found: dict[str, dict[str, Shown]] = json.loads(FILE.read_text("utf-8"))
    return found


def shown_by(policy: type[Policy]) -> dict[str, Shown] | None:
    """Return what was found of a policy by property; None of one that is not the package's own: nobody has looked."""
    own = policy.__module__.startswith("fpstate.policies.") and not policy.features
    return table().get(policy.name) if own else None
