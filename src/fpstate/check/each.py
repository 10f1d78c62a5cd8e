"""A verdict on each property of a policy: searches until no more of them is found violated."""

from __future__ import annotations

from collections.abc import Iterable

from fpstate.check.run import MAX_STATES, Result, check
from fpstate.check.search import Progress
from fpstate.paths.properties import DEFAULT
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy


def check_each(
    policy: type[Policy],
    scope: Scope,
    *,
    properties: Iterable[str] = DEFAULT,
    max_states: int = MAX_STATES,
    progress: Progress = lambda *_: None,
) -> dict[str, Result]:
    """Return, by property, the search that decided it.

    A search ends at the first violation, so what it was for beside that is searched again without. The last search is
    for all that is left, and its verdict is that of each.
    """
    left = list(properties)
    order = list(left)
    found: dict[str, Result] = {}
    while left:
        result = check(policy, scope, properties=left, max_states=max_states, progress=progress)
        decided = [result.property] if result.property else left
        found |= dict.fromkeys(decided, result)
        left = [name for name in left if name not in decided]
    return {name: found[name] for name in order}
