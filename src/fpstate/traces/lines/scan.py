"""The scanner: chunks of trace text to raw columns, one row per line that has a meaning.

It checks every line (form, CPU and thread numbers, time per CPU), counts the names of all events,
and stops with a status where the caller must act. It does not know what the lines mean together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, find_byte, inline
from fpstate.structs import Struct
from fpstate.traces.lines import codes
from fpstate.traces.lines.fields import SYS, Fields, at, before_address, by_name, find, parse_fields
from fpstate.traces.lines.head import BAD_TIME, LATENCY, NO_HEAD, PERF, Bytes, is_digit, number, parse_head, skip_spaces
from fpstate.traces.lines.names import MEANING, SEEN, Names, add, grown, has_room, intern, new_names

DONE, FULL, NAMES_FULL, BAD_LINE, BAD_CPU, BAD_TID, BAD_CLOCK, BACKWARDS, OTHER_FORMAT = range(9)
"""Why `scan` stopped: end of data, no room for rows or names, or the error in the line at the offset."""

(
    LINES, LATEST, UNSORTED, EVENTS, FLAGGED, TICKS, FRACTIONS, HIGHEST_CPU, SHORT_SWITCH, MEANT, BY_NUMBER,
) = range(11)  # fmt: skip
"""Places in `ScanState.facts`: lines read, greatest time, whether times ran backwards across CPUs, event lines,
event lines with flags, with times in ticks, with times in seconds, greatest CPU, switches in the short form, whether
the last event line has a meaning, and whether system calls are recorded by number: those by name are not read then."""
FACTS = 11


CPU, TID, CODE, FLAGS, A, B, COMM, OTHER = range(8)
"""Columns of `Raw.fields`, see `codes`. COMM and OTHER are numbers of names, or -1."""


@dataclass(frozen=True, eq=False)
class Raw(Struct):
    """Lines that have a meaning."""

    time: NDArray[np.int64]
    line: NDArray[np.uint32]
    fields: NDArray[np.int32]  # [row, column]


class Line(NamedTuple):
    """One row of `Raw`."""

    time: int
    number: int
    cpu: int
    tid: int
    code: int
    flags: int
    a: int
    b: int
    comm: int
    other: int


@dataclass(frozen=True, eq=False)
class ScanState(Struct):
    """What the scanner carries from chunk to chunk."""

    facts: NDArray[np.int64]
    last: NDArray[np.int64]  # per CPU: time of its last line
    events: Names  # of all events, with their codes and counts
    comms: Names


def new_raw(rows: int) -> Raw:
    """Return columns with room for `rows` rows."""
    return Raw(np.empty(rows, np.int64), np.empty(rows, np.uint32), np.empty((rows, 8), np.int32))


def cut(raw: Raw, lo: int, hi: int) -> Raw:
    """Return rows `lo` to `hi` without a copy."""
    return Raw(raw.time[lo:hi], raw.line[lo:hi], raw.fields[lo:hi])


def new_scan_state() -> ScanState:
    """Return the state before the first line: it knows the names in `codes.KNOWN`."""
    events = new_names()
    for name, code in codes.KNOWN.items():
        events.entries[add(events, name), MEANING] = code
    facts = np.zeros(FACTS, np.int64)
    facts[LATEST] = facts[HIGHEST_CPU] = -1
    return ScanState(facts, np.full(codes.MAX_CPU + 1, -1, np.int64), events, new_names())


def with_room(state: ScanState) -> ScanState:
    """Return the state with larger tables where they are nearly full."""
    events = state.events if has_room(state.events) else grown(state.events)
    comms = state.comms if has_room(state.comms) else grown(state.comms)
    return state.but(events=events, comms=comms)


_TRACER = np.frombuffer(b"# tracer: ", np.uint8).copy()
_EMPTY_CPU = np.frombuffer(b" is empty", np.uint8).copy()
_CPU = np.frombuffer(b"CPU", np.uint8).copy()
_LOST_UPPER = np.frombuffer(b"LOST", np.uint8).copy()
_DROPPED = np.frombuffer(b"DROPPED", np.uint8).copy()
_IP = np.frombuffer(b"ip=", np.uint8).copy()
_CPUS = np.frombuffer(b"cpus=", np.uint8).copy()
_VERSION = np.frombuffer(b"version = ", np.uint8).copy()


@inline
def _event_name(b: Bytes, i: int, e: int) -> tuple[int, int, int]:
    """Return (start, end, end of the token) of the event's name at `i`, without `subsystem:` and the last colon."""
    lo = i
    k = find_byte(b, i, find_byte(b, i, e, 32), 40)
    colon = find_byte(b, i, k, 58)
    if colon == k:
        return lo, k, k
    for q in range(colon + 1, k):
        if b[q] == 58:
            lo = colon + 1
            colon = q
    if colon < k - 1:  # no colon at the end: `subsystem:name`
        return colon + 1, k, k
    return lo, colon, k


@inline
def _is_other_line(b: Bytes, i: int, e: int, layout: int) -> int:
    """Return 1 for a line that is no event (comment, stack, blank), 2 for one of another format, else 0."""
    k = skip_spaces(b, i, e)
    if k < e and b[k] == 35:
        return 2 if layout == PERF and at(b, k, e, _TRACER) else 1
    if at(b, i, e, _VERSION) or at(b, i, e, _CPUS):
        return 2 if layout == PERF else 1
    if at(b, i, e, _CPU) and at(b, e - len(_EMPTY_CPU), e, _EMPTY_CPU):
        return 1
    while k < e and (b[k] == 32 or b[k] == 9 or b[k] == 13):
        k += 1
    if k == e:
        return 1
    if b[i] == 9 and layout == PERF:
        return 1
    return 1 if b[k] == 61 and k + 1 < e and b[k + 1] == 62 else 0


@inline
def _loss(b: Bytes, i: int, e: int) -> tuple[int, int]:
    """Return (cpu, events) of `CPU:1 [LOST 12 EVENTS]` and its variants; cpu -1 when it is another line.

    Before it, a report of several buffers has the buffer's name and a colon, or spaces.
    """
    i = skip_spaces(b, i, e)
    if not at(b, i, e, _CPU):
        while i < e and b[i] != 58:
            i += 1
        i = skip_spaces(b, i + 1, e)
    if not at(b, i, e, _CPU) or (find(b, i, e, _LOST_UPPER) < 0 and find(b, i, e, _DROPPED) < 0):
        return -1, 0
    k = i + 3
    while k < e and (b[k] == 58 or b[k] == 32):
        k += 1
    cpu, k = number(b, k, e)
    while k < e and not is_digit(b[k]):
        k += 1
    lost, _ = number(b, k, e)
    return cpu, min(max(lost, 0), 2_000_000_000)


@inline
def put(raw: Raw, n: int, line: Line) -> None:
    """Write row `n`."""
    raw.time[n] = line.time
    raw.line[n] = line.number
    raw.fields[n, CPU] = line.cpu
    raw.fields[n, TID] = line.tid
    raw.fields[n, CODE] = line.code
    raw.fields[n, FLAGS] = line.flags
    raw.fields[n, A] = line.a
    raw.fields[n, B] = line.b
    raw.fields[n, COMM] = line.comm
    raw.fields[n, OTHER] = line.other


@inline
def line_at(raw: Raw, n: int) -> Line:
    """Return row `n`, all as 64-bit integers."""
    f = raw.fields
    return Line(
        int(raw.time[n]),
        int(np.int64(raw.line[n])),
        int(np.int64(f[n, CPU])),
        int(np.int64(f[n, TID])),
        int(np.int64(f[n, CODE])),
        int(np.int64(f[n, FLAGS])),
        int(np.int64(f[n, A])),
        int(np.int64(f[n, B])),
        int(np.int64(f[n, COMM])),
        int(np.int64(f[n, OTHER])),
    )


@inline
def _clock(s: ScanState, cpu: int, time: int) -> bool:
    """Note the time of a line; return whether it is not before the last one of its CPU."""
    if time < s.last[cpu]:
        return False
    s.last[cpu] = time
    if time >= s.facts[LATEST]:
        s.facts[LATEST] = time
    else:
        s.facts[UNSORTED] = 1
    if cpu > s.facts[HIGHEST_CPU]:
        s.facts[HIGHEST_CPU] = cpu
    return True


@inline
def matters(code: int, a: int, b: int) -> bool:
    """Return whether a line of a known event gives a row."""
    if code == codes.IGNORED or code == codes.FUNCTION:
        return False
    if code == codes.CPUHP:
        return b != 0
    if code == codes.FLUSH_TASK:
        return a == codes.CALLER_SVE_TRAP
    if code == codes.SAVE_AND_FLUSH:
        return a == codes.CALLER_FORK or a == codes.CALLER_SIGRETURN
    return not (code == codes.PRESERVE or code == codes.SIGNAL_DELIVER) or a != 0


@inline
def _not_event(b: Bytes, i: int, e: int, layout: int, s: ScanState, raw: Raw, n: int) -> int:
    """Deal with a line that has no head; return 0, 1 with a row, or minus a status."""
    other = _is_other_line(b, i, e, layout)
    if other:
        return -OTHER_FORMAT if other == 2 else 0
    cpu, lost = _loss(b, i, e)
    if cpu < 0:
        return -BAD_LINE
    if cpu > codes.MAX_CPU:
        return -BAD_CPU
    s.facts[HIGHEST_CPU] = max(s.facts[HIGHEST_CPU], cpu)
    time = max(int(s.facts[LATEST]), 0)
    put(raw, n, Line(time, int(s.facts[LINES]) + 1, cpu, -1, codes.LOST, 0, lost, 0, -1, -1))
    return 1


@inline
def _event_at(b: Bytes, i: int, e: int) -> int:
    """Return where the event begins behind the time; `(+12)` of --ts-diff or a period of perf may stand between."""
    i = skip_spaces(b, i, e)
    if i < e and (is_digit(b[i]) or b[i] == 40):
        k = i
        while k < e and b[k] != 32 and b[k] != 58:
            k += 1
        if k < e and b[k] == 32:
            return skip_spaces(b, k, e)
    return i


@inline
def _named(s: ScanState, b: Bytes, lo: int, hi: int) -> int:
    """Return the number of an event's name; when it is new, it may be that of a system call."""
    name = intern(s.events, b, lo, hi)
    if s.events.entries[name, SEEN] == 0 and s.events.entries[name, MEANING] == codes.IGNORED and at(b, lo, hi, SYS):
        s.events.entries[name, MEANING] = codes.BY_NAME
    return name


@inline
def _called_by_name(b: Bytes, lo: int, hi: int, e: int, s: ScanState) -> tuple[int, Fields]:
    """Return what a line says whose event `b[lo:hi]` begins with `sys_`, and its code."""
    if s.facts[BY_NUMBER]:
        return codes.IGNORED, Fields(True, 0, 0, 0, 0, 0)
    return by_name(b, lo, hi, e)


@inline
def _fields(b: Bytes, i: int, e: int, code: int) -> Fields:
    """Return what the fields say, without the address that perf may print behind them."""
    end = e
    again = True
    while True:
        f = parse_fields(b, i, end, code)
        if f.ok or not again:
            return f
        again = False
        end = before_address(b, i, e)


@inline
def _one_line(b: Bytes, i: int, e: int, layout: int, s: ScanState, raw: Raw, n: int) -> int:
    """Scan one line; return the rows written (0 or 1), or minus a status."""
    if e == i or b[i] == 35 or b[i] == 9:
        return _not_event(b, i, e, layout, s, raw, n) if e > i else 0
    h = parse_head(b, i, e, layout)
    if h.end < 0:
        return _not_event(b, i, e, layout, s, raw, n) if h.end == NO_HEAD else -BAD_CLOCK
    if h.cpu > codes.MAX_CPU:
        return -BAD_CPU
    if h.tid > codes.MAX_TID:
        return -BAD_TID
    lo, hi, k = _event_name(b, _event_at(b, h.end, e), e)
    name = _named(s, b, lo, hi)
    code = int(s.events.entries[name, MEANING])
    if code == codes.FUNCTION:
        k = skip_spaces(b, k, e)
        lo, hi, k = _event_name(b, k + len(_IP) if at(b, k, e, _IP) else k, e)
        name = _named(s, b, lo, hi)
        code = int(s.events.entries[name, MEANING])
    if code == codes.BY_NAME:
        code, f = _called_by_name(b, lo, hi, e, s)
    else:
        f = _fields(b, k, e, code)
        if code == codes.SYS_ENTER or code == codes.SYS_EXIT:
            s.facts[BY_NUMBER] = 1
    if not f.ok:
        return -BAD_LINE
    if h.time == 0 and hi - lo == 1 and b[lo] == 48:
        return 0  # how systrace ends a file: an event without a name at 0.0
    if not _clock(s, h.cpu, h.time):
        return -BACKWARDS
    s.events.entries[name, SEEN] += 1
    s.facts[EVENTS] += 1
    s.facts[FLAGGED] += (h.flags & codes.HAS_FLAGS) != 0
    s.facts[TICKS if h.fraction < 0 else FRACTIONS] += 1
    s.facts[MEANT] = code != codes.IGNORED
    if not matters(code, f.a, f.b):
        return 0
    if code == codes.CPUHP and f.a > s.facts[HIGHEST_CPU]:
        s.facts[HIGHEST_CPU] = f.a
    if code == codes.SWITCH and b[e - 1] == 93:
        s.facts[SHORT_SWITCH] += 1
    comm = intern(s.comms, b, h.comm, h.comm_end)
    other = intern(s.comms, b, f.other, f.other_end) if f.other_end > f.other else -1
    put(raw, n, Line(h.time, int(s.facts[LINES]) + 1, h.cpu, h.tid, code, h.flags | f.flags, f.a, f.b, comm, other))
    return 1


@bare
def scan(b: Bytes, lo: int, hi: int, final: bool, layout: int, s: ScanState, raw: Raw) -> tuple[int, int, int]:
    """Scan whole lines of `b[lo:hi]`; return (where it stopped, rows written, status).

    With `final` the last line may lack its end. After an error the offset is the start of that line.
    """
    n = lo - lo  # of the type of the sum below: one type, one compilation
    i = lo
    while i < hi:
        if n == len(raw.time):
            return i, n, FULL
        if not has_room(s.events) or not has_room(s.comms):
            return i, n, NAMES_FULL
        e = find_byte(b, i, hi, 10)
        if e == hi and not final:
            break
        got = _one_line(b, i, e, layout, s, raw, n)
        if got < 0:
            return i, n, -got
        n += got
        s.facts[LINES] += 1
        i = e + 1
    return min(i, hi), n, DONE


__all__ = ["BAD_TIME", "LATENCY", "PERF", "Raw", "ScanState", "cut", "new_raw", "new_scan_state", "scan", "with_room"]
