"""A policy's file with its holes filled in."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fpstate.errors import FpstateError
from fpstate.policies.base import Policy
from fpstate.policies.holes import Hole, holes_of


def written(policy: type[Policy], values: Mapping[str, Any], above: list[str]) -> str:
    """Return the text of the file that declares a policy, with each hole replaced by what is chosen for it.

    `above`: lines of comment that come first. Raise FpstateError if a hole is not declared in that file.
    """
    file = source_of(policy)
    text = file.read_text("utf-8")
    holes, places = holes_of(policy), _places(ast.parse(text))
    missing = sorted(set(values) - set(places))
    if missing:
        given = f"hole '{missing[0]}' is not declared in that file"
        raise FpstateError(given, expected="`NAME = hole(...)` in a class of it", where=str(file))
    lines = text.splitlines(keepends=True)
    for name, call in sorted(places.items(), key=lambda place: -place[1].lineno):
        if name in values:
            lines = _replaced(lines, call, _chosen(text, call, holes[name], values[name]))
    filled = "".join(lines)
    if not _places(ast.parse(filled)):
        filled = re.sub(r"^from fpstate\.policies\.holes import hole\n", "", filled, flags=re.MULTILINE)
    return "".join(f"# {line}\n" for line in above) + "\n" + filled


def source_of(policy: type[Policy]) -> Path:
    """Return the file that declares a policy."""
    return Path(inspect.getfile(policy))


def _places(tree: ast.Module) -> dict[str, ast.Call]:
    """Return the calls of `hole` in the classes of a file, by the name each is given."""
    found = {}
    for cls in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            call = getattr(node, "value", None)
            if isinstance(target, ast.Name) and isinstance(call, ast.Call) and ast.unparse(call.func) == "hole":
                found[target.id] = call
    return found


def _chosen(text: str, call: ast.Call, hole: Hole, value: Any) -> str:
    """Return the source of the choice that has been made."""
    return ast.get_source_segment(text, call.args[hole.choices.index(value)]) or repr(value)


def _replaced(lines: list[str], call: ast.Call, by: str) -> list[str]:
    """Return the lines with a call replaced; offsets of a tree are in bytes of UTF-8."""
    first, last = call.lineno - 1, (call.end_lineno or call.lineno) - 1
    before = lines[first].encode()[: call.col_offset].decode()
    after = lines[last].encode()[call.end_col_offset :].decode()
    return [*lines[:first], before + by + after, *lines[last + 1 :]]
