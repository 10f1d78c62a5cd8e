"""Check what each policy shows others, and write the table that the package keeps of it.

Both properties are searched where `check` looks for them by default: at one CPU with two tasks and at most one vCPU,
without kernel NEON.
"""

from __future__ import annotations

import json
import sys

from fpstate.check.answer import answer
from fpstate.paths.asked import asked_of
from fpstate.paths.properties import TIMING
from fpstate.paths.scope import policy_scope, scope_of_pairs
from fpstate.policies.catalogue import find_policy, policies
from fpstate.policies.shown import FILE, Shown

PROPERTIES = ("transient-exposure", TIMING)


def shown(name: str) -> dict[str, Shown]:
    """Return what is found of a policy, by property."""
    policy, found = find_policy(name), {}
    scope = scope_of_pairs(policy_scope(policy))
    for what in PROPERTIES:
        result = answer(asked_of(name, policy, (), (what,), vars(scope)))  # type: ignore[arg-type]
        found[what] = Shown(verdict=result.verdict, scope=result.scope.counted(), states=result.states)
    return found


def main() -> None:
    """Check all policies, or those named, and write them down."""
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    made = {name: shown(name) for name in sys.argv[1:] or policies()}
    FILE.write_text(json.dumps(dict(sorted((kept | made).items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
