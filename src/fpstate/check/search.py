"""The search: breadth first over states, so that the first violation found is at the end of a shortest path.

States are compared whole. They are kept in two shards by one bit of their hash; each shard is expanded, and takes in
new states, by its own thread. What threads cannot do by reading alone is put off and done between, in a fixed order.
So the result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from fpstate.check.expand import (
    DONE,
    NEED_ROOM,
    NEED_ROW,
    P_BROKEN,
    P_MADE,
    P_MOVE,
    P_NEXT,
    P_STATE,
    P_VERDICT,
    ROOM,
    SHARDS,
    STUCK,
    UNSOUND,
    chunk_of,
    new_book,
    new_run,
    rank,
    work,
)
from fpstate.check.moves import MAX_AGES, Desk, Setting, forget, with_bits, without
from fpstate.check.parts import (
    Parts,
    canonical,
    enter_again,
    from_world,
    learn_names,
    new_parts,
    new_scratch,
    to_world,
    with_room,
)
from fpstate.check.store import Store, Words, hash_of, pack
from fpstate.paths.order import MOVES
from fpstate.paths.properties import MEMORY_SAFETY, OF_STATES
from fpstate.rows.learn import Rows
from fpstate.rows.unread import Unread
from fpstate.world.operations import N_COUNTS
from fpstate.world.state import World, copy_of
from fpstate.world.table import A_EVENT, A_KEY, new_report


class Shard:
    """Half of the states found so far, with what one thread needs to expand them."""

    def __init__(self, number: int, setting: Setting, world: World, rows: Rows) -> None:
        self.number, self.setting, self.rows = number, setting, rows
        width = setting.width
        self.store = Store(width)
        self.level = 0  # first state of the level being expanded
        self.book = new_book(number, self.store.states, setting.width)
        report = new_report(N_COUNTS)
        loaded = np.zeros(len(setting.layout.group), np.uint32)
        scratch = new_scratch(setting.layout)
        self.desk = Desk(copy_of(world), copy_of(world), loaded, scratch, rows.table, report)
        self.run = new_run(len(setting.layout.group))

    def expand(self, parts: Parts, until: int) -> int:
        """Expand up to state `until`; see `work`."""
        self.book = self.book.but(states=self.store.states)
        count = until - int(self.book.place[P_NEXT])
        return self._work(parts, count) if count else DONE

    def catch_up(self, parts: Parts) -> int:
        """Make the moves that were put off; see `work`."""
        return self._work(parts, 0)

    def _work(self, parts: Parts, count: int) -> int:
        if self.desk.table is not self.rows.table:
            self.desk = self.desk.but(table=self.rows.table)
        return int(work(self.book, parts, self.setting, self.desk, self.run, count))

    def found_for(self, number: int) -> Words:
        """Return the states found for a shard, each with its parent."""
        each = self.store.width + 1
        first = number * ROOM * each
        return self.book.out[first : first + int(self.book.filled[number]) * each]


@dataclass
class Found:
    """How a search ended."""

    complete: bool
    depth: int
    states: int
    moves: int
    kinds: dict[int, int]  # kind of move -> how often it was made
    violation: tuple[int, int, int] | None = None  # state (index * SHARDS + shard), verdict, properties broken
    move: int = -1  # the violating move in that state; -1: the state itself violates
    shards: list[Shard] = field(default_factory=list)

    def chain(self) -> list[tuple[int, ...]]:
        """Return the packed states on the way to the violating one, from the first."""
        assert self.violation is not None
        state, states = self.violation[0], []
        while state >= 0:
            store = self.shards[state % SHARDS].store
            states.append(store.words_of(state // SHARDS))
            state = int(store.parents[state // SHARDS])
        return states[::-1]


Progress = Callable[[int, int, int], None]
"""Called with (states, states waiting, depth)."""


class TooManyParts(Exception):
    """There are more parts than a packed state has room to number."""


class LessUnread(Exception):
    """A row that was learned reads what nobody was thought to read, so worlds taken for one may not be."""


class Search:
    """One breadth-first search. `run` does it all."""

    def __init__(self, rows: Rows, setting: Setting, world: World, *, cores: int, forget: bool = True) -> None:
        """Begin at `world`. `forget`: worlds that differ in what nobody will know of are one (rows.unread)."""
        self.rows, self.setting, self.first = rows, setting, world
        self.parts = new_parts(setting.layout)
        self.cores = cores
        of_states, past_faults = bool(setting.wanted & OF_STATES), not setting.wanted & MEMORY_SAFETY
        self.unread = Unread(rows, of_states, past_faults) if forget else None
        self.shards: list[Shard] = []
        self.depth = 0

    def compile(self) -> None:
        """Compile all that a search runs, if that has not been done: it takes a while, and is no part of the search."""
        shard = Shard(0, self.setting, self.first, self.rows)
        shard.catch_up(self.parts)
        enter_again(with_room(self.parts, parts_more=0, ages_more=0))
        shard.store.take_in(np.zeros(0, np.uint64))
        shard.store.hash_again()

    def run(self, max_states: int, progress: Progress = lambda *_: None) -> Found:
        """Search until nothing new is found, something is violated, or there are `max_states` states."""
        while True:
            if self.unread:
                self.setting = without(self.setting, self.unread)
            self.shards = [Shard(k, self.setting, self.first, self.rows) for k in range(SHARDS)]
            self.depth = 0
            try:
                with ThreadPoolExecutor(SHARDS) as pool:
                    return self._levels(pool if self.cores > 1 else None, max_states, progress)
            except TooManyParts:
                self.setting = with_bits(self.setting, self.setting.bits * 4 // 3)
            except LessUnread:
                pass

    def packed(self, world: World) -> tuple[int, ...]:
        """Return a world's state, packed, by the name that all of its kind have."""
        self._make_room()
        scratch, world = self.shards[0].desk.scratch, copy_of(world)
        for c in range(len(world.cpu)):
            forget(world, self.setting, c, -1)
        with np.errstate(over="ignore"):
            from_world(world, self.setting.layout, self.parts, scratch.row, scratch.after)
            learn_names(self.parts, self.setting.layout, scratch.after, scratch.row)
            canonical(self.parts, self.setting.layout, scratch)
        words = np.zeros(self.setting.width, np.uint64)
        pack(scratch.best, self.setting.bits, self.setting.each, words, 0)
        return tuple(words.tolist())

    def known_of(self, world: World) -> World:
        """Return what a search knows of a world: versions but for the latest are lost, and what is not followed."""
        self._make_room()
        scratch, known = self.shards[0].desk.scratch, copy_of(world)
        with np.errstate(over="ignore"):
            from_world(world, self.setting.layout, self.parts, scratch.row, scratch.after)
        to_world(self.parts, scratch.after, known)
        return known

    def _levels(self, pool: ThreadPoolExecutor | None, max_states: int, progress: Progress) -> Found:
        first = np.array([*self.packed(self.first), np.uint64(2**64 - 1)], np.uint64)
        with np.errstate(over="ignore"):
            shard = int(hash_of(first, 0, self.setting.width) >> np.uint64(63))
        self.shards[shard].store.take_in(first)
        while any(s.level < s.store.total for s in self.shards):
            ends = [s.store.total for s in self.shards]
            while any(s.book.place[P_NEXT] < end for s, end in zip(self.shards, ends, strict=True)):
                self._chunk(pool, ends)
                states = sum(s.store.total for s in self.shards)
                progress(states, states - sum(int(s.book.place[P_NEXT]) for s in self.shards), self.depth)
                if states > max_states and not any(s.book.place[P_BROKEN] for s in self.shards):
                    return self._found(complete=False)
            violated = [s for s in self.shards if s.book.place[P_BROKEN]]
            if violated:
                told = min(violated, key=lambda s: rank(int(s.book.place[P_MOVE]), int(s.book.place[P_BROKEN])))
                return self._found(complete=True, violated=told)
            for s, end in zip(self.shards, ends, strict=True):
                s.level = end
            self.depth += 1
        self.depth -= 1
        return self._found(complete=True)

    def _chunk(self, pool: ThreadPoolExecutor | None, ends: list[int]) -> None:
        """Expand some states of each shard and take in what was found."""
        count = chunk_of(self.setting.bounds)
        goals = [min(end, int(s.book.place[P_NEXT]) + count) for s, end in zip(self.shards, ends, strict=True)]
        each = pool.map if pool else map
        for answer in list(each(lambda s: s.expand(self.parts, goals[s.number]), self.shards)):
            if answer == STUCK:
                raise AssertionError("the world is stuck: no event may follow a state; this is a bug of ours")
        for s in self.shards:
            self._catch_up(s)
        if self.unread and self.unread.look():
            raise LessUnread
        list(each(self._take_in, self.shards))
        for s in self.shards:
            s.book.filled[:] = 0

    def _catch_up(self, s: Shard) -> None:
        answer = NEED_ROOM
        while answer != DONE:
            answer = s.catch_up(self.parts)
            if answer == UNSOUND:
                raise AssertionError("a move changed what is beyond its reach; this is a bug of ours")
            if answer == NEED_ROW:
                asked = s.desk.report.asked
                self.rows.learn(int(asked[A_EVENT]), int(asked[A_KEY]))
            elif answer == NEED_ROOM:
                self._make_room()

    def _make_room(self) -> None:
        """Make room for all that one move may teach."""
        entities, renamings = self.setting.layout.group.size, len(self.setting.layout.new_name)
        self.parts = with_room(self.parts, parts_more=entities * (renamings + MAX_AGES + 2), ages_more=MAX_AGES)
        if len(self.parts.rows) >> self.setting.bits:
            raise TooManyParts

    def _take_in(self, s: Shard) -> None:
        for other in self.shards:
            s.store.take_in(other.found_for(s.number))

    def _found(self, *, complete: bool, violated: Shard | None = None) -> Found:
        kinds: dict[int, int] = {k: int(sum(s.book.kinds[k] for s in self.shards)) for k in MOVES}
        moves = int(sum(s.book.place[P_MADE] for s in self.shards))
        states = sum(s.store.total for s in self.shards)
        found = Found(complete, self.depth, states, moves, kinds, shards=self.shards)
        if violated is not None:
            place = violated.book.place
            number = int(place[P_STATE]) * SHARDS + violated.number
            found.violation = (number, int(place[P_VERDICT]), int(place[P_BROKEN]))
            found.move = int(place[P_MOVE])
            found.depth += found.move >= 0
        return found
