"""The walk through the records of all CPUs in order of time, and from each record to a raw row.

Of equal times, that of the lower stream comes first, as in `trace-cmd report`.
"""

from __future__ import annotations

import numpy as np

from fpstate.jit import bare, inline
from fpstate.traces.dat.pages import advance
from fpstate.traces.dat.records import decode, note_loss
from fpstate.traces.dat.state import (
    DONE,
    ENDED,
    FULL,
    LOST,
    NAMES_FULL,
    NO_LOSS,
    READY,
    SHOWN,
    STATE,
    STREAMS,
    Walk,
)
from fpstate.traces.lines.names import has_room
from fpstate.traces.lines.scan import Raw, ScanState


@inline
def _before(w: Walk, a: int, b: int) -> bool:
    one, two = w.streams[a, SHOWN], w.streams[b, SHOWN]
    return bool(one < two or (one == two and a < b))


@inline
def _sift(w: Walk) -> None:
    """Put the first stream of the heap where it belongs."""
    n = w.facts[STREAMS]
    i = np.int64(0)
    top = w.heap[0]
    while 2 * i + 1 < n:
        child = 2 * i + 1
        if child + 1 < n and _before(w, w.heap[child + 1], w.heap[child]):
            child += 1
        if not _before(w, w.heap[child], top):
            break
        w.heap[i] = w.heap[child]
        i = child
    w.heap[i] = top


@bare
def merge(w: Walk, s: ScanState, raw: Raw, n: int) -> tuple[int, int, int]:
    """Write rows from `n` on until there is no room, or a stream needs more of its file.

    Return (rows, status, that stream).
    """
    while w.facts[STREAMS]:
        t = w.heap[0]
        if n + 2 > len(raw.time):
            return n, FULL, t
        if not has_room(s.comms):
            return n, NAMES_FULL, t
        if w.streams[t, STATE] != READY:
            status = advance(w, t)
            if status != READY and status != ENDED:
                return n, status, t
            if status == ENDED:
                w.facts[STREAMS] -= 1
                w.heap[0] = w.heap[w.facts[STREAMS]]
                if w.streams[t, LOST] != NO_LOSS:
                    note_loss(w, t, s, raw, n)
                    n += 1
            w.streams[t, STATE] = status
            _sift(w)
            continue
        if w.streams[t, LOST] != NO_LOSS:
            note_loss(w, t, s, raw, n)
            n += 1
        got = decode(w, t, s, raw, n)
        if got < 0:
            return n, -got, t
        n += got
        w.streams[t, STATE] = DONE
    return n, DONE, -1
