"""What the walk through a trace.dat carries on, in arrays, and what its columns mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline
from fpstate.structs import Struct

DONE, FULL, NAMES_FULL, REFILL, ENDED, READY, BAD_PAGE, BAD_RECORD, BAD_TIME, BACKWARDS, BAD_FIELD, BAD_TID = range(12)
"""Why `merge` stopped, or how a stream went on; the last six are errors at the page of that stream."""

PAGE_SIZE, START, FILLED, MORE, PAGE, PAGES, PLACE, END, TIME, SHOWN, STATE, LOST, CPU, BUFFER, DATA, LENGTH = range(16)
LOSSES = 16
"""Columns of `Walk.streams`: its page size; where its window begins and ends in `bytes`; whether the file has more;
where the page at hand begins, and how many pages were begun; where the next record begins, and the page's records end;
the time of the record at hand as recorded, and as shown; READY when there is one; events lost before it (UNKNOWN_LOSS,
or NO_LOSS); its CPU and buffer; where the record's data are, and their length; how often events were lost."""
STREAM_COLUMNS = 17

NO_LOSS, UNKNOWN_LOSS = -1, 0

(
    BIG, STREAMS, DATA_AT, TIME_AT, COMMIT_AT, COMMIT_SIZE, TYPE_AT, TYPE_SIZE, FLAGS_AT, PID_AT, LEAST, RESCHED,
    STATES, DEAD, SHIFT, TSC_MULTIPLIER, TSC_SHIFT, TSC_OFFSET, UNNAMED, IDLE_NAME, UNKNOWN_TYPES, UNKNOWN_SYMBOLS,
    IS_TICKS, IDLE_STATE,
) = range(24)  # fmt: skip
"""Places in `Walk.facts`: byte order; streams not at their end; where a page's data, time and count of bytes are, and
that count's size; where common fields of a record are, and how long it is at least; flags that mean need-resched; bits
of prev_state that are not R, and those of death; what becomes of times; names of threads unknown and idle; records of
types without a format, and of functions without a symbol; whether times are ticks; the bit of prev_state I,
or 0."""
FACTS = 24

CODE, NAME, BUFFERS = range(3)
"""Columns of `Walk.kinds`: the event's code and name, and in which buffers it was seen (a bit each)."""

SYMBOL_CODE, SYMBOL_IS, SYMBOL_SEEN = range(3)
"""Columns of `Walk.symbols`: what a line of this function means; what it is as a caller (CALLER_...) or a step of
hotplug (IS_STEP and more); how many lines it had."""
IS_STEP = 8


@dataclass(frozen=True, eq=False)
class Walk(Struct):
    """What the walk carries on."""

    bytes: NDArray[np.uint8]
    streams: NDArray[np.int64]  # [stream, column]
    heap: NDArray[np.int64]  # streams not at their end, the earliest first
    facts: NDArray[np.int64]
    kind_of: NDArray[np.int32]  # type of a record -> row of the next two, or -1
    kinds: NDArray[np.int64]
    places: NDArray[np.int64]  # [kind, column], see `formats`
    comms: NDArray[np.int32]  # thread id -> name, or -1
    addresses: NDArray[np.int64]  # of symbols, ascending
    symbols: NDArray[np.int64]


@inline
def number(w: Walk, i: int, size: int, signed: bool) -> int:
    """Return the number of 1 to 8 bytes at `i`."""
    b = w.bytes
    v = np.int64(0)
    if w.facts[BIG]:
        for k in range(size):
            v = (v << 8) | np.int64(b[i + k])
    elif size == 4:
        v = np.int64(b[i]) | np.int64(b[i + 1]) << 8 | np.int64(b[i + 2]) << 16 | np.int64(b[i + 3]) << 24
    else:
        for k in range(size - 1, -1, -1):
            v = (v << 8) | np.int64(b[i + k])
    if signed and size < 8 and v >> (8 * size - 1):
        v -= np.int64(1) << (8 * size)
    return int(v)
