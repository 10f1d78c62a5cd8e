"""What the columns and the header of a trace must be before compiled code works on them.

Compiled code takes a column's numbers as they are: it indexes with them, unchecked. A file may hold any numbers.
So each column is looked at once when a file is read, and what a trace cannot hold is refused with its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError
from fpstate.traces.events.contexts import Found
from fpstate.traces.events.known import Rows
from fpstate.traces.holes import HOLES
from fpstate.traces.trace import IF_PREEMPTIBLE, IF_SILENT, LEAST_OBJECT, UNLESS_PREEMPTIBLE, UNLESS_RELOADED, Kind
from fpstate.world.events import PARTICIPANTS, Event, Truth

MAX_CPUS: Final = 8192
"""More than any Linux can be built for (NR_CPUS of x86's MAXSMP)."""
_CHUNK: Final = 1 << 20  # rows looked at together
EXPECTED: Final = "a .parquet that `fpstate import` wrote"
_THREADS: Final = 1 << Kind.IDLE | 1 << Kind.KTHREAD | 1 << Kind.USER
_VCPUS: Final = 1 << Kind.VCPU
_NOBODY: Final = 4  # codes of an `object` that is no context; up to 3 they are kinds
_CODES: Final = {
    -1: _NOBODY, UNLESS_RELOADED: _NOBODY + 1, IF_SILENT: _NOBODY + 2,
    UNLESS_PREEMPTIBLE: _NOBODY + 3, IF_PREEMPTIBLE: _NOBODY + 4,
}  # fmt: skip
_GUESTS: Final = (Event.GUEST_FP, Event.GUEST_FP_MAYBE, Event.GUEST_SVE, Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP)


def _objects() -> NDArray[np.int64]:
    """Return for each number of an event which codes its object may have, as bits; 0: no event has that number."""
    may = np.zeros(256, np.int64)
    for e in Event:
        parts = PARTICIPANTS.get(e, ("task", "vcpu") if e in _GUESTS else ("task",))
        may[e] = _VCPUS if "vcpu" in parts else _THREADS if "next" in parts else 1 << _NOBODY
    for truth in Truth:
        may[truth] = 1 << _NOBODY
    may[Event.RET_TO_USER] |= 1 << _CODES[UNLESS_RELOADED]
    for e in (Event.RET_TO_USER_MAYBE, Event.USER_FP_MAYBE):
        may[e] |= 1 << _CODES[IF_SILENT]
    may[Event.KERNEL_NEON_END] |= 1 << _CODES[UNLESS_PREEMPTIBLE] | 1 << _CODES[IF_PREEMPTIBLE]
    may[Event.NONE] = 0
    return may


_OBJECTS: Final = _objects()


def check_columns(where: str, rows: Rows, found: Found, cpus: int) -> None:
    """Raise FpstateError, with the row, for a number that cannot stand where it does in the columns of a trace.

    `found` must have passed `check_contexts`. `where` is the name of the file.
    """
    latest = np.iinfo(np.int64).min
    kind = found.contexts.kind
    for start in range(0, len(rows.time), _CHUNK):
        columns: list[Any] = [column[start : start + _CHUNK] for column in rows]
        part = Rows(*columns)

        def refuse(name: str, bad: NDArray[np.bool_], expected: str, part: Rows = part, start: int = start) -> None:
            if bad.any():
                i = int(np.argmax(bad))
                given = f"is a damaged trace: '{name}' of row {start + i} is {getattr(part, name)[i]}"
                raise FpstateError(given, expected=f"{expected}, as in {EXPECTED}", where=where)

        refuse("event", _OBJECTS[part.event] == 0, "the number of an event")
        refuse("cpu", part.cpu >= cpus, f"a CPU below {cpus}")
        refuse(
            "time", part.time < np.concatenate([[latest], part.time[:-1]]), "a time not before that of the row above"
        )
        latest = part.time[-1]
        inside = (part.subject >= 0) & (part.subject < len(kind))
        refuse("subject", ~inside, f"a context from 0 to {len(kind) - 1}")
        refuse("subject", kind[part.subject] == Kind.VCPU, "a thread")
        known = (part.object >= LEAST_OBJECT) & (part.object < len(kind))
        refuse("object", ~known, f"a context from 0 to {len(kind) - 1}, or none")
        code = _codes(part.object, kind)
        refuse("object", _OBJECTS[part.event] >> code & 1 == 0, "what can take part in that event")


def _codes(column: NDArray[np.int32], kind: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the kind of each object, or the code of what is none."""
    code = np.full(len(column), _NOBODY, np.int64)
    if len(kind):
        code = np.where(column >= 0, kind[np.maximum(column, 0)], code)
    for value, number in _CODES.items():
        code[column == value] = number
    return code


def check_contexts(where: str, found: Found, cpus: int) -> None:
    """Raise FpstateError for contexts that no trace can have."""
    c, n = found.contexts, len(found.contexts)

    def refuse(bad: bool, what: str) -> None:
        if bad:
            raise FpstateError(f"is a damaged trace: {what}", expected=EXPECTED, where=where)

    refuse(not all(isinstance(name, str) for name in c.name), "a context has no name")
    refuse(bool((c.kind > Kind.VCPU).any()), "a context is of no known kind")
    refuse(not np.array_equal(np.sort(found.place), np.arange(n)), "the order of its contexts is not one")
    owners = c.owner[c.kind == Kind.VCPU]
    refuse(bool(((owners < 0) | (owners >= n)).any()), "a vCPU has no owner")
    refuse(bool((c.kind[owners] == Kind.VCPU).any()), "a vCPU is owned by a vCPU")
    refuse(bool((c.owner[c.kind != Kind.VCPU] != -1).any()), "a thread has an owner")
    idle = c.kind[np.argsort(found.place, kind="stable")] == Kind.IDLE
    refuse(int(idle.sum()) > cpus, "there are more idle threads than CPUs")
    refuse(bool((np.diff(idle.astype(np.int8)) > 0).any()), "an idle thread stands behind others")


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


def _list_of(member: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and all(map(member, value))


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _record(**members: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def is_one(value: Any) -> bool:
        return (
            isinstance(value, dict) and value.keys() == members.keys() and all(f(value[k]) for k, f in members.items())
        )

    return is_one


_HEADER: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    **dict.fromkeys(("source", "format", "kernel", "mode", "clock", "arch"), (_is(str), "text")),
    **dict.fromkeys(("observed", "unobserved", "missing"), (_list_of(_is(str)), "a list of texts")),
    "cpus": (lambda n: _count(n) and n <= MAX_CPUS, f"a number from 0 to {MAX_CPUS}"),
    "lines": (_count, "a number"),
    "ignored": (lambda d: type(d) is dict and all(map(_count, d.values())), "numbers of lines by name"),
    "lost": (_list_of(_record(cpu=lambda n: n == -1 or _count(n), events=_count, line=_count)), "a list of losses"),
    "holes": (
        _list_of(_record(kind=lambda k: type(k) is str and k in HOLES, times=_count, line=_count)),
        "a list of holes",
    ),
    "sorted": (_is(bool), "true or false"),
}
"""What each entry of a header must be, and how that is called."""


def check_header(where: str, header: object) -> dict[str, Any]:
    """Return the known entries of a header read from a file; raise FpstateError for one that is not what it must be."""
    if not isinstance(header, dict):
        raise FpstateError("is a damaged trace: its header is no table", expected=EXPECTED, where=where)
    for name in ("source", "format"):
        if name not in header:
            raise FpstateError(f"is a damaged trace: its header has no '{name}'", expected=EXPECTED, where=where)
    for name, (fits, called) in _HEADER.items():
        if name in header and not fits(header[name]):
            given = f"is a damaged trace: '{name}' of its header is not {called}"
            raise FpstateError(given, expected=EXPECTED, where=where)
    return {name: header[name] for name in _HEADER if name in header}
