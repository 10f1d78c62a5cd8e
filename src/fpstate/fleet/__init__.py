"""Many answers at once: what `compare`, `check`, `run` and `search` say of all combinations, as rows of one table.

    import fpstate.fleet

    for row in fpstate.fleet.check(["eager", "linux-6.14"], fpstate.fleet.Scopes(cpus=(1, 2))):
        print(row["policy"], row["cpus"], row["verdict"])

A combination is an `Ask`, one row of the table; a `Job` is what one worker does at a time. `asking` has what the
commands do as functions; `go` takes jobs through this process or through Dask's workers (`cluster`), and keeps rows as
they come (`table`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fpstate.fleet.asking import check as check
    from fpstate.fleet.asking import compare as compare
    from fpstate.fleet.asking import run as run
    from fpstate.fleet.asking import search as search
    from fpstate.fleet.checking import Scopes as Scopes
    from fpstate.fleet.running import Machines as Machines
    from fpstate.fleet.searching import Searches as Searches
    from fpstate.fleet.where import Where as Where

__all__ = ["Machines", "Scopes", "Searches", "Where", "check", "compare", "run", "search"]
_FROM = {"Machines": "running", "Scopes": "checking", "Searches": "searching", "Where": "where"}


def __getattr__(name: str) -> Any:
    """Import what is asked for: nothing is before it is needed."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FROM.get(name, 'asking')}"), name)
