"""The formats of events: where in a record the fields that matter are, from the text the kernel gives for each."""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fpstate.errors import FpstateError
from fpstate.traces.dat.cursor import damaged
from fpstate.traces.lines import codes

_FIELD = re.compile(r"^[ \t]*field:([^;\n]{1,200});\s*offset:\s*(\d+);\s*size:\s*(\d+);(?:\s*signed:\s*(\d+);)?", re.M)
_NAME = re.compile(r"(\w+)\s*(?:\[[^]]*\])?$")
_LARGEST_OFFSET = 1 << 16

IN_PLACE, AT, AT_FROM_END = range(3)
"""Where a text is: in the field itself, at the offset the field gives (__data_loc), or so counted from the field's end
(__rel_loc)."""

NUMBERS = 4
TEXT = 3 * NUMBERS
NEEDED = TEXT + 3
COLUMNS = TEXT + 4
"""Columns of a row: for each number (offset, size, signed), size 0 for none; then (offset, size, where) of a text;
then the bytes that a record has to have for all these."""

WANTED: dict[int, tuple[tuple[str, ...], str]] = {
    codes.SWITCH: (("prev_pid", "next_pid", "prev_state"), "next_comm"),
    codes.SYS_ENTER: (("id", "args"), ""),
    codes.SYS_EXIT: (("id",), ""),
    codes.FORK: (("child_pid",), "child_comm"),
    codes.EXEC: (("old_pid",), "filename"),
    codes.IOCTL_BY_NAME: (("cmd",), ""),
    codes.PTRACE_BY_NAME: (("request", "pid", "addr"), ""),
    codes.PRCTL_BY_NAME: (("option", "arg2"), ""),
    codes.CPUHP: (("cpu", "target", "idx", "fun"), ""),
    codes.SIGNAL_DELIVER: (("sa_handler",), ""),
    codes.FUNCTION: (("ip", "parent_ip"), ""),
}
"""The fields of each event that are read: numbers, in this order, and a text."""

_OPERATORS: dict[type, Any] = {
    ast.BitOr: operator.or_, ast.Add: operator.add, ast.Sub: operator.sub, ast.LShift: operator.lshift
}  # fmt: skip
_CONSTANT = re.compile(r"(?:0x[0-9a-fA-F]{1,15}|[1-9]\d{0,15}|0|<<|[-+|() ]){1,300}$")
_LEAST_STATES, _DEAD_STATES = 0x1FF, 0x30  # of kernels since 4.14, should a format not say
_FLAGS = re.compile(r'\{\s*(0x[0-9a-fA-F]+|\d+)\s*,\s*"([^"]*)"\s*\}')
_PLUS = re.compile(r'"R",\s*REC->prev_state\s*&\s*\(?([^?]*?)\)?\s*\?\s*"\+"')


@dataclass(frozen=True)
class Field:
    """One field of a record."""

    kind: str
    offset: int
    size: int
    signed: bool


@dataclass(frozen=True)
class Format:
    """The format of one event."""

    name: str
    number: int
    fields: dict[str, Field]
    shown: str  # how the kernel prints it


def parse_format(path: Path, text: str) -> Format:
    """Return the format in a text like `events/sched/sched_switch/format`."""
    name = re.search(r"^name: (\S{1,100})$", text, re.M)
    number = re.search(r"^ID: (\d{1,9})$", text, re.M)
    if not name or not number or int(number[1]) >= 1 << 16:
        raise damaged(path, "the format of an event has no name or no number")
    return Format(name[1], int(number[1]), parse_fields(path, text), text.partition("print fmt:")[2])


def parse_fields(path: Path, text: str) -> dict[str, Field]:
    """Return the fields of a format by name."""
    fields = {}
    for declared, offset, size, signed in _FIELD.findall(text):
        found = _NAME.search(declared.strip())
        if not found or max(len(offset), len(size)) > 9 or int(offset) + int(size) > _LARGEST_OFFSET:
            raise damaged(path, "the format of an event has a field that no record can hold")
        fields[found[1]] = Field(declared, int(offset), int(size), signed == "1")
    return fields


def row_of(path: Path, form: Format, code: int) -> list[int]:
    """Return the places of the fields that matter of an event with this code."""
    numbers, text = WANTED.get(code, ((), ""))
    row = [0] * COLUMNS
    ends = [0]
    for i, name in enumerate(numbers):
        field = _wanted(path, form, name)
        ends.append(field.offset + field.size)
        if name == "args":  # an array of six
            field = Field(field.kind, field.offset, field.size // 6, signed=False)
        if field.size not in (1, 2, 4, 8):
            raise damaged(path, f"the field {name} of {form.name} has {field.size} bytes")
        row[3 * i : 3 * i + 3] = field.offset, field.size, field.signed
    if text:
        field = _wanted(path, form, text)
        where = AT if "__data_loc" in field.kind else AT_FROM_END if "__rel_loc" in field.kind else IN_PLACE
        if where != IN_PLACE and field.size != 4:
            raise damaged(path, f"the field {text} of {form.name} has {field.size} bytes")
        ends.append(field.offset + field.size)
        row[TEXT:NEEDED] = field.offset, field.size, where
    row[NEEDED] = max(ends)
    return row


def _wanted(path: Path, form: Format, name: str) -> Field:
    if name not in form.fields:
        raise FpstateError(
            f"its event {form.name} has no field {name}",
            expected=f"one of {', '.join(f for f in form.fields if not f.startswith('common_'))}"[:200],
            where=str(path),
            hint="it is not an event of Linux by that name",
        )
    return form.fields[name]


def states(form: Format) -> tuple[int, int, int]:
    """Return the bits of prev_state that are printed as something else than R; those of X, Z, x (dead); that of I."""
    known = dead = idle = 0
    for value, letter in _FLAGS.findall(form.shown):
        bit = int(value, 0) & ((1 << 62) - 1)
        known |= bit
        dead |= bit if letter in ("X", "Z", "x") else 0
        idle |= bit if letter == "I" else 0
    if not known:
        return _LEAST_STATES, _DEAD_STATES, 0
    plus = _PLUS.search(form.shown)
    return known | (_value(plus[1]) if plus else 0), dead, idle


def _value(text: str) -> int:
    """Return the value of a constant expression like `((0x1 | 0x2) + 1) << 1`, 0 when it is something else."""
    if not _CONSTANT.match(text):
        return 0
    text += ")" * (text.count("(") - text.count(")"))
    try:
        return _evaluated(ast.parse(text.strip(), mode="eval").body) & ((1 << 62) - 1)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return 0


def _evaluated(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _evaluated(node.left), _evaluated(node.right)
        if max(abs(left), abs(right)) >= 1 << 62 or (isinstance(node.op, ast.LShift) and not 0 <= right < 62):
            raise ValueError
        return int(_OPERATORS[type(node.op)](left, right))
    raise ValueError
