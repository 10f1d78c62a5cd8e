"""Finding policies: those of this package by name, the faulty one of a bug by its id, a user's own as FILE.py:CLASS."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import fpstate.policies
import fpstate.policies.bugs
from fpstate.errors import FpstateError, unknown_name
from fpstate.policies.base import Policy, with_features
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.own import fitting, own_policy
from fpstate.policies.shown import shown_by


def policies() -> dict[str, type[Policy]]:
    """Return all policies of this package by name, in order of name."""
    found: dict[str, type[Policy]] = {}
    for info in pkgutil.iter_modules(fpstate.policies.__path__):
        if not info.ispkg:
            found |= {p.name: p for p in _declared_in(importlib.import_module(f"fpstate.policies.{info.name}"))}
    return dict(sorted(found.items()))


def bugs() -> dict[str, Bug]:
    """Return all bugs of the package by id, in order. Raise FpstateError if two of them have the same id."""
    found: dict[str, Bug] = {}
    for info in pkgutil.walk_packages(fpstate.policies.bugs.__path__, "fpstate.policies.bugs."):
        enter(found, importlib.import_module(info.name))
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def enter(found: dict[str, Bug], module: ModuleType) -> None:
    """Enter the bugs that a module describes into `found`."""
    for bug in vars(module).values():
        if isinstance(bug, Bug) and found.setdefault(bug.id, bug) is not bug:
            given = f"'{bug.title}' and '{found[bug.id].title}' are both called {bug.id}"
            raise FpstateError(given, expected="an id of its own for each bug", where=str(module.__file__))


def _order(name: str) -> tuple[str, int, str]:
    letters, digits = re.match(r"(\D*)(\d*)", name).groups()  # type: ignore[union-attr]
    return letters, int(digits or 0), name


def find_bug(name: str) -> Bug | None:
    """Return the bug whose id is `name`, in any case of letters; None if there is none, or a policy has that name."""
    if ":" in name or name in policies():  # bugs are a hundred files to import
        return None
    return {bug_id.lower(): bug for bug_id, bug in bugs().items()}.get(name.lower())


def find_policy(name: str) -> type[Policy]:
    """Return the policy called `name`, the faulty one of a bug by its id, or the class that FILE.py:CLASS names.

    A bug's policy has the features that the bug needs. Raise FpstateError if there is none of that name.
    """
    path, colon, class_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        return fitting(own_policy(Path(path), class_name), policies(), path)
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
        if bug := find_bug(name):
            return with_features(bug.faulty, bug.features)
        if colon:
            raise FpstateError(f"'{name}' names no policy", expected="a policy's name, or FILE.py:CLASS")
        raise unknown_name("policy", name, known)
    return known[name]


def about(policy: type[Policy]) -> dict[str, Any]:
    """Return what there is to say of a policy: the first line of its docstring as `title`, and what it declares."""
    doc = inspect.cleandoc(vars(policy).get("__doc__") or "").splitlines() or [""]
    return {
        "name": policy.name,
        "title": doc[0],
        "kernels": vars(policy).get("kernels", ""),
        "source": policy.source,
        "gives_up": list(policy.gives_up),
        "supports": sorted(policy.supports),
        "shown": shown_by(policy),
    }


def _declared_in(module: ModuleType) -> list[type[Policy]]:
    """Return the policies a module declares itself: classes with a `name` of their own."""
    return [
        p
        for p in vars(module).values()
        if isinstance(p, type) and issubclass(p, Policy) and "name" in vars(p) and p.__module__ == module.__name__
    ]
