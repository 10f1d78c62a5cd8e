"""The streams of a trace.dat: from sub-buffers ("pages") of the kernel's ring buffer to one record after the other.

A stream is the records of one CPU in one buffer, of which a window of whole pages is in memory. Everything is checked
before it is read: a page against its window, a record against its page. Forms of pages and records:
include/linux/ring_buffer.h and kernel/trace/ring_buffer.c of Linux.
"""

from __future__ import annotations

from fpstate.jit import inline
from fpstate.traces.dat.state import (
    BACKWARDS,
    BAD_PAGE,
    BAD_RECORD,
    BAD_TIME,
    BIG,
    COMMIT_AT,
    COMMIT_SIZE,
    DATA,
    DATA_AT,
    END,
    ENDED,
    FILLED,
    LENGTH,
    LOST,
    MORE,
    PAGE,
    PAGE_SIZE,
    PAGES,
    PLACE,
    READY,
    REFILL,
    SHIFT,
    SHOWN,
    TIME,
    TIME_AT,
    TSC_MULTIPLIER,
    TSC_OFFSET,
    TSC_SHIFT,
    UNKNOWN_LOSS,
    Walk,
    number,
)

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_COMMITTED = (1 << 27) - 1
_MISSED, _MISSED_STORED = 1 << 31, 1 << 30
_MOST_LOST = 2_000_000_000
_TOP_BITS = -(1 << 59)
_LAST_TIME = 9_000_000_000_000_000_000


@inline
def _open_page(w: Walk, t: int) -> int:
    """Go on to the stream's next page; return READY, REFILL, ENDED or an error."""
    s = w.streams
    page = s[t, PAGE] + s[t, PAGE_SIZE]
    if page + s[t, PAGE_SIZE] > s[t, FILLED]:
        return REFILL if s[t, MORE] else ENDED
    s[t, PAGE] = page
    s[t, PAGES] += 1
    commit = number(w, page + w.facts[COMMIT_AT], w.facts[COMMIT_SIZE], False)
    used = commit & _COMMITTED
    begin = page + w.facts[DATA_AT]
    s[t, PLACE] = begin
    s[t, END] = begin
    if begin + used > page + s[t, PAGE_SIZE]:
        return BAD_PAGE
    s[t, END] = begin + used
    time = number(w, page + w.facts[TIME_AT], 8, False)
    if used and (time < 0 or time > _LAST_TIME):
        return BAD_TIME
    s[t, TIME] = time
    if commit & _MISSED:
        lost = UNKNOWN_LOSS
        if commit & _MISSED_STORED and begin + used + w.facts[COMMIT_SIZE] <= page + s[t, PAGE_SIZE]:
            lost = number(w, begin + used, w.facts[COMMIT_SIZE], False)
        s[t, LOST] = min(max(lost, 0), _MOST_LOST) + max(s[t, LOST], 0)
    return READY


@inline
def _next_record(w: Walk, t: int) -> int:
    """Go on to the page's next record; return READY, ENDED at the page's end, or an error."""
    s = w.streams
    while s[t, PLACE] < s[t, END]:
        i = s[t, PLACE]
        left = s[t, END] - i
        if left < 4:
            return BAD_RECORD
        head = number(w, i, 4, False)
        kind = head >> 27 if w.facts[BIG] else head & 31
        delta = head & _COMMITTED if w.facts[BIG] else head >> 5
        if kind == _PADDING and delta == 0:
            s[t, PLACE] = s[t, END]
            break
        more = 0
        if kind == 0 or kind >= _PADDING:
            if left < 8:
                return BAD_RECORD
            more = number(w, i + 4, 4, False)
        if kind == _TIME_EXTEND:
            s[t, TIME] += (more << 27) + delta
            s[t, PLACE] = i + 8
        elif kind == _TIME_STAMP:
            s[t, TIME] = (more << 27) + delta | (s[t, TIME] & _TOP_BITS)
            s[t, PLACE] = i + 8
        else:
            s[t, TIME] += delta
            length = 4 * kind if 0 < kind < _PADDING else more
            if length < 4 or length > left - 4:
                return BAD_RECORD
            s[t, PLACE] = i + 4 + (length + 3 & ~3)
            if kind != _PADDING:
                s[t, DATA] = i + 4 if kind else i + 8
                s[t, LENGTH] = length if kind else length - 4
                return READY
        if s[t, TIME] < 0 or s[t, TIME] > _LAST_TIME:
            return BAD_TIME
    return ENDED


@inline
def _shown(w: Walk, time: int) -> int:
    """Return a time as shown: ticks made nanoseconds, and shifted; negative if it makes no sense."""
    if time < 0 or time > _LAST_TIME:
        return -1
    if w.facts[TSC_MULTIPLIER]:
        high, low = time >> 31, time & 0x7FFFFFFF
        if high > 1 << 30:
            return -1
        m, shift = w.facts[TSC_MULTIPLIER], w.facts[TSC_SHIFT]
        high = high * m
        if high >> (32 + shift):
            return -1
        time = (high << (31 - shift)) + (low * m >> shift) - w.facts[TSC_OFFSET]
    time += w.facts[SHIFT]
    return time if time <= _LAST_TIME else -1


@inline
def advance(w: Walk, t: int) -> int:
    """Go on to the stream's next record; return READY, REFILL, ENDED or an error."""
    s = w.streams
    status = ENDED
    while status == ENDED:
        if s[t, PLACE] >= s[t, END]:
            status = _open_page(w, t)
            if status != READY:
                return status
        status = _next_record(w, t)
    if status != READY:
        return status
    time = _shown(w, s[t, TIME])
    if time < 0:
        return BAD_TIME
    if time < s[t, SHOWN]:
        return BACKWARDS
    s[t, SHOWN] = time
    return READY
