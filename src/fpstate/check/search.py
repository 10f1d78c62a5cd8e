"""The search: breadth first over packed states, so that the first violation found is at the end of a shortest path.

States are compared whole. They are kept in two shards by one bit of their hash; each shard can be expanded, and can
take in new states, by its own thread. What happens does not depend on the number of threads: the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fpstate.check.packing import Plan, Words, canonical, unpack
from fpstate.jit import bare, inline
from fpstate.rows import Rows
from fpstate.world import order as O
from fpstate.world import step as S
from fpstate.world import wide as W
from fpstate.world.state import (
    C_CURRENT,
    C_OFF,
    C_PTR,
    C_REGS,
    C_SIZE,
    C_STASH,
    C_WORD,
    FREE,
    GUEST_TRAP,
    USER_SVE_TRAP,
    USER_TRAP,
    X_BIRTH,
    X_IMAGE,
    X_MODE,
    X_POINT,
    X_PTR,
    X_RUNS,
    X_SIZE,
    X_VER,
    X_WORD,
    Z_WIDE,
    World,
    Z,
    context_base,
    softirq_owner,
)

Longs = NDArray[np.int64]

# Properties, as bits.
INTEGRITY: Final = 1
CONFIDENTIALITY: Final = 2
TRAP_SANITY: Final = 4
MEMORY_SAFETY: Final = 8
LOST_UPDATE: Final = 16  # the rest are of states, not of moves
STALE_PAIR: Final = 32
DANGLING: Final = 64
EXPOSURE: Final = 128
FALSE_NATIVE: Final = 256
VECTOR_LENGTH: Final = 512
MODE: Final = 1024
USER_SVE_TRAP_WRONG: Final = 2048
OF_STATES: Final = LOST_UPDATE | STALE_PAIR | DANGLING | EXPOSURE | FALSE_NATIVE | USER_SVE_TRAP_WRONG

# What an expansion answers.
DONE: Final = 0
NEED_ROW: Final = 1
FULL: Final = 2
VIOLATED: Final = 3
STUCK: Final = 4

# Where an expansion stands.
P_NEXT: Final = 0
P_MOVE: Final = 1  # of a violation: the number of the move, its verdict and the properties it breaks
P_VERDICT: Final = 2
P_BROKEN: Final = 3
P_MADE: Final = 4  # moves made so far
P_SIZE: Final = 5

SHARDS: Final = 2
MAX_MOVES: Final = 256
CHUNK: Final = 1 << 13  # states of a shard expanded between two insertions
BLOCK: Final = 64  # states looked up together
_BUFFER: Final = 1 << 19  # successors a shard can hold back for each shard


@inline
def what_breaks(verdict: int, found: int, x: int) -> int:
    """Return the properties broken, as bits, when context `x` met `verdict` and the registers held owner `found`."""
    if verdict == S.OK:
        return 0
    if verdict == S.WRONG_VALUE:
        return INTEGRITY if found == 0 or found == x + 1 else INTEGRITY | CONFIDENTIALITY
    if verdict == S.LEAKING_FRAME:
        return INTEGRITY | CONFIDENTIALITY
    if verdict == S.TRAP_NOT_SERVED:
        return TRAP_SANITY
    if verdict == S.NULL_POINTER or verdict == S.USE_AFTER_FREE or verdict == W.NO_STORAGE:
        return MEMORY_SAFETY
    if verdict == W.VECTOR_LENGTH:
        return VECTOR_LENGTH
    if verdict == W.WRONG_MODE:
        return MODE
    if verdict == W.WARNED or verdict == W.KERNEL_TRAPS:
        return TRAP_SANITY
    if verdict >= W.CLASS_LEAKS:
        return INTEGRITY | CONFIDENTIALITY
    return INTEGRITY


@inline
def found_on(w: World, c: int, n: int, base: int) -> int:
    """Return whose value the registers of CPU `c` hold; what a predecessor left in a reused record is not its own."""
    owner = int(w[c * C_SIZE + C_REGS])
    if 1 <= owner <= n and w[c * C_SIZE + C_REGS + 1] < w[base + (owner - 1) * X_SIZE + X_BIRTH]:
        return softirq_owner(n)
    return owner


@inline
def hash_of(words: Words, at: int, count: int) -> np.uint64:
    """Return a 64-bit hash of `count` words."""
    h = np.uint64(0x9E3779B97F4A7C15)
    for i in range(count):
        h = (h ^ words[at + i]) * np.uint64(0xD6E8FEB86659FD93)
        h ^= h >> np.uint64(32)
    return h * np.uint64(0xD6E8FEB86659FD93)


@inline
def reader_of(w: World, z: O.Scope, c: int) -> int:
    """Return the context that a use on CPU `c` would be by."""
    t = w[c * C_SIZE + C_CURRENT]
    v = w[context_base(z[O.Z_CPUS]) + t * X_SIZE + X_RUNS]
    return int(v) - 1 if v else int(t)


@inline
def somewhere(w: World, z: O.Scope, x: int) -> bool:
    """Tell whether any place still holds the latest value of context `x`."""
    n = O.contexts(z)
    base = context_base(z[O.Z_CPUS])
    latest = w[base + x * X_SIZE + X_VER]
    for c in range(z[O.Z_CPUS]):
        at = c * C_SIZE
        if w[at + C_REGS] == x + 1 and w[at + C_REGS + 1] == latest:
            return True
        if w[at + C_STASH] == x + 1 and w[at + C_STASH + 1] == latest:
            return True
    for y in range(n):
        at = base + y * X_SIZE + X_IMAGE
        if w[at] == x + 1 and w[at + 1] == latest:
            return True
        if z[O.Z_FEATURES]:
            at = W.record(Z, y, int(z[O.Z_CPUS]), n) + Z_WIDE
            if w[at] == x + 1 and w[at + 1] == latest:
                return True
    return False


@inline
def pair_breaks(w: World, z: O.Scope, c: int) -> int:
    """Look at the pair "the CPU names me and I name the CPU": it must be true, and not name the dead."""
    n = O.contexts(z)
    base = context_base(z[O.Z_CPUS])
    x = w[c * C_SIZE + C_PTR] - 1
    if x < 0 or x >= n or w[base + x * X_SIZE + X_PTR] != c + 1:
        return 0
    if w[base + x * X_SIZE + X_MODE] == FREE:
        return DANGLING
    right = w[c * C_SIZE + C_REGS] == x + 1 and w[c * C_SIZE + C_REGS + 1] == w[base + x * X_SIZE + X_VER]
    return 0 if right else STALE_PAIR


@inline
def exposes(w: World, z: O.Scope, c: int) -> bool:
    """Tell whether user or guest code runs on CPU `c` with another's values behind nothing but a trap."""
    t = w[c * C_SIZE + C_CURRENT]
    mode = w[context_base(z[O.Z_CPUS]) + t * X_SIZE + X_MODE]
    trap = GUEST_TRAP if mode == O.GUEST else USER_TRAP
    if (mode != O.GUEST and mode != O.USER) or not w[c * C_SIZE + C_WORD] & trap:
        return False
    owner = found_on(w, c, O.contexts(z), context_base(z[O.Z_CPUS]))
    return bool(owner != 0 and owner != reader_of(w, z, c) + 1)


@inline
def falsely_native(w: World, z: O.Scope, c: int) -> bool:
    """Tell whether the thread on CPU `c` is not marked foreign although the registers are not its own or its vCPU's.

    Looked at outside handlers and guest runs, for policies with a flag `foreign`: it says that the registers hold what
    the CPU's record names, and that this is the thread or the vCPU it has loaded.
    """
    base = context_base(z[O.Z_CPUS])
    t = int(w[c * C_SIZE + C_CURRENT])
    at = base + t * X_SIZE
    mode = w[at + X_MODE]
    if not z[O.Z_FOREIGN] or w[at + X_WORD] & z[O.Z_FOREIGN] or w[at + X_POINT] or t < z[O.Z_CPUS]:
        return False
    if mode != O.USER and mode != O.KERNEL and mode != O.RUN and mode != O.RUN_OUT:
        return False
    owner = int(w[c * C_SIZE + C_REGS])
    if owner == 0 or owner > O.contexts(z) or w[c * C_SIZE + C_PTR] != owner:
        return True
    if owner != t + 1 and (mode != O.RUN or w[at + X_RUNS] != owner):
        return True
    return bool(w[c * C_SIZE + C_REGS + 1] != w[base + (owner - 1) * X_SIZE + X_VER])


@inline
def user_trap_wrong(w: World, z: O.Scope, c: int) -> bool:
    """Tell whether user mode runs on CPU `c` with its SVE trap not as TIF_SVE says, for policies with such a flag."""
    t = w[c * C_SIZE + C_CURRENT]
    at = context_base(z[O.Z_CPUS]) + t * X_SIZE
    if not z[O.Z_TIF_SVE] or w[at + X_MODE] != O.USER:
        return False
    return bool((w[at + X_WORD] & z[O.Z_TIF_SVE] != 0) == (w[c * C_SIZE + C_WORD] & USER_SVE_TRAP != 0))


@inline
def state_breaks(w: World, z: O.Scope, wanted: int) -> int:
    """Return the properties of states that world `w` breaks, as bits."""
    broken = 0
    for c in range(z[O.Z_CPUS]):
        if not w[c * C_SIZE + C_OFF]:
            broken |= pair_breaks(w, z, c)
            if wanted & EXPOSURE and exposes(w, z, c):
                broken |= EXPOSURE
            if wanted & FALSE_NATIVE and falsely_native(w, z, c):
                broken |= FALSE_NATIVE
            if wanted & USER_SVE_TRAP_WRONG and user_trap_wrong(w, z, c):
                broken |= USER_SVE_TRAP_WRONG
    if wanted & LOST_UPDATE:
        base = context_base(z[O.Z_CPUS])
        for x in range(z[O.Z_CPUS], O.contexts(z)):
            thread_only = z[O.Z_CPUS] + z[O.Z_TASKS] <= x < O.contexts(z) - z[O.Z_VCPUS]
            if not thread_only and w[base + x * X_SIZE + X_MODE] != FREE and not somewhere(w, z, x):
                broken |= LOST_UPDATE
    return broken & wanted


@inline
def nobody_left(w: World, z: O.Scope) -> bool:
    """Tell whether every task has died: then nothing more may happen, if the scope has no fork."""
    for x in range(z[O.Z_CPUS], z[O.Z_CPUS] + z[O.Z_TASKS]):
        if w[context_base(z[O.Z_CPUS]) + x * X_SIZE + X_MODE] != FREE:
            return False
    return True


@bare
def try_move(
    w: World, move: int, handlers: S.Ints, index: S.Ints, rows: S.Ints, event_of_point: S.Ints, z: O.Scope,
    fields: S.Ints, places: S.Ints, owners: S.Ints, cpu_names: S.Ints, names: S.Ints, marks: Longs,
    counts: Longs, asked: Longs, best: Words, other: Words,
) -> tuple[int, int]:  # fmt: skip
    """Make `move` in world `w`; return its verdict and the properties it breaks. `best` gets the canonical state."""
    n = O.contexts(z)
    c = move >> 8 & 15
    found, x = found_on(w, c, n, context_base(z[O.Z_CPUS])), reader_of(w, z, c)
    verdict = O.make_move(w, handlers, index, rows, move, z, counts, asked, event_of_point)
    broken = what_breaks(verdict, found, x)
    if verdict != S.NO_ROW:
        broken |= state_breaks(w, z, OF_STATES)
        canonical(w, fields, places, owners, cpu_names, names, marks, z, n, context_base(z[O.Z_CPUS]), best, other)
    return verdict, broken


@bare
def list_moves(w: World, z: O.Scope, moves: S.Ints) -> int:
    """List the enabled moves of a world into `moves`; return how many."""
    return O.enabled(w, z, moves)


@bare
def expand(
    states: Words, until: int, width: int, shard: int, handlers: S.Ints, index: S.Ints, rows: S.Ints,
    event_of_point: S.Ints, z: O.Scope, fields: S.Ints, places: S.Ints, owners: S.Ints, cpu_names: S.Ints,
    names: S.Ints, marks: Longs, wanted: int, w: World, w2: World, moves: S.Ints, best: Words, other: Words,
    out: Words, filled: Longs, counts: Longs, asked: Longs, kinds: Longs, place: Longs,
) -> int:  # fmt: skip
    """Expand states from `place[P_NEXT]` up to `until`; successors go to `out` by shard, with their parent.

    Stops before a state that needs a row or more room, and at the first violation.
    """
    n = O.contexts(z)
    base = context_base(z[O.Z_CPUS])
    room = len(out) // SHARDS // (width + 1)
    while place[P_NEXT] < until:
        i = place[P_NEXT]
        before = (filled[0], filled[1])
        unpack(states, i * width, fields, w, n, base)
        k = O.enabled(w, z, moves)
        if k == 0 and not nobody_left(w, z):
            return STUCK
        if filled[0] + k > room or filled[1] + k > room:
            return FULL
        for m in range(k):
            for j in range(len(w)):
                w2[j] = w[j]
            c = moves[m] >> 8 & 15
            verdict = O.make_move(w2, handlers, index, rows, moves[m], z, counts, asked, event_of_point)
            if verdict == S.NO_ROW:
                filled[0], filled[1] = before
                return NEED_ROW
            broken = 0
            if verdict != S.OK:
                broken = what_breaks(verdict, found_on(w, c, n, base), reader_of(w, z, c)) & wanted
            if wanted & OF_STATES:
                broken |= state_breaks(w2, z, wanted)
            if broken:
                place[P_MOVE], place[P_VERDICT], place[P_BROKEN] = m, verdict, broken
                return VIOLATED
            canonical(w2, fields, places, owners, cpu_names, names, marks, z, n, base, best, other)
            kinds[moves[m] >> 12] += 1
            changed = False
            for j in range(width):
                if best[j] != states[i * width + j]:
                    changed = True
            if not changed:
                continue
            to = int(hash_of(best, 0, width) >> np.uint64(63))
            at = (to * room + filled[to]) * (width + 1)
            for j in range(width):
                out[at + j] = best[j]
            out[at + width] = np.uint64(i * SHARDS + shard)
            filled[to] += 1
        place[P_MADE] += k
        place[P_NEXT] = i + 1
    return DONE


@inline
def slot_of(h: np.uint64, mask: int) -> int:
    """Return where in a table of `mask` + 1 entries a hash is looked for first."""
    return int(np.int64(h & np.uint64(0x7FFFFFFFFFFFFFFF)) & mask)


@inline
def tag_of(h: np.uint64) -> int:
    """Return 19 bits of a hash as they stand in an entry of the table, above the number of the state."""
    return int(np.int64(h >> np.uint64(44) & np.uint64(0x7FFFF)) << 44)


@inline
def touch(found: Words, first: int, last: int, width: int, states: Words, table: Longs, hashes: Words) -> np.uint64:
    """Hash some states and read what `take_in` will read, so that the memory is fetched for all of them at once.

    The answer means nothing; it only keeps the reads from being optimised away.
    """
    mask = len(table) - 1
    seen = np.uint64(0)
    for e in range(first, last):
        hashes[e - first] = hash_of(found, e * (width + 1), width)
        seen ^= np.uint64(table[slot_of(hashes[e - first], mask)])
    for e in range(first, last):
        h = hashes[e - first]
        entry = table[slot_of(h, mask)]
        if entry >> 44 << 44 == tag_of(h):
            seen ^= states[((entry & 0xFFFFFFFFFFF) - 1) * width]
    return seen


@bare
def take_in(
    found: Words, first: int, count: int, width: int, states: Words, parents: Longs, total: int, table: Longs,
    hashes: Words,
) -> int:  # fmt: skip
    """Add the states among `found` that are new to a shard holding `total`; return how many it holds then.

    `table` maps hashes to state + 1, with a tag of the hash above bit 43; its length is a power of two.
    `hashes` has room for one block and one more word.
    """
    mask = len(table) - 1
    for block in range(first, first + count, BLOCK):
        end = min(block + BLOCK, first + count)
        hashes[BLOCK] = touch(found, block, end, width, states, table, hashes)
        for e in range(block, end):
            at = e * (width + 1)
            h = hashes[e - block]
            tag = tag_of(h)
            slot = slot_of(h, mask)
            while True:
                entry = table[slot]
                if entry == 0:
                    for j in range(width):
                        states[total * width + j] = found[at + j]
                    parents[total] = np.int64(found[at + width])
                    total += 1
                    table[slot] = tag | total
                    break
                if entry >> 44 << 44 == tag:
                    old = ((entry & 0xFFFFFFFFFFF) - 1) * width
                    same = True
                    for j in range(width):
                        if states[old + j] != found[at + j]:
                            same = False
                            break
                    if same:
                        break
                slot = (slot + 1) & mask
    return total


@bare
def rehash(states: Words, width: int, total: int, table: Longs) -> None:
    """Enter all states of a shard into an empty table."""
    mask = len(table) - 1
    for i in range(total):
        h = hash_of(states, i * width, width)
        slot = slot_of(h, mask)
        while table[slot]:
            slot = (slot + 1) & mask
        table[slot] = tag_of(h) | (i + 1)


class Shard:
    """Half of the states found so far, with what one thread needs to expand them."""

    def __init__(self, number: int, plan: Plan, world: World) -> None:
        self.number = number
        self.width = plan.words
        self.total = 0
        self.level = 0  # first state of the level being expanded
        self.states = np.zeros(1024 * self.width, np.uint64)
        self.parents = np.zeros(1024, np.int64)
        self.table = np.zeros(4096, np.int64)
        self.out = np.zeros(SHARDS * _BUFFER * (self.width + 1), np.uint64)
        self.filled = np.zeros(SHARDS, np.int64)
        self.place = np.zeros(P_SIZE, np.int64)
        self.worlds = world.copy(), world.copy()
        self.marks = np.zeros(len(plan.names[0]), np.int64)
        self.moves = np.zeros(MAX_MOVES, np.int32)
        self.words = np.zeros(self.width, np.uint64), np.zeros(self.width, np.uint64)
        self.hashes = np.zeros(BLOCK + 1, np.uint64)
        self.counts = np.zeros(S.N_COUNTS, np.int64)
        self.asked = np.zeros(O.ASKED_SIZE, np.int64)
        self.kinds = np.zeros(O.RESUME + 1, np.int64)

    def expand(self, rows: Rows, plan: Plan, z: O.Scope, wanted: int, until: int) -> int:
        """Expand up to state `until`; see `expand`."""
        return expand(
            self.states, until, self.width, self.number, rows.handlers, rows.index, rows.table, rows.event_of_point, z,
            plan.fields, plan.places, plan.owners, plan.cpus, plan.names, self.marks, wanted, *self.worlds, self.moves,
            *self.words, self.out, self.filled, self.counts, self.asked, self.kinds, self.place,
        )  # fmt: skip

    def take_in(self, found: Words, count: int) -> None:
        """Add the new ones among `count` states another shard (or this one) has found for this shard."""
        self._make_room(count)
        room = len(found) // SHARDS // (self.width + 1)
        self.total = take_in(
            found, self.number * room, count, self.width, self.states, self.parents, self.total, self.table, self.hashes
        )

    def _make_room(self, count: int) -> None:
        need = self.total + count
        if need > len(self.parents):
            size = max(need, len(self.parents) * 3 // 2)
            self.parents.resize(size, refcheck=False)
            self.states.resize(size * self.width, refcheck=False)
        if need * 5 > len(self.table) * 3:
            size = len(self.table)
            while need * 5 > size * 3:
                size *= 2
            self.table = np.zeros(size, np.int64)
            rehash(self.states, self.width, self.total, self.table)

    def words_of(self, i: int) -> tuple[int, ...]:
        """Return state `i` as numbers."""
        return tuple(self.states[i * self.width : (i + 1) * self.width].tolist())


@dataclass
class Found:
    """How a search ended."""

    complete: bool
    depth: int
    states: int
    moves: int
    kinds: dict[int, int]  # kind of move -> how often it was made
    violation: tuple[int, int, int] | None = None  # state (index * SHARDS + shard), verdict, properties broken
    move: int = 0  # the number of the violating move in that state
    shards: list[Shard] = field(default_factory=list)


Progress = Callable[[int, int, int], None]
"""Called with (states, states waiting, depth)."""


class Search:
    """One breadth-first search. `run` does it all."""

    def __init__(self, rows: Rows, plan: Plan, z: O.Scope, world: World, *, wanted: int, cores: int) -> None:
        self.rows, self.plan, self.z, self.wanted = rows, plan, z, wanted
        self.shards = [Shard(k, plan, world) for k in range(SHARDS)]
        self.depth = 0
        self.pool = ThreadPoolExecutor(SHARDS) if cores > 1 else None
        self._first(world)

    def _first(self, world: World) -> None:
        plan = self.plan
        best, other = (np.zeros(plan.words, np.uint64) for _ in range(2))
        marks = np.zeros(len(plan.names[0]), np.int64)
        pack_world(world, plan.fields, plan.places, plan.owners, plan.cpus, plan.names, marks, self.z, best, other)
        shard = self.shards[int(shard_of(best, plan.words))]
        shard.out[shard.number * _BUFFER * (plan.words + 1) :][: plan.words] = best
        shard.take_in(shard.out, 1)
        shard.parents[0] = -1

    def run(self, max_states: int, progress: Progress = lambda *_: None) -> Found:
        """Search until nothing new is found, something is violated, or there are `max_states` states."""
        while any(s.level < s.total for s in self.shards):
            ends = [s.total for s in self.shards]
            while any(s.place[P_NEXT] < end for s, end in zip(self.shards, ends, strict=True)):
                violated = self._chunk(ends)
                if violated is not None:
                    return self._found(complete=True, violated=violated)
                states = sum(s.total for s in self.shards)
                progress(states, states - sum(int(s.place[P_NEXT]) for s in self.shards), self.depth)
                if states > max_states:
                    return self._found(complete=False)
            for s, end in zip(self.shards, ends, strict=True):
                s.level = end
            self.depth += 1
        self.depth -= 1
        return self._found(complete=True)

    def _chunk(self, ends: list[int]) -> Shard | None:
        """Expand some states of each shard and take in what was found; return a shard with a violation, if any."""
        goals = [min(end, int(s.place[P_NEXT]) + CHUNK) for s, end in zip(self.shards, ends, strict=True)]
        again = [True] * SHARDS
        while any(again):
            answers = self._each(lambda s: self._expand(s, goals[s.number]) if again[s.number] else DONE)
            for k, answer in enumerate(answers):
                again[k] = answer == NEED_ROW
                if answer == STUCK:
                    state = self.shards[k].words_of(int(self.shards[k].place[P_NEXT]))
                    raise AssertionError(
                        f"the world is stuck: no event may follow state {state}; this is a bug of ours"
                    )
            for s in (s for s, more in zip(self.shards, again, strict=True) if more):
                if not self._known(s):
                    self.rows.learn(int(s.asked[0]), int(s.asked[1]))
            if VIOLATED in answers:
                return self.shards[answers.index(VIOLATED)]
        self._each(self._take_in)
        for s in self.shards:
            s.filled[:] = 0
        return None

    def _known(self, s: Shard) -> bool:
        return self.rows.known(int(s.asked[0]), int(s.asked[1]))

    def _expand(self, s: Shard, goal: int) -> int:
        return s.expand(self.rows, self.plan, self.z, self.wanted, goal)

    def _take_in(self, s: Shard) -> int:
        for other in self.shards:
            s.take_in(other.out, int(other.filled[s.number]))
        return DONE

    def _each(self, work: Callable[[Shard], int]) -> list[int]:
        return list(self.pool.map(work, self.shards) if self.pool else map(work, self.shards))

    def _found(self, *, complete: bool, violated: Shard | None = None) -> Found:
        kinds: dict[int, int] = {k: int(sum(s.kinds[k] for s in self.shards)) for k in O.MOVES}
        moves = int(sum(s.place[P_MADE] for s in self.shards))
        found = Found(complete, self.depth, sum(s.total for s in self.shards), moves, kinds, shards=self.shards)
        if violated is not None:
            p: Any = violated.place
            found.violation = (int(p[P_NEXT]) * SHARDS + violated.number, int(p[P_VERDICT]), int(p[P_BROKEN]))
            found.move = int(p[P_MOVE])
            found.depth += 1
        if self.pool:
            self.pool.shutdown()
        return found


@bare
def pack_world(
    w: World, fields: S.Ints, places: S.Ints, owners: S.Ints, cpus: S.Ints, names: S.Ints, marks: Longs, z: O.Scope,
    best: Words, other: Words,
) -> None:  # fmt: skip
    """Pack a world on its own into `best`."""
    n = O.contexts(z)
    canonical(w, fields, places, owners, cpus, names, marks, z, n, context_base(z[O.Z_CPUS]), best, other)


@bare
def shard_of(words: Words, count: int) -> int:
    """Return the shard a state belongs to."""
    return int(hash_of(words, 0, count) >> np.uint64(63))
