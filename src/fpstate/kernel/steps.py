"""What a kernel's code does at an event, as far as a view has been asked for: it asks for more of it, or has decided.

Steps hold names instead of entities, so that they can be kept in a file, and said to the engine on any view.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from fpstate.kernel.effects import CALLED, FAULT, FORCE_FPEXC, WARN, ZERO_SVE
from fpstate.world.operations import OOPS

Value = bool | str
"""What a field holds: a bit; a value's name; a context's ("" nobody's, ELSEWHERE); a CPU's: "this", "" or ELSEWHERE."""
ELSEWHERE = "?"
"""Somebody who is not in view."""
FAULT_OF_SECTION = "oops of a section"
"""The kernel faults if who is meant by ELSEWHERE is the state of a section."""
THIS_CPU = "this"
Asked = tuple[Any, ...]
"""An event's name, and what was asked for so far: (role, field, Value), in order; and POINT after each part of it."""
POINT = ()


@dataclass(frozen=True)
class Declared:
    """A field as a policy declares it: its kind (see `bookkeeping.Field`), of "cpu", "task" or "vcpu", its start.

    `names` are those of a number's values.
    """

    name: str
    kind: str
    of: str
    start: Value
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choose:
    """The code reads this field next."""

    role: str
    field: str


@dataclass(frozen=True)
class Unclear:
    """What it does hangs on more than the view."""

    why: str


@dataclass(frozen=True)
class Say:
    """What it does: (what, whom, function it is inside of) in order, and what it writes: (role, field, Value).

    `whom` is a context's name, a function's for CALLED, or ELSEWHERE. `trapped`: which uses of the guest would trap, if
    it ran. `more`: it goes on after a point where others may come in.
    """

    where: str
    does: tuple[tuple[str, str, str], ...]
    writes: tuple[tuple[str, str, Value], ...]
    trapped: tuple[tuple[str, bool], ...]
    more: bool = False


Step = Choose | Unclear | Say
KINDS: dict[str, type[Step]] = {"choose": Choose, "unclear": Unclear, "say": Say}


def to_json(step: Step) -> list[Any]:
    """Return a step as a list that begins with its kind."""
    kind = next(name for name, form in KINDS.items() if type(step) is form)
    return [kind, *vars(step).values()]


def from_json(given: list[Any]) -> Step:
    """Return the step that `to_json` made a list of."""
    kind, *values = given
    if kind != "say":
        return Choose(*values) if kind == "choose" else Unclear(*values)
    where, does, writes, trapped, *more = values
    return Say(where, tuple(map(tuple, does)), tuple(map(tuple, writes)), tuple(map(tuple, trapped)), *more)


def name_of(value: Any, cpu: Any, contexts: dict[str, Any]) -> Value:
    """Return what the engine says a field holds as a Value; `contexts` are those in view, by name."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.name
    if value is None:
        return ""
    if value is cpu:
        return THIS_CPU
    return next((name for name, context in contexts.items() if value is context), ELSEWHERE)


class Speaker:
    """Says a decision to the engine, on one view: entities by role, contexts by name, and who is meant by ELSEWHERE."""

    def __init__(
        self, entities: dict[str, Any], contexts: dict[str, Any], elsewhere: Any, enums: dict[str, Any]
    ) -> None:
        self._of, self._contexts, self._elsewhere, self._enums = entities, contexts, elsewhere, enums
        self._cpu = entities["cpu"]

    def say(self, step: Say, kinds: dict[str, str]) -> None:
        """Ask for what was done; `kinds` are those of the fields."""
        session = self._cpu._session
        session.decision.where = step.where
        for what, whom, inside in step.does:
            self._ask(what, whom, inside)
        for role, name, value in step.writes:
            setattr(self._of[role], name, self._meant(name, value, kinds[name]))
        for trap, armed in step.trapped:
            setattr(self._cpu, trap, armed)

    def _ask(self, what: str, whom: str, inside: str) -> None:
        cpu = self._cpu
        if what == CALLED:
            cpu.called(whom)
            cpu.returned()
        elif what == WARN:
            cpu.warn()
        elif what == FAULT:
            cpu.save(None)
        elif what == FAULT_OF_SECTION:
            cpu._session.operation(OOPS, cpu._session.target("oops", self._elsewhere))
        else:
            if inside:
                cpu._session.inside.append(inside)
            context = self._elsewhere if whom == ELSEWHERE else self._contexts.get(whom)
            what, _, part = what.partition(" ")
            if what in (ZERO_SVE, FORCE_FPEXC):
                getattr(cpu, what)()
            elif part:
                getattr(cpu, what)(part, context)
            else:
                getattr(cpu, what)(context)
            if inside:
                cpu._session.inside.pop()

    def _meant(self, name: str, value: Value, kind: str) -> Any:
        if kind == "number":
            return self._enums[name][str(value)]
        if isinstance(value, bool):
            return value
        if kind == "cpu":
            if value == ELSEWHERE:  # a child's, copied from its parent's
                return getattr(self._of["task"], name)
            return self._cpu if value == THIS_CPU else None
        return None if value == "" else self._elsewhere if value == ELSEWHERE else self._contexts[value]
