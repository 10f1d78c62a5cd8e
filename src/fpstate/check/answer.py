"""What `check` answers: a search for what corrupts or leaks, one path followed, or a search for what a clock shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fpstate.check.run import MAX_STATES, Result, check, replay_path
from fpstate.check.search import Progress
from fpstate.check.timing import MAX_PAIRS, timing
from fpstate.errors import FpstateError
from fpstate.paths.asked import Asked
from fpstate.paths.properties import TIMING, bits_of


def refuse_together(properties: Sequence[str], path: str | None = None) -> None:
    """Raise FpstateError for properties that there are not, and for one of pairs of worlds with others or a path."""
    if TIMING in properties and (len(properties) > 1 or path is not None):
        given = f"'{TIMING}' is about pairs of worlds, and is searched for alone"
        raise FpstateError(given, expected=f"--property {TIMING}, without a path")
    bits_of(name for name in properties if name != TIMING)


def answer(
    asked: Asked,
    *,
    path: str | None = None,
    max_states: int = MAX_STATES,
    cores: int = 2,
    fold: bool = True,
    progress: Progress = lambda *_: None,
) -> Result:
    """Search as `check` does for what is asked, or follow the path with the code `path`."""
    policy, scope, properties = asked.policy, asked.scope, asked.properties
    refuse_together(properties, path)
    if TIMING in properties:
        result = timing(policy, scope, max_pairs=min(max_states, MAX_PAIRS))
    elif path is not None:
        result = replay_path(policy, scope, path, properties=properties)
    else:
        result = check(
            policy, scope, properties=properties, max_states=max_states, cores=cores, fold=fold, progress=progress
        )
    return replace(result, default=asked.default)
