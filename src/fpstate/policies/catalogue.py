"""Finding policies: those of this package by name, a user's own as FILE.py:CLASS."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import fpstate.policies
from fpstate.errors import FpstateError, unknown_name
from fpstate.policies.base import Policy
from fpstate.policies.own import own_policy


def policies() -> dict[str, type[Policy]]:
    """Return all policies of this package by name, in order of name."""
    found: dict[str, type[Policy]] = {}
    for info in pkgutil.iter_modules(fpstate.policies.__path__):
        if not info.ispkg:
            found |= {p.name: p for p in _declared_in(importlib.import_module(f"fpstate.policies.{info.name}"))}
    return dict(sorted(found.items()))


def find_policy(name: str) -> type[Policy]:
    """Return the policy called `name`, or the class of a user's own file when `name` is FILE.py:CLASS."""
    path, colon, class_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        found = own_policy(Path(path), class_name)
        if found.name in policies():
            given = f"the policy '{class_name}' calls itself {found.name!r}"
            raise FpstateError(given, expected="a name of its own, not one of the package's", where=path)
        return found
    if name.endswith(".py"):
        classes = (
            re.findall(r"^class (\w+)\(", Path(name).read_text("utf-8", "replace"), re.M)
            if Path(name).is_file()
            else []
        )
        expected = " or ".join(f"{name}:{c}" for c in classes) or "FILE.py:CLASS"
        raise FpstateError(f"'{name}' names a file but no class", expected=expected)
    known = policies()
    if name not in known:
        if colon:
            raise FpstateError(f"'{name}' names no policy", expected="a policy's name, or FILE.py:CLASS")
        raise unknown_name("policy", name, known)
    return known[name]


def about(policy: type[Policy]) -> dict[str, Any]:
    """Return what there is to say of a policy: `name`, `title` (first line of its docstring), `source`, `gives_up`."""
    doc = inspect.cleandoc(vars(policy).get("__doc__") or "").splitlines() or [""]
    return {
        "name": policy.name,
        "title": doc[0],
        "source": policy.source,
        "gives_up": list(policy.gives_up),
        "supports": sorted(policy.supports),
    }


def _declared_in(module: ModuleType) -> list[type[Policy]]:
    """Return the policies a module declares itself: classes with a `name` of their own."""
    return [
        p
        for p in vars(module).values()
        if isinstance(p, type) and issubclass(p, Policy) and "name" in vars(p) and p.__module__ == module.__name__
    ]
