"""Choices that a policy leaves open: holes, which a search fills in.

    class Skeleton(FirstClass):
        load_at_entry = hole(False, True)

A hole is read like any attribute, `self.load_at_entry`, inside a handler. Until a search fills it in, it is the first
of its choices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from fpstate.errors import FpstateError
from fpstate.policies.base import Policy

Choice = TypeVar("Choice")


class Completion:
    """What is chosen for some of a policy's holes, by name, and which of them its handlers have asked for so far."""

    def __init__(self, policy: type[Policy], values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.asked: dict[str, None] = {}
        self.told: Callable[[str], None] = lambda _: None
        """Called with each hole that a handler asks for."""
        holes = holes_of(policy)
        self._place = {name: each.choices.index(values[name]) if name in values else 0 for name, each in holes.items()}

    def ask(self, name: str) -> int:
        """Note that a hole is asked for, and return the place of its value among its choices."""
        self.asked[name] = None
        return self._place[name]


class Hole:
    """One choice left open."""

    def __init__(self, choices: tuple[Any, ...]) -> None:
        self.choices = choices
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object | None, owner: type) -> Any:
        completion = getattr(owner, "completion", None)
        if instance is None or completion is None:
            return self if instance is None else self.choices[0]
        value = completion.values.get(self.name, self.choices[0])
        completion.asked[self.name] = None
        completion.told(self.name)
        return value


def hole(*choices: Choice) -> Choice:
    """Leave a choice open; FpstateError if there are not at least two different ones."""
    if len(choices) < 2 or any(choices[i] in choices[:i] for i in range(len(choices))):
        raise FpstateError(f"hole{choices!r} leaves nothing open", expected="at least two choices, all different")
    return cast("Choice", Hole(choices))


def holes_of(policy: type[Policy]) -> dict[str, Hole]:
    """Return the holes of a policy by name, in the order in which they are declared, base classes first."""
    names = dict.fromkeys(name for cls in reversed(policy.__mro__) for name, v in vars(cls).items() if _is_hole(v))
    found = {name: next(vars(cls)[name] for cls in policy.__mro__ if name in vars(cls)) for name in names}
    return {name: each for name, each in found.items() if _is_hole(each)}


def completed(policy: type[Policy], values: Mapping[str, Any]) -> type[Policy]:
    """Return the policy with its holes filled in; what its handlers ask for is noted in its `completion`, from none."""
    about = {"name": policy.name, "__module__": policy.__module__, "__doc__": policy.__doc__}
    return cast("type[Policy]", type(policy.__name__, (policy,), about | {"completion": Completion(policy, values)}))


def _is_hole(value: object) -> bool:
    return isinstance(value, Hole)
