"""The states found so far, packed and compared whole; a hash only says where to look.

A packed state is the numbers of its parts in a few words. Words of many states lie in one array; with each state found
comes the number of its parent as one word more.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.check.parts import State
from fpstate.jit import bare, inline
from fpstate.world.state import Ints

Words = NDArray[np.uint64]

BLOCK: Final = 64  # states looked up together
TAG_SHIFT: Final = 44
NUMBER: Final = (1 << TAG_SHIFT) - 1


@inline
def pack(state: State, bits: int, each: int, words: Words, at: int) -> None:
    """Pack a state into `words[at]` and the following, `each` parts of so many `bits` in a word."""
    acc, filled = np.uint64(0), 0
    for i in range(len(state)):
        acc |= np.uint64(state[i]) << np.uint64(filled * bits)
        filled += 1
        if filled == each:
            words[at] = acc
            at += 1
            acc, filled = np.uint64(0), 0
    if filled:
        words[at] = acc


@inline
def unpack(words: Words, at: int, bits: int, each: int, state: State) -> None:
    """Write the state packed at `words[at]` into `state`."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    word, left = words[at], each
    for i in range(len(state)):
        if left == 0:
            at += 1
            word, left = words[at], each
        state[i] = np.uint32(word & mask)
        word >>= np.uint64(bits)
        left -= 1


@inline
def hash_of(words: Words, at: int, count: int) -> np.uint64:
    """Return a 64-bit hash of `count` words."""
    h = np.uint64(0x9E3779B97F4A7C15)
    for i in range(count):
        h = (h ^ words[at + i]) * np.uint64(0xD6E8FEB86659FD93)
        h ^= h >> np.uint64(32)
    return h * np.uint64(0xD6E8FEB86659FD93)


class Store:
    """States of one shard, numbered from 0 as they came, with their parents."""

    def __init__(self, width: int) -> None:
        """Begin with none. `width` is the words of a packed state."""
        self.width = width
        self.total = 0
        self.states = np.zeros(1024 * width, np.uint64)
        self.parents = np.zeros(1024, np.int64)
        self.table = np.zeros(4096, np.int64)  # hash -> state + 1, with a tag of the hash above TAG_SHIFT
        self._hashes = np.zeros(BLOCK + 1, np.uint64)

    def take_in(self, found: Words) -> None:
        """Add those of some states that are new; each has its parent behind it."""
        count = len(found) // (self.width + 1)
        self._make_room(self.total + count)
        held = self.states, self.parents, self.table
        self.total = take_in(found, self.width, *held, self.total, self._hashes)

    def _make_room(self, need: int) -> None:
        if need > len(self.parents):
            size = max(need, len(self.parents) * 3 // 2)
            self.parents.resize(size, refcheck=False)
            self.states.resize(size * self.width, refcheck=False)
        if need * 5 > len(self.table) * 3:
            size = len(self.table)
            while need * 5 > size * 3:
                size *= 2
            self.table = np.zeros(size, np.int64)
            self.hash_again()

    def hash_again(self) -> None:
        """Enter all states into the emptied table."""
        rehash(self.states, self.width, self.total, self.table)

    def words_of(self, i: int) -> tuple[int, ...]:
        """Return state `i` as numbers."""
        return tuple(self.states[i * self.width : (i + 1) * self.width].tolist())


@inline
def slot_of(h: np.uint64, mask: int) -> int:
    """Return where in a table of `mask` + 1 entries a hash is looked for first."""
    return int(np.int64(h & np.uint64(0x7FFFFFFFFFFFFFFF)) & mask)


@inline
def tag_of(h: np.uint64) -> int:
    """Return 19 bits of a hash as they stand in an entry of the table, above the number of the state."""
    return int(np.int64(h >> np.uint64(44) & np.uint64(0x7FFFF)) << TAG_SHIFT)


@inline
def equal(a: Words, at: int, b: Words, to: int, width: int) -> bool:
    """Tell whether two packed states are the same."""
    for j in range(width):
        if a[at + j] != b[to + j]:
            return False
    return True


@inline
def fetch_block(found: Words, first: int, width: int, states: Words, table: Ints, hashes: Words) -> np.uint64:
    """Hash a block of states and read what `take_in` will read, so that the memory is fetched for all of them at once.

    The answer means nothing; it only keeps the reads from being optimised away.
    """
    mask = len(table) - 1
    last = min(first + BLOCK, len(found) // (width + 1))
    seen = np.uint64(0)
    for e in range(first, last):
        hashes[e - first] = hash_of(found, e * (width + 1), width)
        seen ^= np.uint64(table[slot_of(hashes[e - first], mask)])
    for e in range(first, last):
        h = hashes[e - first]
        entry = table[slot_of(h, mask)]
        if entry & ~NUMBER == tag_of(h):
            seen ^= states[((entry & NUMBER) - 1) * width]
    return seen


@bare
def take_in(found: Words, width: int, states: Words, parents: Ints, table: Ints, total: int, hashes: Words) -> int:
    """Add those among `found` that are new to a store holding `total` states; return how many it holds then.

    `hashes` has room for one block and one more word; `table` has a power of two of entries.
    """
    mask = len(table) - 1
    count = len(found) // (width + 1)
    for block in range(0, count, BLOCK):
        hashes[BLOCK] = fetch_block(found, block, width, states, table, hashes)
        for e in range(block, min(block + BLOCK, count)):
            at = e * (width + 1)
            tag = tag_of(hashes[e - block])
            slot = slot_of(hashes[e - block], mask)
            while table[slot]:
                entry = table[slot]
                if entry & ~NUMBER == tag and equal(states, ((entry & NUMBER) - 1) * width, found, at, width):
                    break
                slot = (slot + 1) & mask
            if table[slot] == 0:
                for j in range(width):
                    states[total * width + j] = found[at + j]
                parents[total] = np.int64(found[at + width])
                total += 1
                table[slot] = tag | total
    return total


@bare
def rehash(states: Words, width: int, total: int, table: Ints) -> None:
    """Enter all states of a store into an empty table."""
    mask = len(table) - 1
    for i in range(total):
        h = hash_of(states, i * width, width)
        slot = slot_of(h, mask)
        while table[slot]:
            slot = (slot + 1) & mask
        table[slot] = tag_of(h) | (i + 1)
