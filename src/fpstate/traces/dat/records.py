"""From a record of a trace.dat to a raw row, the same that `scan` makes of the record's line.

Every field is checked against the record before it is read.
"""

from __future__ import annotations

import numpy as np

from fpstate.jit import inline
from fpstate.traces.dat.formats import AT_FROM_END, IN_PLACE, NEEDED, TEXT
from fpstate.traces.dat.state import (
    BAD_FIELD,
    BAD_RECORD,
    BAD_TID,
    BUFFER,
    BUFFERS,
    CODE,
    CPU,
    DATA,
    DEAD,
    FLAGS_AT,
    IDLE_NAME,
    IDLE_STATE,
    IS_STEP,
    IS_TICKS,
    LEAST,
    LENGTH,
    LOSSES,
    LOST,
    NAME,
    NO_LOSS,
    PID_AT,
    RESCHED,
    SHOWN,
    STATES,
    SYMBOL_CODE,
    SYMBOL_IS,
    SYMBOL_SEEN,
    TYPE_AT,
    TYPE_SIZE,
    UNKNOWN_SYMBOLS,
    UNKNOWN_TYPES,
    UNNAMED,
    Walk,
    number,
)
from fpstate.traces.lines import codes, scan
from fpstate.traces.lines.fields import KVM_RUN_NUMBER, MIGRATION, PRCTL, PTRACE, Fields, asked_length, at, writes_fp
from fpstate.traces.lines.head import RAW_INTERRUPT
from fpstate.traces.lines.names import SEEN, intern
from fpstate.traces.lines.scan import Line, Raw, ScanState, matters, put

_COMM = 15  # a comm's greatest length


@inline
def _symbol(w: Walk, address: int) -> int:
    """Return the number of the symbol that an address lies behind, or -1."""
    lo, hi = np.int64(0), np.int64(len(w.addresses))
    while lo < hi:
        middle = (lo + hi) >> 1
        if w.addresses[middle] <= address:
            lo = middle + 1
        else:
            hi = middle
    return int(lo - 1)


@inline
def _symbol_is(w: Walk, address: int) -> int:
    symbol = _symbol(w, address)
    return int(w.symbols[symbol, SYMBOL_IS]) if symbol >= 0 else 0


@inline
def _text(w: Walk, t: int, row: int) -> tuple[int, int]:
    """Return where the text of the record at hand begins and ends; an end of -1 when it lies outside."""
    data, length = w.streams[t, DATA], w.streams[t, LENGTH]
    offset, size, where = w.places[row, TEXT], w.places[row, TEXT + 1], w.places[row, TEXT + 2]
    if where != IN_PLACE:
        said = number(w, data + offset, 4, False)
        base = offset + 4 if where == AT_FROM_END else 0
        offset, size = base + (said & 0xFFFF), said >> 16
    if offset + size > length:
        return 0, -1
    end = data + offset
    while end < data + offset + size and w.bytes[end]:
        end += 1
    return int(data + offset), int(end)


@inline
def _value(w: Walk, t: int, row: int, k: int) -> int:
    size = w.places[row, 3 * k + 1]
    return number(w, w.streams[t, DATA] + w.places[row, 3 * k], size, w.places[row, 3 * k + 2] != 0)


@inline
def _bad() -> Fields:
    return Fields(False, 0, 0, 0, 0, 0)


@inline
def _switch(w: Walk, t: int, row: int) -> Fields:
    state = _value(w, t, row, 2)
    known = state & w.facts[STATES]
    flags = codes.DEAD if state & w.facts[DEAD] else 0 if known else codes.RUNNABLE
    if known and known == w.facts[IDLE_STATE]:
        flags = codes.KTHREAD_WAITS
    lo, hi = _text(w, t, row)
    stopper = codes.STOPPER if at(w.bytes, lo, hi, MIGRATION) else 0
    return Fields(hi >= 0, _value(w, t, row, 0), _value(w, t, row, 1), flags | stopper, lo, hi)


@inline
def _forked(w: Walk, t: int, row: int) -> Fields:
    lo, hi = _text(w, t, row)
    return Fields(hi >= 0, 0, _value(w, t, row, 0), 0, lo, hi)


@inline
def _executed(w: Walk, t: int, row: int) -> Fields:
    lo, end = _text(w, t, row)
    hi = end
    while hi > lo and w.bytes[hi - 1] != 47:
        hi -= 1
    return Fields(end >= 0, 0, _value(w, t, row, 0), 0, hi, min(end, hi + _COMM))


@inline
def _system_call(w: Walk, t: int, row: int, enter: bool) -> Fields:
    nr = _value(w, t, row, 0)
    return Fields(abs(nr) <= codes.MOST_NUMBER, nr, _arguments(w, t, row, nr) if enter else 0, 0, 0, 0)


@inline
def _arguments(w: Walk, t: int, row: int, nr: int) -> int:
    """Return what a system call's arguments say: KVM_RUN, a vector length, a thread whose FP registers are written."""
    size = int(w.places[row, 4])
    first = int(w.streams[t, DATA] + w.places[row, 3])
    second = number(w, first + size, size, False)
    if second == KVM_RUN_NUMBER:
        return 1
    if nr == PRCTL:
        return asked_length(number(w, first, size, False), second)
    if nr != PTRACE:
        return 0
    request, regset = number(w, first, size, False), number(w, first + 2 * size, size, False)
    return -second if writes_fp(request, second, regset) else 0


@inline
def _by_name(w: Walk, t: int, row: int, code: int) -> Fields:
    """Return what the record of a system call says whose event's name says which it is."""
    if code == codes.SIGRETURN_BY_NAME:
        return Fields(True, codes.SIGRETURN_CALL, 0, 0, 0, 0)
    what = 0
    if code == codes.IOCTL_BY_NAME:
        what = 1 if _value(w, t, row, 0) & 0xFFFFFFFF == KVM_RUN_NUMBER else 0
    elif code == codes.PTRACE_BY_NAME:
        tid = _value(w, t, row, 1)
        what = -tid if writes_fp(_value(w, t, row, 0), tid, _value(w, t, row, 2)) else 0
    elif code == codes.PRCTL_BY_NAME:
        what = asked_length(_value(w, t, row, 0), _value(w, t, row, 1))
    return Fields(True, codes.CALL, what, 0, 0, 0)


@inline
def _hotplug(w: Walk, t: int, row: int) -> Fields:
    cpu, target, step = _value(w, t, row, 0), _value(w, t, row, 1), _value(w, t, row, 2)
    what = _symbol_is(w, _value(w, t, row, 3)) - IS_STEP
    happens = target > step if what == codes.STEP_BRINGUP else what > 0 and target < step
    return Fields(0 <= cpu <= codes.MAX_CPU, cpu, what if happens else 0, 0, 0, 0)


@inline
def _fields(w: Walk, t: int, row: int, code: int) -> Fields:
    """Return what the fields of the record at hand say, as `parse_fields` does for text; not ok when they cannot."""
    if w.streams[t, LENGTH] < w.places[row, NEEDED]:
        return _bad()
    if code == codes.SWITCH:
        return _switch(w, t, row)
    if code == codes.SYS_ENTER or code == codes.SYS_EXIT:
        return _system_call(w, t, row, code == codes.SYS_ENTER)
    if codes.ENTER_BY_NAME <= code <= codes.EXIT_BY_NAME:
        return _by_name(w, t, row, code)
    if code == codes.FORK:
        return _forked(w, t, row)
    if code == codes.EXEC:
        return _executed(w, t, row)
    if code == codes.CPUHP:
        return _hotplug(w, t, row)
    if code == codes.SIGNAL_DELIVER:
        return Fields(True, 0 if 0 <= _value(w, t, row, 0) <= 1 else 1, 0, 0, 0, 0)
    return Fields(True, 0, 0, 0, 0, 0)


@inline
def _function(w: Walk, t: int, row: int) -> tuple[int, int]:
    """Count a line of the function tracer; return what it means, and which caller its second address is."""
    symbol = _symbol(w, _value(w, t, row, 0)) if w.streams[t, LENGTH] >= w.places[row, NEEDED] else -2
    if symbol < 0:
        w.facts[UNKNOWN_SYMBOLS] += 1
        return (codes.IGNORED if symbol == -1 else -1), 0
    w.symbols[symbol, SYMBOL_SEEN] += 1
    code = int(w.symbols[symbol, SYMBOL_CODE])
    if code not in codes.BY_CALLER:
        return code, 0
    caller = _symbol_is(w, _value(w, t, row, 1))
    return code, (caller if caller < IS_STEP else 0)


@inline
def _names_threads(code: int) -> bool:
    return code == codes.SWITCH or code == codes.FORK or code == codes.EXEC


@inline
def _count(w: Walk, t: int, s: ScanState) -> None:
    s.facts[scan.LINES] += 1
    s.facts[scan.EVENTS] += 1
    s.facts[scan.FLAGGED] += 1
    s.facts[scan.TICKS if w.facts[IS_TICKS] else scan.FRACTIONS] += 1
    s.facts[scan.LATEST] = w.streams[t, SHOWN]


@inline
def _write(w: Walk, t: int, s: ScanState, raw: Raw, n: int, code: int, f: Fields) -> None:
    data = int(w.streams[t, DATA])
    tid = number(w, data + int(w.facts[PID_AT]), 4, True)
    said = int(w.bytes[data + w.facts[FLAGS_AT]])
    flags = f.flags | codes.HAS_FLAGS | (codes.NEED_RESCHED if said & w.facts[RESCHED] else 0)
    flags |= codes.INTERRUPT if said & RAW_INTERRUPT else 0
    comm = int(w.facts[IDLE_NAME]) if tid == 0 else int(w.comms[tid]) if tid < len(w.comms) else -1
    if comm < 0:
        comm = int(w.facts[UNNAMED])
        flags |= codes.UNNAMED
    other = intern(s.comms, w.bytes, f.other, f.other_end) if f.other_end > f.other else -1
    time, cpu = int(w.streams[t, SHOWN]), int(w.streams[t, CPU])
    put(raw, n, Line(time, int(s.facts[scan.LINES]), cpu, tid, code, flags, f.a, f.b, comm, other))


@inline
def decode(w: Walk, t: int, s: ScanState, raw: Raw, n: int) -> int:
    """Write the row of the record at hand; return the rows written (0 or 1), or minus an error."""
    if w.streams[t, LENGTH] < w.facts[LEAST]:
        return -BAD_RECORD
    data = int(w.streams[t, DATA])
    kind = number(w, data + int(w.facts[TYPE_AT]), int(w.facts[TYPE_SIZE]), False)
    tid = number(w, data + int(w.facts[PID_AT]), 4, True)
    row = int(w.kind_of[kind]) if 0 <= kind < len(w.kind_of) else -1
    _count(w, t, s)
    if not 0 <= tid <= codes.MAX_TID:
        return -BAD_TID
    if row < 0:
        w.facts[UNKNOWN_TYPES] += 1
        return 0
    w.kinds[row, BUFFERS] |= np.int64(1) << w.streams[t, BUFFER]
    code = int(w.kinds[row, CODE])
    if code == codes.FUNCTION:
        code, caller = _function(w, t, row)
        f = Fields(code >= 0, caller, 0, 0, 0, 0)
    else:
        s.events.entries[w.kinds[row, NAME], SEEN] += 1
        f = _fields(w, t, row, code)
    if not f.ok:
        return -BAD_FIELD
    if codes.ENTER_BY_NAME <= code <= codes.EXIT_BY_NAME:
        code = codes.SYS_EXIT if code == codes.EXIT_BY_NAME else codes.SYS_ENTER
        if s.facts[scan.BY_NUMBER]:
            return 0
    elif code == codes.SYS_ENTER or code == codes.SYS_EXIT:
        s.facts[scan.BY_NUMBER] = 1
    if _names_threads(code) and not (0 <= f.a <= codes.MAX_TID and 0 <= f.b <= codes.MAX_TID):
        return -BAD_TID
    if not matters(code, f.a, f.b):
        return 0
    if code == codes.CPUHP and f.a > s.facts[scan.HIGHEST_CPU]:
        s.facts[scan.HIGHEST_CPU] = f.a
    _write(w, t, s, raw, n, code, f)
    return 1


@inline
def note_loss(w: Walk, t: int, s: ScanState, raw: Raw, n: int) -> None:
    """Write the row of events lost before the stream's record at hand."""
    s.facts[scan.LINES] += 1
    time = max(s.facts[scan.LATEST], 0)
    put(raw, n, Line(time, s.facts[scan.LINES], w.streams[t, CPU], -1, codes.LOST, 0, w.streams[t, LOST], 0, -1, -1))
    w.streams[t, LOST] = NO_LOSS
    w.streams[t, LOSSES] += 1
