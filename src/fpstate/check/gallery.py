"""The gallery of historical bugs: each faulty policy must be caught, each fixed one must hold in the same scope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fpstate.check.run import HOLDS, VIOLATED, Result, check
from fpstate.errors import unknown_name
from fpstate.paths.properties import DEFAULT
from fpstate.paths.scope import Scope
from fpstate.policies.base import with_features
from fpstate.policies.bugs.bug import Bug, LeftOut
from fpstate.policies.catalogue import bugs


def left_out() -> list[LeftOut]:
    """Return the recorded bugs that are not in the gallery, with the reason."""
    from fpstate.policies.bugs import left_out as module

    return list(module.LEFT_OUT)


@dataclass(frozen=True)
class Shown:
    """One bug, checked: results of both sides, and whether both are as they must be."""

    bug: Bug
    faulty: Result
    fixed: Result

    @property
    def ok(self) -> bool:
        """Whether the faulty one breaks the property on a path no longer than recorded, and the fixed one holds."""
        caught = self.faulty.verdict == VIOLATED and self.faulty.property == self.bug.property
        return caught and self.faulty.depth <= self.bug.steps and self.fixed.verdict == HOLDS

    def to_json(self) -> dict[str, Any]:
        """Return the row as in docs/json.md."""
        b = self.bug
        return {
            "id": b.id,
            "title": b.title,
            "fix": b.fix,
            "faulty": self.faulty.verdict,
            "fixed": self.fixed.verdict,
            "property": self.faulty.property,
            "path_length": self.faulty.depth,
            "recorded_length": b.steps,
            "states": self.faulty.states + self.fixed.states,
            "code": self.faulty.path.code if self.faulty.path else "",
            "scope": asdict(self.faulty.scope),
            "features": list(b.features),
            "ok": self.ok,
        }


def show(bug: Bug) -> Shown:
    """Check both sides of a bug."""
    scope = Scope(bug.cpus, bug.tasks, bug.vcpus, bug.kthreads, bug.events)
    properties = DEFAULT if bug.property in DEFAULT else (*DEFAULT, bug.property)
    sides = [with_features(side, bug.features) for side in (bug.faulty, bug.fixed)]
    faulty, fixed = (check(side, scope, properties=properties) for side in sides)
    if faulty.verdict == VIOLATED and faulty.property != bug.property:  # something else goes wrong sooner
        faulty = check(sides[0], scope, properties=(bug.property,))
    return Shown(bug, faulty, fixed)


def gallery(names: list[str], done: Callable[[], None] = lambda: None) -> list[Shown]:
    """Check the bugs named, or all; `done` is called after each."""
    known = bugs()
    by_lower = {name.lower(): name for name in known}
    for name in names:
        if name.lower() not in by_lower:
            raise unknown_name("bug", name, known)
    shown = []
    for name in [by_lower[n.lower()] for n in names] or list(known):
        shown.append(show(known[name]))
        done()
    return shown
