"""What names and paths stand for, in commands and in the Python interface alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.policies.base import Policy
    from fpstate.traces.trace import Trace


def words(given: str | Iterable[str] | None) -> list[str]:
    """Return the names in what may be several: by comma, one by one, or both.

    FILE.py:CLASS is one name, whatever commas the path has.
    """
    found = []
    for text in [given] if isinstance(given, str) else given or []:
        path, _, last = text.rpartition(":")
        names = [text] if "," not in last and Path(path).is_file() else text.split(",")
        found += [name.strip() for name in names if name.strip()]
    if not found and given:
        raise FpstateError(f"{given!r} names nothing", expected="a name, or nothing at all")
    return found


def chosen(name: str) -> type[Policy]:
    """Return the policy of that name; a method of it that nothing ever calls is told on stderr."""
    from fpstate.kernel.named import PREFIX, named_kernel
    from fpstate.policies.catalogue import find_policy
    from fpstate.rows.handlers import never_called

    if name.startswith(PREFIX):
        return named_kernel(name)
    policy = find_policy(name)
    for method, where in never_called(policy):
        about = f"nothing calls method '{method}' of policy '{policy.name}', and no event has that name"
        sys.stderr.write(f"fpstate: note: {os.path.relpath(where)}: {about}; docs/policies.md lists the events\n")
    return policy


def policy_of(given: str | type[Policy]) -> type[Policy]:
    """Return the policy of that name, or a class, looked at as one in a file is; FpstateError if it is no policy."""
    if isinstance(given, str):
        return chosen(given)
    from fpstate.policies.base import Policy
    from fpstate.policies.catalogue import policies
    from fpstate.policies.own import fitting

    if not (isinstance(given, type) and issubclass(given, Policy)):
        raise FpstateError(f"{given!r} is no policy", expected="its name, FILE.py:CLASS, or a subclass of Policy")
    if given.__module__.startswith("fpstate."):
        return given
    return fitting(given, policies())


def trace_of(given: str | os.PathLike[str] | Trace) -> Trace:
    """Return a trace, by its path or the name of a bundled one; FpstateError if there is none, or it cannot be read."""
    from fpstate.traces.samples import open_trace
    from fpstate.traces.trace import Trace

    if isinstance(given, Trace):
        return given
    try:
        return open_trace(os.fspath(given))
    except OSError as error:
        what = f"cannot read '{error.filename or given}': {error.strerror or error}"
        raise FpstateError(what, expected="a trace file") from error
