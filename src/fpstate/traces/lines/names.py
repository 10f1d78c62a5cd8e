"""A table of distinct byte strings, filled by the scanner: event names and comms become small numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, inline, same_bytes
from fpstate.structs import Struct

_RECENT = 1024  # places for strings met lately
LONGEST = 256  # longer names are cut
_ROOM = 8  # strings one line may add
_HASH_MASK = (1 << 44) - 1  # with the multiplier, products stay below 2**63
_MULTIPLIER = 262_147


HASH, START, SEEN, MEANING = range(4)
"""Columns of `Names.entries`; where its bytes begin; times seen and what it is taken for, kept by the table's user."""


@dataclass(frozen=True, eq=False)
class Names(Struct):
    """Strings by number: bytes of `arena` from START of one entry to START of the next. `size[0]` are in use."""

    slots: NDArray[np.int32]  # open addressing: number + 1, or 0
    entries: NDArray[np.int64]  # [number, column], one row more than strings
    arena: NDArray[np.uint8]
    size: NDArray[np.int64]
    recent: NDArray[np.int32]  # number + 1 of a string met lately, by a few of its bytes, or 0


def new_names(capacity: int = 1024) -> Names:
    """Return an empty table with room for `capacity` strings, a power of two."""
    return Names(
        np.zeros(2 * capacity, np.int32),
        np.zeros((capacity + 1, 4), np.int64),
        np.zeros(32 * capacity + _ROOM * LONGEST, np.uint8),
        np.zeros(1, np.int64),
        np.zeros(_RECENT, np.int32),
    )


@inline
def _hash(b: NDArray[np.uint8], lo: int, hi: int) -> int:
    h = np.int64(hi - lo)
    for i in range(lo, hi):
        h = (h * _MULTIPLIER + np.int64(b[i])) & _HASH_MASK
    return int(h ^ (h >> 21))


@inline
def _equal(names: Names, i: int, b: NDArray[np.uint8], lo: int, hi: int) -> bool:
    start = names.entries[i, START]
    if names.entries[i + 1, START] - start != hi - lo:
        return False
    return same_bytes(names.arena, start, b, lo, hi - lo)


@inline
def _append(names: Names, h: int, b: NDArray[np.uint8], lo: int, hi: int) -> int:
    i = names.size[0]
    start = names.entries[i, START]
    for k in range(hi - lo):
        names.arena[start + k] = b[lo + k]
    names.entries[i + 1, START] = start + hi - lo
    names.entries[i, HASH] = h
    names.size[0] = i + 1
    return int(i)


@inline
def intern(names: Names, b: NDArray[np.uint8], lo: int, hi: int) -> int:
    """Return the number of the string `b[lo:hi]`, a new one if it was not seen. Needs `has_room`."""
    hi = min(hi, lo + LONGEST)
    place = 0
    if hi > lo:
        first, middle, last = np.int64(b[lo]), np.int64(b[(lo + hi) >> 1]), np.int64(b[hi - 1])
        place = int((hi - lo) * 37 + first + middle * 5 + last * 67) & (_RECENT - 1)
        i = int(names.recent[place]) - 1
        if i >= 0 and _equal(names, i, b, lo, hi):
            return i
    i = _looked_up(names, b, lo, hi)
    names.recent[place] = i + 1
    return i


@inline
def _looked_up(names: Names, b: NDArray[np.uint8], lo: int, hi: int) -> int:
    h = _hash(b, lo, hi)
    mask = len(names.slots) - 1
    slot = h & mask
    while names.slots[slot] != 0:
        i = names.slots[slot] - 1
        if names.entries[i, HASH] == h and _equal(names, i, b, lo, hi):
            return int(i)
        slot = (slot + 1) & mask
    new = _append(names, h, b, lo, hi)
    names.slots[slot] = new + 1
    return new


@inline
def has_room(names: Names) -> bool:
    """Return whether one more line's strings fit."""
    n = names.size[0]
    return bool(n + _ROOM + 1 < len(names.entries) and names.entries[n, START] + _ROOM * LONGEST < len(names.arena))


def grown(names: Names) -> Names:
    """Return a table of twice the room with the same strings under the same numbers."""
    n = int(names.size[0])
    need = 2 * max(len(names.entries) - 1, int(names.entries[n, START]) // 32)
    bigger = new_names(1 << (need - 1).bit_length())
    bigger.entries[: n + 1] = names.entries[: n + 1]
    bigger.arena[: names.entries[n, START]] = names.arena[: names.entries[n, START]]
    bigger.size[0] = n
    _fill_slots(bigger)
    return bigger


@bare
def _fill_slots(names: Names) -> None:
    mask = len(names.slots) - 1
    for i in range(names.size[0]):
        slot = names.entries[i, HASH] & mask
        while names.slots[slot] != 0:
            slot = (slot + 1) & mask
        names.slots[slot] = i + 1


def add(names: Names, text: str) -> int:
    """Return the number of `text`, as `intern` does."""
    raw = np.frombuffer(text.encode(), np.uint8)
    return int(intern(names, raw, 0, len(raw)))


@bare
def intern_all(names: Names, text: NDArray[np.uint8], ends: NDArray[np.int64], numbers: NDArray[np.int32]) -> None:
    """Write the numbers of strings that stand one after the other in `text`. There has to be room for all."""
    lo = ends[0] - ends[0]
    for i in range(len(ends)):
        numbers[i] = intern(names, text, lo, ends[i])
        lo = ends[i]


def strings(names: Names) -> list[str]:
    """Return all strings in the order of their numbers; bytes that are not UTF-8 are shown escaped."""
    n = int(names.size[0])
    arena = names.arena[: names.entries[n, START]].tobytes()
    ends = names.entries[: n + 1, START].tolist()
    return [arena[a:b].decode("utf-8", "backslashreplace") for a, b in pairwise(ends)]
