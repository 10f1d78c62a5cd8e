"""All kinds of jobs by name."""

from __future__ import annotations

from fpstate.errors import unknown_name
from fpstate.fleet.kind import Kind

NAMES = ("compare", "check", "run", "search")


def kind_of(name: str) -> Kind:
    """Return a kind by its name; its engines are imported with it. Raise FpstateError if there is none."""
    if name == "compare":
        from fpstate.fleet.comparing import KIND
    elif name == "check":
        from fpstate.fleet.checking import KIND
    elif name == "run":
        from fpstate.fleet.running import KIND
    elif name == "search":
        from fpstate.fleet.searching import KIND
    else:
        raise unknown_name("kind of job", name, NAMES)
    return KIND
