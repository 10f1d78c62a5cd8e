"""Policies of a user's own, from a file: FILE.py:CLASS."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Container
from pathlib import Path
from types import ModuleType
from typing import Any

from fpstate.errors import FpstateError, unknown_name
from fpstate.policies.base import Policy
from fpstate.users import Stopped, users_code
from fpstate.world.events import PARTICIPANTS

IMPORT_SECONDS = 10
"""How long a user's file may take to be imported."""


def own_policy(path: Path, class_name: str) -> type[Policy]:
    """Return a policy's class in a user's file; FpstateError if there is none.

    Files beside it can be imported by it. Its code is run as it is, with all that it does.
    """
    module = _imported(path)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Policy)):
        known = [
            n for n, p in vars(module).items() if isinstance(p, type) and issubclass(p, Policy) and p is not Policy
        ]
        raise unknown_name("policy class", class_name, known, where=str(path))
    return found


def fitting(policy: type[Policy], taken: Container[str], where: str = "") -> type[Policy]:
    """Return a user's policy, with its class for a name if it has none of its own.

    Raise FpstateError for an attribute of a wrong type, and for a name that is `taken`.
    """
    own = policy.__name__
    if "name" not in vars(policy):
        policy.name = own
    for name, value in vars(policy).items():
        fits, called = _EXPECTED.get(name, (callable, "a function") if name.upper() in _EVENTS else (_anything, ""))
        if not fits(value):
            raise FpstateError(f"'{name}' of '{own}' is {value!r}", expected=called, where=where)
    if policy.name in taken:
        given = f"the policy '{own}' calls itself {policy.name!r}"
        raise FpstateError(given, expected="a name of its own, not one of the package's", where=where)
    return policy


def _imported(path: Path) -> ModuleType:
    module_name = f"fpstate_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise FpstateError(f"there is no file '{path}'", expected="FILE.py:CLASS")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        with users_code(IMPORT_SECONDS):
            spec.loader.exec_module(module)
    except Stopped as error:
        given = f"the file cannot be imported: it {error}"
        raise FpstateError(given, where=f"{path}:{_line_in(path, error)}") from error
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(path, error)
        what = f"{type(error).__name__}: {getattr(error, 'msg', error)}"
        raise FpstateError(f"the file cannot be imported: {what}", where=f"{path}:{line}") from error
    return module


def _line_in(path: Path, error: BaseException) -> int:
    line, tb = 1, error.__traceback__
    while tb is not None:
        if Path(tb.tb_frame.f_code.co_filename) == path:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line


def _anything(_: object) -> bool:
    return True


def _texts(value: object) -> bool:
    return isinstance(value, (tuple, list, frozenset, set)) and all(isinstance(text, str) for text in value)


_EVENTS = {event.name for event in PARTICIPANTS}
_TEXT: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, str), "text")
_FLAG: tuple[Callable[[Any], bool], str] = (lambda value: isinstance(value, bool), "True or False")
_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (lambda value: isinstance(value, str) and value.isprintable() and value != "", "a name, printable text"),
    "source": _TEXT,
    "gives_up": (_texts, "a tuple of texts"),
    "supports": (_texts, "a frozenset of names of features"),
    "features": (_texts, "a frozenset of names of features"),
    **dict.fromkeys(("vcpu_mutex", "preemptible", "preemptible_neon", "dirty_bit"), _FLAG),
}
"""What attributes of a policy must be, and how that is called."""
