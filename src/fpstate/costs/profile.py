"""Reading and checking cost profiles: one TOML file each, bundled beside this module or a user's own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fpstate.errors import FpstateError, unknown_name

OPERATIONS = ("save", "load", "clear", "guest_trap", "user_trap", "ipi")

# How far a figure was checked -> how to say that it was not checked fully; "" when it was.
_STATUSES = {
    "read": "",
    "excerpt": "read only in an excerpt of its source",
    "recollection": "recalled, not looked up",
    "assumed": "assumed, for lack of a published one",
}

MAX_BYTES = 1 << 20  # of a profile; the bundled ones have some 8 kB
MOST = 1e12  # cycles of an operation


@dataclass(frozen=True)
class Operation:
    """Cost of one operation, in CPU cycles.

    `cycles` is the point to use, within `low` and `high`, the honest range. `status` is "read", "excerpt", "derived",
    "recollection" or "assumed". For a derived cost `basis` is the weakest status among the figures it was computed
    from; otherwise it is empty. `note` holds the arithmetic.
    """

    cycles: float
    low: float
    high: float
    status: str
    source: str
    note: str = ""
    basis: str = ""


@dataclass(frozen=True)
class Profile:
    """Costs of all `OPERATIONS` on one CPU, with `clock_ghz` the clock by which times were turned into cycles."""

    name: str
    title: str
    cpu: str
    clock_ghz: float
    clock_source: str
    notes: str
    operations: dict[str, Operation]

    @property
    def weak(self) -> list[str]:
        """Return a sentence for each operation whose cost does not rest on fully read sources alone."""
        sentences = []
        for name, op in self.operations.items():
            lack = _STATUSES[op.basis or op.status]
            derived = "derived from a figure that is " if op.status == "derived" else ""
            if lack:
                sentences.append(f"{name}: {op.cycles:g} cycles ({op.low:g} to {op.high:g}) is {derived}{lack}.")
        return sentences


def profile_names() -> list[str]:
    """Return the names of the bundled profiles, sorted."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """Return a bundled profile by its name, or a user's own by path (anything with a `/` or ending in `.toml`).

    Raises FpstateError when there is no such profile or its file is not a complete and consistent one.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml"):
        return _parse(_read(Path(text)), text)
    if text not in profile_names():
        raise unknown_name("cost profile", text, profile_names())
    path = Path(__file__).parent / f"{text}.toml"
    return _parse(_read(path), str(path))


def _read(path: Path) -> dict[str, Any]:
    """Return the contents of a TOML file; errors name the file and, for bad syntax, the line."""
    if path.exists() and not path.is_file():
        raise FpstateError("is not a regular file", expected="a cost profile, a TOML file", where=str(path))
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FpstateError("is too large", expected=f"a cost profile, under {MAX_BYTES:,} bytes", where=str(path))
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except OSError as error:
        hint = "or give a bundled name: " + ", ".join(profile_names())
        raise FpstateError(f"cannot read cost profile: {error.strerror}", where=str(path), hint=hint) from None
    except UnicodeDecodeError:
        raise FpstateError("cost profile is not UTF-8 text", expected="a TOML file", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else max(1, len(text.splitlines()))  # else it says "at end of document"
        raise FpstateError(f"not TOML: {error}", expected="a cost profile", where=f"{path}:{line}") from None
    except (RecursionError, ValueError) as error:  # brackets within brackets; a number of thousands of digits
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).split(";")[0]
        raise FpstateError(f"not a cost profile: {why}", expected="a TOML file", where=str(path)) from None


def _parse(data: dict[str, Any], where: str) -> Profile:
    _check_names("key", data, (field.name for field in fields(Profile)), where)
    texts = {key: _text(data, key, where) for key in ("name", "title", "cpu", "clock_source")}
    clock_ghz = _number(data, "clock_ghz", where)
    if clock_ghz == 0:
        raise FpstateError("clock_ghz is 0", expected="a number of GHz above 0", where=where)
    tables = _table(data, "operations", where)
    _check_names("operation", tables, OPERATIONS, where)
    operations = {name: _operation(_table(tables, name, where), f"{where} [operations.{name}]") for name in OPERATIONS}
    notes = _text(data, "notes", where, optional=True)
    return Profile(**texts, clock_ghz=clock_ghz, notes=notes, operations=operations)


def _operation(data: dict[str, Any], where: str) -> Operation:
    _check_names("key", data, (field.name for field in fields(Operation)), where)
    cycles, low, high = (_number(data, key, where) for key in ("cycles", "low", "high"))
    if not low <= cycles <= high:
        given = f"low {low:g}, cycles {cycles:g}, high {high:g}"
        raise FpstateError(given, expected="low <= cycles <= high", where=where)
    status = _text(data, "status", where)
    _check_names("status", (status,), (*_STATUSES, "derived"), where)
    basis = _text(data, "basis", where, optional=status != "derived")
    if status == "derived":
        _check_names("basis", (basis,), _STATUSES, where)
    elif basis:
        raise FpstateError(f"basis given for a cost that is {status}", expected='status = "derived"', where=where)
    source = _text(data, "source", where)
    return Operation(cycles, low, high, status, source, _text(data, "note", where, optional=True), basis)


def _check_names(kind: str, given: Iterable[str], known: Iterable[str], where: str) -> None:
    known = tuple(known)
    for name in given:
        if name not in known:
            raise unknown_name(kind, name, known, where=where)


def _table(data: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        what = "missing" if value is None else "not a table"
        raise FpstateError(f"'{key}' is {what}", expected=f"a table for each of {', '.join(OPERATIONS)}", where=where)
    return value


def _text(data: dict[str, Any], key: str, where: str, *, optional: bool = False) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise FpstateError(f"{key} is {_short(value)}", expected="text in quotes", where=where)
    if not value.strip() and not optional:
        raise FpstateError(f"{key} is missing or empty", expected="some text", where=where)
    return value


def _short(value: object) -> str:
    """Return a value as text of at most some 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _number(data: dict[str, Any], key: str, where: str) -> float:
    value = data.get(key)
    if value is None:
        raise FpstateError(f"{key} is missing", expected=f"a number from 0 to {MOST:g}", where=where)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= MOST:  # no number at all is neither below nor above
        raise FpstateError(f"{key} is {_short(value)}", expected=f"a number from 0 to {MOST:g}", where=where)
    return float(value)
