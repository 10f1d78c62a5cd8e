"""Finding policies: those of this package by name, the faulty one of a bug by its id, a user's own as FILE.py:CLASS."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import fpstate.policies
import fpstate.policies.bugs
from fpstate.errors import FpstateError, unknown_name
from fpstate.policies.base import Policy, with_features
from fpstate.policies.bugs.bug import Bug


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
    """Return the bug whose id is `name`, in any case of letters; None if there is none."""
    return {bug_id.lower(): bug for bug_id, bug in bugs().items()}.get(name.lower())


def find_policy(name: str) -> type[Policy]:
    """Return the policy called `name`, the faulty one of a bug by its id, or the class that FILE.py:CLASS names.

    A bug's policy has the features that the bug needs. Raise FpstateError if there is none of that name.
    """
    path, colon, class_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _own(Path(path), class_name)
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


def _own(path: Path, class_name: str) -> type[Policy]:
    module_name = f"fpstate_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FpstateError(f"there is no file '{path}'", expected="FILE.py:CLASS")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(path, error)
        what = f"{type(error).__name__}: {getattr(error, 'msg', error)}"
        raise FpstateError(f"the file cannot be imported: {what}", where=f"{path}:{line}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Policy)):
        known = [
            n for n, p in vars(module).items() if isinstance(p, type) and issubclass(p, Policy) and p is not Policy
        ]
        raise unknown_name("policy class", class_name, known, where=str(path))
    if "name" not in vars(found):
        found.name = class_name
    if not isinstance(found.name, str) or found.name in policies():
        given = f"the policy '{class_name}' calls itself {found.name!r}"
        raise FpstateError(given, expected="a name of its own, not one of the package's", where=str(path))
    return found


def _line_in(path: Path, error: BaseException) -> int:
    line, tb = 1, error.__traceback__
    while tb is not None:
        if Path(tb.tb_frame.f_code.co_filename) == path:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line
