"""The head of a trace line: `comm-tid [cpu] flags time:` and its variants, byte by byte.

Comms may hold anything, even ` [001] `: the CPU column is the first one that a thread id stands before and
a time, perhaps after flags, behind.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import find_byte, inline
from fpstate.traces.lines.codes import HAS_FLAGS, INTERRUPT, NEED_RESCHED, UNNAMED

Bytes = NDArray[np.uint8]

DASH, PERF, LATENCY = 0, 1, 2
"""Layouts: `comm-tid [cpu]` (ftrace, trace-cmd), `comm tid [cpu]` (perf), `comm-tid cpuflags` (trace-cmd -l)."""

_MAX_SECONDS = 9_000_000_000  # 285 years; nanoseconds stay below 2**63
RAW_RESCHED = 0x04 | 0x20  # TRACE_FLAG_NEED_RESCHED, _PREEMPT_RESCHED: include/linux/trace_events.h
RAW_INTERRUPT = 0x08 | 0x10 | 0x40  # TRACE_FLAG_HARDIRQ, _SOFTIRQ, _NMI
_MAX_DIGITS = 18
_LONGEST_COMM = 15
_CUT_COMM = 8  # trace-cmd -l cuts comms to this length


class Head(NamedTuple):
    """Columns of a line's head. `end` is where the event begins, or one of NO_HEAD and BAD_TIME."""

    tid: int  # -1 when the recorder did not know it
    cpu: int
    flags: int
    time: int  # nanoseconds; ticks if `fraction` is -1
    fraction: int  # digits after the point, or -1
    end: int
    comm: int  # where the comm begins and ends
    comm_end: int


NO_HEAD = -1
BAD_TIME = -2


@inline
def is_digit(c: int) -> bool:
    """Return whether the byte is 0 to 9."""
    return 48 <= c <= 57


@inline
def skip_spaces(b: Bytes, i: int, e: int) -> int:
    """Return the first place from `i` that is not a space."""
    while i < e and b[i] == 32:
        i += 1
    return i


@inline
def number(b: Bytes, i: int, e: int) -> tuple[int, int]:
    """Return the decimal number at `i` and where it ends; -1 when there is none or it is too long."""
    v = np.int64(0)
    k = i
    end = min(e, i + _MAX_DIGITS)
    while k < end:
        digit = np.int64(b[k]) - 48
        if digit < 0 or digit > 9:
            break
        v = v * 10 + digit
        k += 1
    if k == i or (k == end and k < e and is_digit(b[k])):
        return -1, k
    return int(v), k


@inline
def number_before(b: Bytes, lo: int, k: int) -> tuple[int, int]:
    """Return the decimal number that ends at `k` (the last digit) and the place before it; -1 when none."""
    v = np.int64(0)
    m = np.int64(1)
    q = k
    end = max(lo, k - _MAX_DIGITS + 1)
    while q >= end:
        digit = np.int64(b[q]) - 48
        if digit < 0 or digit > 9:
            break
        v += digit * m
        m *= 10
        q -= 1
    if q == k:
        return -1, q
    return int(v), q


@inline
def _microseconds(b: Bytes, micros: int, k: int, e: int) -> tuple[int, int, int]:
    """Return what `_time` does, of `123us : ` with the unit at `k`; `+` or `!` for the space marks a long delay."""
    if k + 3 >= e or b[k + 1] != 115 or b[k + 3] != 58:
        return 0, -1, NO_HEAD
    if micros < 0 or micros > _MAX_SECONDS * 1_000_000:
        return 0, -1, BAD_TIME
    return micros * 1000, 6, k + 4


@inline
def _time(b: Bytes, i: int, e: int) -> tuple[int, int, int]:
    """Return (time, digits after the point or -1, end) of `seconds.fraction:`, `ticks:` or `micros us :` at `i`."""
    seconds, k = number(b, i, e)
    if k == i or k >= e:
        return 0, -1, NO_HEAD
    if b[k] == 58:
        return seconds, -1, (k + 1 if seconds >= 0 else BAD_TIME)
    if b[k] == 117:
        return _microseconds(b, seconds, k, e)
    if b[k] != 46:
        return 0, -1, NO_HEAD
    f = k + 1
    fraction, k = number(b, f, e)
    if k == f or k >= e or b[k] != 58:
        return 0, -1, NO_HEAD
    digits = k - f
    if seconds < 0 or seconds > _MAX_SECONDS or fraction < 0 or digits > 9:
        return 0, -1, BAD_TIME
    for _ in range(9 - digits):
        fraction *= 10
    return seconds * 1_000_000_000 + fraction, digits, k + 1


@inline
def _raw_flag_bits(b: Bytes, i: int, e: int) -> int:
    """Return the bits of flags in hexadecimal, as `trace-cmd report -R -l` prints them."""
    said = np.int64(0)
    for k in range(i, e):
        c = np.int64(b[k])
        said = said * 16 + (c - 48 if c < 58 else (c | 32) - 87)
    bits = HAS_FLAGS
    if said & RAW_RESCHED:
        bits |= NEED_RESCHED
    if said & RAW_INTERRUPT:
        bits |= INTERRUPT
    return bits


@inline
def flag_bits(b: Bytes, i: int, e: int) -> int:
    """Return the bits of a flags column like `dNs2.`: irqs-off, need-resched, interrupt, depth.

    PREEMPT_RT kernels have a column more before `interrupt`, and others after it. Need-resched is always the second;
    h, H, s, z and Z stand in no column but `interrupt` (trace_print_lat_fmt in kernel/trace/trace_output.c).
    """
    bits = HAS_FLAGS
    if i + 3 < e and b[i] == 45 and b[i + 2] == 120:  # -0x5
        return _raw_flag_bits(b, i + 3, e)
    if i + 1 < e and b[i + 1] != 46:
        bits |= NEED_RESCHED
    for k in range(i + 2, e):
        c = b[k] | 32
        if c == 104 or c == 122 or b[k] == 115:
            bits |= INTERRUPT
    return bits


@inline
def _after_cpu(b: Bytes, i: int, e: int, flags_allowed: bool) -> tuple[int, int, int, int]:
    """Return (flags, time, fraction, end) of what follows the CPU column."""
    k = skip_spaces(b, i, e)
    time, fraction, end = _time(b, k, e)
    if end != NO_HEAD or not flags_allowed:
        return 0, time, fraction, end
    f = k
    while k < e and b[k] != 32 and k - f < 12:
        k += 1
    bits = flag_bits(b, f, k)
    time, fraction, end = _time(b, skip_spaces(b, k, e), e)
    return bits, time, fraction, end


@inline
def _before_cpu(b: Bytes, lo: int, k: int, perf: bool) -> tuple[int, int]:
    """Return (tid, end of comm) of what stands before the CPU column at `k`; tid -2 when it does not fit."""
    while k >= lo and b[k] == 32:
        k -= 1
    if k >= lo and b[k] == 41 and not perf:  # (tgid)
        while k >= lo and b[k] != 40:
            k -= 1
        k -= 1
        while k >= lo and b[k] == 32:
            k -= 1
    tid, q = number_before(b, lo, k)
    if tid < 0 or q < lo:
        return -2, q
    if not perf:
        return (tid, q) if b[q] == 45 else (-2, q)
    if b[q] == 47:  # pid/tid
        _, q = number_before(b, lo, q - 1)
    if q >= lo and b[q] == 45 and tid == 1:
        tid = -1
        q -= 1
    if q < lo or b[q] != 32:
        return -2, q
    while q > lo and b[q - 1] == 32:
        q -= 1
    return tid, q


@inline
def _unnamed(b: Bytes, c: int, e: int) -> int:
    if e - c == 5 and b[c] == 60 and b[c + 1] == 46 and b[c + 4] == 62:
        return UNNAMED
    return 0


@inline
def _behind_buffer(b: Bytes, comm: int, e: int) -> int:
    """Return where the comm begins that a buffer's name and a colon stand before, in a report of several buffers."""
    for k in range(comm + 1, e - 1):
        if b[k] == 58 and b[k + 1] == 32:
            return skip_spaces(b, k + 1, e)
    return comm


@inline
def _bracket_head(b: Bytes, i: int, e: int, perf: bool) -> Head:
    """Parse the head of a line with the CPU in brackets."""
    worst = NO_HEAD
    j = i
    while j < e:
        j = find_byte(b, j + 1, e, 91)
        if j >= e or b[j - 1] != 32:
            continue
        cpu, k = number(b, j + 1, e)
        if cpu >= 0 and k - j > 3 and k < e and b[k] == 93:
            tid, comm_end = _before_cpu(b, i, j - 1, perf)
            if tid >= -1:
                flags, time, fraction, end = _after_cpu(b, k + 1, e, not perf)
                if end >= 0:
                    comm = skip_spaces(b, i, comm_end)
                    if comm_end - comm > _LONGEST_COMM and not perf:
                        comm = _behind_buffer(b, comm, comm_end)
                    flags |= _unnamed(b, comm, comm_end)
                    return Head(tid, cpu, flags, time, fraction, end, comm, comm_end)
                worst = min(worst, end)
    return Head(0, 0, 0, 0, -1, worst, 0, 0)


@inline
def _latency_head(b: Bytes, i: int, e: int) -> Head:
    """Parse `comm-tid  cpuflags time:` where the CPU number and the flags touch, like `vmm-107  0d..1. 5.93:`."""
    worst = NO_HEAD
    for j in range(i + 1, e):
        if b[j] != 45 or not is_digit(b[min(j + 1, e - 1)]):
            continue
        tid, k = number(b, j + 1, e)
        c = skip_spaces(b, k, e)
        cpu, f = number(b, c, e)
        if tid < 0 or cpu < 0 or c == k or f >= e or b[f] == 32:
            continue
        k = f
        while k < e and b[k] != 32 and k - f < 12:
            k += 1
        time, fraction, end = _time(b, skip_spaces(b, k, e), e)
        if end >= 0:
            comm = skip_spaces(b, i, j)
            if j - comm > _CUT_COMM:
                comm = _behind_buffer(b, comm, j)
            flags = flag_bits(b, f, k) | _unnamed(b, comm, j)
            if j - comm >= _CUT_COMM:
                flags |= UNNAMED
            return Head(tid, cpu, flags, time, fraction, end, comm, j)
        worst = min(worst, end)
    return Head(0, 0, 0, 0, -1, worst, 0, 0)


@inline
def parse_head(b: Bytes, i: int, e: int, layout: int) -> Head:
    """Return the head of the line `b[i:e]`; `end` is negative when it is not a line of this layout."""
    if layout == LATENCY:
        return _latency_head(b, i, e)
    return _bracket_head(b, i, e, layout == PERF)
