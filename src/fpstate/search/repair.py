"""A fault mended: single edits of the code that ran on the shortest path to it, until one makes the policy hold."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

import numpy as np

from fpstate.check.run import HOLDS, Result, check
from fpstate.errors import FpstateError
from fpstate.paths.asked import Asked
from fpstate.paths.properties import bits_of
from fpstate.paths.scope import build
from fpstate.paths.tell import Path
from fpstate.paths.walk import Walker, follow
from fpstate.policies.base import Policy
from fpstate.rows.learn import Rows
from fpstate.search.edits import Edit, Method, edits
from fpstate.search.judge import Measure
from fpstate.world.events import MAYBE, N_EVENTS, Event


@dataclass(frozen=True)
class Mended:
    """An edit after which the policy holds, and what it then costs on the recording as a ratio to the bound.

    `ratio` is None where it is not measured: the policy need not handle the guests that the recording has. `corrupts`:
    it corrupts registers there, by events that are not in the scope.
    """

    edit: Edit
    ratio: float | None
    corrupts: bool = False


@dataclass(frozen=True)
class Repair:
    """What is wrong with a policy, the edits that mend it, cheapest first, and how many were tried, if not all."""

    fault: Result
    repairs: tuple[Mended, ...]
    tried: int
    complete: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result as in docs/json.md."""
        repairs = [
            {
                "method": f"{each.edit.method.owner.__name__}.{each.edit.method.name}",
                "where": each.edit.method.where,
                "what": each.edit.what,
                "after": each.edit.after,
                "ratio": each.ratio,
                "corrupts": each.corrupts,
            }
            for each in self.repairs
        ]
        return {"fault": self.fault.to_json(), "repairs": repairs, "tried": self.tried, "complete": self.complete}


def repair(
    asked: Asked,
    ranked_on: Measure,
    *,
    keep: int,
    most: int,
    cores: int = 2,
    told: Callable[[int, int], None] = lambda *_: None,
) -> Repair:
    """Return the first `keep` edits that make a policy hold in its scope; try no more than `most`.

    The code that is blamed comes first, then what ran last on the path. An edit must end the path's violation, then
    hold in every order of events, and not corrupt the first recording of `ranked_on`, unless the scope has no guests:
    then it is not measured. If no edit does all of that, those that corrupt it by what is not in the scope are better
    than none. Raise FpstateError if nothing is wrong in that scope.
    """
    fault = check(asked.policy, asked.scope, properties=asked.properties, cores=cores)
    if fault.path is None:
        given = f"policy '{asked.policy.name}' is not at fault there: {fault.told()}"
        raise FpstateError(given, expected="a policy that `fpstate check` finds violated")
    found: list[Mended] = []
    spare: list[Mended] = []
    wider = _wider(asked, ranked_on)
    tried, complete = 0, True
    for edit in _every(asked.policy, _ran(asked, fault.path)):
        if tried == most or len(found) == keep:
            complete = False
            break
        tried += 1
        told(tried, len(found))
        if _holds(edit.policy, asked, fault.path.code, cores):
            mended = _measured(edit, asked, ranked_on)
            if not mended.corrupts:
                found.append(mended)
            elif wider:
                spare.append(mended)
    found = found or spare[:keep]
    found.sort(key=lambda each: (each.ratio is None, each.ratio))
    return Repair(fault, tuple(found), tried, complete)


def _measured(edit: Edit, asked: Asked, ranked_on: Measure) -> Mended:
    """Return the edit with its cost on the recording."""
    if not asked.scope.vcpus:
        return Mended(edit, None)
    try:
        ratio = ranked_on.ratio(edit.policy, 0)
    except FpstateError:
        return Mended(edit, None)
    return Mended(edit, ratio, corrupts=ratio is None)


def _wider(asked: Asked, ranked_on: Measure) -> bool:
    """Tell whether the recording has events that are not in the scope: interrupts alone do nothing."""
    allowed = build(asked.scope, Rows(asked.policy))[0].events
    happened = {MAYBE.get(Event(e), Event(e)) for e in np.unique(ranked_on.traces[0].event).tolist() if e < N_EVENTS}
    return any(not allowed >> event & 1 for event in happened - {Event.INTERRUPT})


def _every(policy: type[Policy], methods: list[Method]) -> Iterator[Edit]:
    for method in methods:
        yield from edits(policy, method)


def _holds(policy: type[Policy], asked: Asked, code: str, cores: int) -> bool:
    """Tell whether an edited policy holds; one whose code asks for the impossible does not."""
    try:
        if _ends_there(policy, asked, code):
            return False
        return check(policy, asked.scope, properties=asked.properties, cores=cores).verdict == HOLDS
    except FpstateError:
        return False


def _ends_there(policy: type[Policy], asked: Asked, code: str) -> bool:
    """Tell whether a path still breaks a property; where it cannot be walked any more, it does not."""
    try:
        broken, _ = follow(Walker(Rows(policy, interruptible=True), asked.scope), code, bits_of(asked.properties))
    except FpstateError:  # other moves may be made on it, or the code asks for the impossible: the search will tell
        return False
    return bool(broken)


def _ran(asked: Asked, path: Path) -> list[Method]:
    """Return the policy's methods that ran on a path: those blamed for it first, then the last that ran."""
    by_code = methods_of(asked.policy)
    ran: dict[CodeType, None] = {}

    def note(frame: FrameType, what: str, _: Any) -> None:
        if what == "call" and frame.f_code in by_code:
            ran.pop(frame.f_code, None)
            ran[frame.f_code] = None

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        _ends_there(asked.policy, asked, path.code)
    finally:
        sys.setprofile(before)
    return sorted((by_code[code] for code in reversed(ran)), key=lambda method: not _blamed(method, path.blame))


def _blamed(method: Method, blame: str) -> bool:
    """Tell whether a line that is blamed is one of the method's."""
    code = inspect.unwrap(method.function).__code__
    numbers = [number for _, _, number in code.co_lines() if number]
    lines = re.findall(rf"{re.escape(code.co_filename)}:(\d+)", blame)
    return any(min(numbers) <= int(line) <= max(numbers) for line in lines)


def methods_of(policy: type[Policy]) -> dict[CodeType, Method]:
    """Return the methods of a policy and of what it is built on, by their code."""
    return {
        inspect.unwrap(function).__code__: Method(name, cls, function)
        for cls in reversed(policy.__mro__)
        if issubclass(cls, Policy)
        for name, function in vars(cls).items()
        if inspect.isfunction(function)
    }
