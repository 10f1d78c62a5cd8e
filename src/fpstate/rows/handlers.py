"""What is wrong with a policy's class before any handler has run: names that are no events, points that are lost."""

from __future__ import annotations

import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from fpstate.errors import FpstateError
from fpstate.policies.base import Policy
from fpstate.world.events import PARTICIPANTS, PREEMPTIBLE, SOFTIRQ_ONLY, Event

EVENTS = {event.name.lower(): event for event in PARTICIPANTS}
NOT_SEEN = {event.name.lower() for event in Event} - set(EVENTS)
"""What happens without the kernel being entered: no handler can be called."""


def made(policy: type[Policy]) -> Policy:
    """Return an instance of the policy; FpstateError if it cannot be made or a method of it can never do its work."""
    methods = dict(inspect.getmembers(policy, inspect.isfunction))
    for name, method in methods.items():
        _refuse_name(policy, name, method)
    points = {name for name, method in methods.items() if inspect.isgeneratorfunction(inspect.unwrap(method))}
    for name in sorted(points & set(EVENTS)):
        if EVENTS[name] not in PREEMPTIBLE | SOFTIRQ_ONLY:
            given = f"handler '{name}' of policy '{policy.name}' has a point, and nothing may come between there"
            could = ", ".join(sorted(e.name.lower() for e in PREEMPTIBLE | SOFTIRQ_ONLY))
            raise FpstateError(given, expected=f"points in {could}", where=defined(methods[name]))
    if points:
        for name, where in _dropped(policy, points):
            given = f"policy '{policy.name}' calls '{name}', which has points, and drops what it returns"
            hint = f"nothing of '{name}' runs that way; write `yield from` before the call"
            raise FpstateError(given, where=where, hint=hint)
    try:
        return policy()
    except (Exception, SystemExit) as error:
        given = f"policy '{policy.name}' cannot be made: {type(error).__name__}: {error}"
        raise FpstateError(given, expected="a class that takes no arguments") from error


def defined(function: Callable[..., Any]) -> str:
    """Return file and line at which a function begins."""
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


@cache
def _near(name: str, cutoff: float) -> list[str]:
    return difflib.get_close_matches(name, EVENTS, n=1, cutoff=cutoff)


def _refuse_name(policy: type[Policy], name: str, method: Callable[..., Any]) -> None:
    if name.startswith("_") or name in EVENTS:
        return
    near = _near(name, 0.85)
    given = f"policy '{policy.name}' has a method '{name}', which is no event"
    if name in NOT_SEEN:
        given = f"policy '{policy.name}' has a handler '{name}', and the kernel does not see that happen"
        near = _near(f"{name}_trap", 0.6)
    if near or name in NOT_SEEN:
        hint = f"did you mean '{near[0]}'?" if near else "kernel code runs at a trap, not at a use"
        raise FpstateError(given, where=defined(method), hint=hint)


def never_called(policy: type[Policy]) -> Iterator[tuple[str, str]]:
    """Yield name and place of each method of a user's file that is no event, and that nothing in the policy names.

    It is most likely meant as a handler, and called like a function of another kernel.
    """
    functions = [f for cls in policy.__mro__ for f in vars(cls).values() if inspect.isroutine(f)]
    modules = {inspect.getmodule(cls) for cls in policy.__mro__}
    functions += [f for module in modules if module for f in vars(module).values() if inspect.isfunction(f)]
    codes = [code for f in functions if (code := getattr(inspect.unwrap(f), "__code__", None))]
    named: set[str] = set()
    while codes:
        code = codes.pop()
        named |= {*code.co_names, *(c for c in code.co_consts if isinstance(c, str))}
        codes += [c for c in code.co_consts if inspect.iscode(c)]
    for name, method in inspect.getmembers(policy, inspect.isfunction):
        ours = method.__module__.startswith("fpstate.")
        if not ours and not name.startswith("_") and name not in EVENTS and name not in named:
            yield name, defined(method)


def _dropped(policy: type[Policy], points: set[str]) -> Iterator[tuple[str, str]]:
    """Yield name and place of each call of a method with points whose result is thrown away."""
    for depth, cls in enumerate(policy.__mro__):
        for method in vars(cls).values():
            if not inspect.isfunction(method):
                continue
            function = inspect.unwrap(method)
            try:
                lines, first = inspect.getsourcelines(function)
                tree = ast.parse(textwrap.dedent("".join(lines)))
            except (OSError, TypeError, SyntaxError):  # made without a file
                continue
            for node in ast.walk(tree):
                name, above = _own_call(node)
                if name in points and (not above or _has_points(policy.__mro__[depth + 1 :], name)):
                    yield name, f"{function.__code__.co_filename}:{first + node.lineno - 1}"  # type: ignore[attr-defined]


def _own_call(node: ast.AST) -> tuple[str, bool]:
    """Return which method a statement calls on `self` or `super()` and does nothing else, and whether on `super()`."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        if isinstance(called, ast.Attribute):
            if isinstance(called.value, ast.Name) and called.value.id == "self":
                return called.attr, False
            inner = called.value.func if isinstance(called.value, ast.Call) else None
            if isinstance(inner, ast.Name) and inner.id == "super":
                return called.attr, True
    return "", False


def _has_points(classes: tuple[type, ...], name: str) -> bool:
    """Tell whether the first of `classes` that has a method called `name` has one with points."""
    method = next((vars(cls)[name] for cls in classes if name in vars(cls)), None)
    return inspect.isgeneratorfunction(inspect.unwrap(method)) if callable(method) else False
