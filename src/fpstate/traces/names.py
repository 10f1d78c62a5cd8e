"""A table of distinct byte strings, filled by the scanner: event names and comms become small numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, inline

LONGEST = 256  # longer names are cut
_ROOM = 8  # strings one line may add
_HASH_MASK = (1 << 44) - 1  # with the multiplier, products stay below 2**63
_MULTIPLIER = 262_147


class Names(NamedTuple):
    """Strings by number: bytes `arena[start[i]:start[i + 1]]`. `size[0]` of them are in use."""

    slots: NDArray[np.int32]  # open addressing: number + 1, or 0
    hashes: NDArray[np.int64]
    start: NDArray[np.int64]
    counts: NDArray[np.int64]  # times seen, kept by the user of the table
    code: NDArray[np.uint8]  # what the user of the table takes it for
    arena: NDArray[np.uint8]
    size: NDArray[np.int64]


def new_names(capacity: int = 1024) -> Names:
    """Return an empty table with room for `capacity` strings, a power of two."""
    return Names(
        np.zeros(2 * capacity, np.int32),
        np.zeros(capacity, np.int64),
        np.zeros(capacity + 1, np.int64),
        np.zeros(capacity, np.int64),
        np.zeros(capacity, np.uint8),
        np.zeros(32 * capacity + _ROOM * LONGEST, np.uint8),
        np.zeros(1, np.int64),
    )


@inline
def _hash(b: NDArray[np.uint8], lo: int, hi: int) -> int:
    h = np.int64(hi - lo)
    for i in range(lo, hi):
        h = (h * _MULTIPLIER + np.int64(b[i])) & _HASH_MASK
    return int(h ^ (h >> 21))


@inline
def _equal(names: Names, i: int, b: NDArray[np.uint8], lo: int, hi: int) -> bool:
    start = names.start[i]
    if names.start[i + 1] - start != hi - lo:
        return False
    for k in range(hi - lo):  # noqa: SIM110
        if names.arena[start + k] != b[lo + k]:
            return False
    return True


@inline
def _append(names: Names, h: int, b: NDArray[np.uint8], lo: int, hi: int) -> int:
    i = names.size[0]
    start = names.start[i]
    for k in range(hi - lo):
        names.arena[start + k] = b[lo + k]
    names.start[i + 1] = start + hi - lo
    names.hashes[i] = h
    names.size[0] = i + 1
    return int(i)


@inline
def intern(names: Names, b: NDArray[np.uint8], lo: int, hi: int) -> int:
    """Return the number of the string `b[lo:hi]`, a new one if it was not seen. Needs `has_room`."""
    hi = min(hi, lo + LONGEST)
    h = _hash(b, lo, hi)
    mask = len(names.slots) - 1
    slot = h & mask
    while names.slots[slot] != 0:
        i = names.slots[slot] - 1
        if names.hashes[i] == h and _equal(names, i, b, lo, hi):
            return int(i)
        slot = (slot + 1) & mask
    new = _append(names, h, b, lo, hi)
    names.slots[slot] = new + 1
    return new


@inline
def has_room(names: Names) -> bool:
    """Return whether one more line's strings fit."""
    n = names.size[0]
    return bool(n + _ROOM < len(names.hashes) and names.start[n] + _ROOM * LONGEST < len(names.arena))


def grown(names: Names) -> Names:
    """Return a table of twice the room with the same strings under the same numbers."""
    n = int(names.size[0])
    bigger = new_names(2 * max(len(names.hashes), int(names.start[n]) // 32))
    bigger.hashes[:n], bigger.start[: n + 1] = names.hashes[:n], names.start[: n + 1]
    bigger.counts[:n], bigger.code[:n] = names.counts[:n], names.code[:n]
    bigger.arena[: names.start[n]] = names.arena[: names.start[n]]
    bigger.size[0] = n
    _fill_slots(bigger)
    return bigger


@bare
def _fill_slots(names: Names) -> None:
    mask = len(names.slots) - 1
    for i in range(names.size[0]):
        slot = names.hashes[i] & mask
        while names.slots[slot] != 0:
            slot = (slot + 1) & mask
        names.slots[slot] = i + 1


def add(names: Names, text: str) -> int:
    """Return the number of `text`, as `intern` does."""
    raw = np.frombuffer(text.encode(), np.uint8)
    return int(intern(names, raw, 0, len(raw)))


def strings(names: Names) -> list[str]:
    """Return all strings in the order of their numbers; bytes that are not UTF-8 are shown escaped."""
    n = int(names.size[0])
    arena = names.arena[: names.start[n]].tobytes()
    ends = names.start[: n + 1].tolist()
    return [arena[a:b].decode("utf-8", "backslashreplace") for a, b in pairwise(ends)]
