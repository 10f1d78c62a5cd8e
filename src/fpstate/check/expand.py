"""From the states of a chunk to those that follow, in compiled code: one call of `work` at a time.

The states of a chunk are gone through once for each CPU, in such an order that those in which the moves of that CPU
have the same *situation* (their reach, but for the second participant) come together. Then the effect of a move is
asked of the world once, and looked up for the others.

Rows and parts are only read here, so that threads do not get into each other's way. A move that needs new ones is put
off, and made between chunks by one thread, which learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.check.moves import (
    E_ANSWER,
    E_BROKEN,
    E_COLUMNS,
    E_KIND,
    E_MOVE,
    E_VERDICT,
    MADE,
    MAX_AGES,
    PUT_OFF,
    TRAPPED,
    Desk,
    Setting,
    apply,
    ask_world,
    keep_effect,
    leave_open,
    load,
    same_effect,
)
from fpstate.check.parts import (
    N_AGES,
    N_PARTS,
    Layout,
    PartNumbers,
    Parts,
    State,
    canonical,
    learn_names,
    mixed,
    same,
)
from fpstate.check.store import Words, hash_of, pack, unpack
from fpstate.jit import bare, inline
from fpstate.paths.order import SWITCH, TAKE_OVER, WORKER, Bounds, enabled_on, kind_of, other_of, ways, with_coin
from fpstate.paths.properties import GRAVEST_FIRST, OF_STATES, broken_in, gravity
from fpstate.rows.fields import MOST_FALLS
from fpstate.structs import Struct
from fpstate.world.state import CURRENT, FREE, MODE, OFF, POINTER, RUNS, SECOND, Ints, World, context_of

SHARDS: Final = 2
CHUNK: Final = 1 << 15  # states of a shard expanded between two insertions
MAX_MOVES: Final = 128  # of one CPU
MANY_MOVES: Final = 64  # of one state, on average
ROOM: Final = CHUNK * MANY_MOVES  # successors a shard can hold back for each shard
BUCKETS: Final = 1 << 12

# What `work` answers.
DONE: Final = 0
STUCK: Final = 1
NEED_ROW: Final = 2
NEED_ROOM: Final = 3
UNSOUND: Final = 4

# Where a shard stands.
P_NEXT: Final = 0  # the state to expand next
P_STATE: Final = 1  # of a violation: the state, the move (-1: the state itself), the verdict, and the properties broken
P_MOVE: Final = 2
P_VERDICT: Final = 3
P_BROKEN: Final = 4
P_MADE: Final = 5  # moves made so far
P_PUT_OFF: Final = 6  # moves put off, and how many of them have been made up for
P_CAUGHT_UP: Final = 7
P_SIZE: Final = 8


@dataclass(frozen=True, eq=False)
class Book(Struct):
    """The states of a shard, packed, and what was found from them, not yet taken in."""

    shard: int
    states: Words
    out: Words  # for each shard: states, each with its parent behind it
    filled: Ints  # how many, for each shard
    put_off: Ints  # [which; 0 the state, 1 the move]
    place: Ints  # [P_*]
    kinds: Ints  # [kind of move, or TRAPPED] how often it was made
    moves: NDArray[np.bool_]  # [state of the chunk] whether it has any move
    bucket: NDArray[np.uint16]  # [state of the chunk] a hash of its situation
    first: Ints  # [bucket] where its states begin in `order`
    order: Ints  # states of the chunk, by bucket
    sorted: Words  # the same states, packed


def new_book(shard: int, states: Words, width: int) -> Book:
    """Return a book with nothing found; `width` is the words of a packed state."""
    return Book(
        shard,
        states,
        out=np.zeros(SHARDS * ROOM * (width + 1) + width, np.uint64),
        filled=np.zeros(SHARDS, np.int64),
        put_off=np.zeros((ROOM, 2), np.int64),
        place=np.zeros(P_SIZE, np.int64),
        kinds=np.zeros(TRAPPED + 1, np.int64),
        moves=np.zeros(CHUNK, np.bool_),
        bucket=np.zeros(CHUNK, np.uint16),
        first=np.zeros(BUCKETS + 1, np.int64),
        order=np.zeros(CHUNK, np.int64),
        sorted=np.zeros(CHUNK * width, np.uint64),
    )


def chunk_of(bounds: Bounds) -> int:
    """Return how many states make a chunk, of which all successors find room."""
    contexts = bounds.tasks + bounds.kthreads + bounds.vcpus
    return CHUNK // (bounds.falls * bounds.falls * (1 + bounds.cpus * contexts // 16))


@inline
def note(book: Book, setting: Setting, state: State, parent: int) -> None:
    """Note a state for the shard it belongs to."""
    width = setting.width
    packed = len(book.out) - width
    pack(state, setting.bits, setting.each, book.out, packed)
    to = np.int64(hash_of(book.out, packed, width) >> np.uint64(63))
    at = (to * ROOM + book.filled[to]) * (width + 1)
    for j in range(width):
        book.out[at + j] = book.out[packed + j]
    book.out[at + width] = np.uint64(parent)
    book.filled[to] += 1


@inline
def rank(move: int, broken: int) -> int:
    """Return the place of a violation among those of a depth: states (move -1) come before moves, then graver ones."""
    return gravity(broken) + (len(GRAVEST_FIRST) + 1) * (move >= 0)


@inline
def violation(book: Book, state: int, move: int, verdict: int, broken: int) -> None:
    """Note what was broken, and where, unless what was found before is to be told first."""
    place = book.place
    if place[P_BROKEN] == 0 or rank(move, broken) < rank(place[P_MOVE], place[P_BROKEN]):
        place[P_STATE] = state
        place[P_MOVE] = move
        place[P_VERDICT] = verdict
        place[P_BROKEN] = broken


@inline
def put_off(book: Book, state: int, move: int) -> None:
    """Note a move that needs something new."""
    at = book.place[P_PUT_OFF]
    book.put_off[at, 0] = state
    book.put_off[at, 1] = move
    book.place[P_PUT_OFF] += 1


@inline
def name_and_note(book: Book, parts: Parts, setting: Setting, desk: Desk, i: int, learn: bool) -> bool:
    """Note the state that state `i` has led to, by its name; return False if that may not be learned."""
    scratch = desk.scratch
    if same(scratch.after, scratch.state):
        return True
    if learn:
        learn_names(parts, setting.layout, scratch.after, scratch.row)
    if not canonical(parts, setting.layout, scratch):
        return False
    if not same(scratch.best, scratch.state):
        note(book, setting, scratch.best, i * SHARDS + book.shard)
    return True


# Situations.

SITUATION: Final = (
    10  # parts: CPU, thread, its vCPU, whoever was interrupted with it, whom the pointers name, other CPUs;
)
# and whether another CPU is up
SLOTS: Final = 16  # situations of second participants kept for each
EFFECTS: Final = 1 << 12


@dataclass(frozen=True, eq=False)
class Run(Struct):
    """States in a row that have the same situation, and the effects found so far."""

    now: Ints  # the situation of the state at hand
    same: Ints  # that of the run
    moves: Ints
    effects: PartNumbers  # [effect, E_*]
    own: Ints  # [0] how many effects: those of moves without second participant come first; [1] in use
    keys: Ints  # [second participant, slot] its part and standing
    first: PartNumbers  # [second participant, slot] its first effect
    count: PartNumbers  # [second participant, slot] how many


def new_run(entities: int) -> Run:
    """Return a run of nothing."""
    return Run(
        np.zeros(SITUATION, np.int64),
        np.zeros(SITUATION, np.int64),
        np.zeros(MAX_MOVES, np.int64),
        np.zeros((EFFECTS, E_COLUMNS), np.uint32),
        np.zeros(2, np.int64),
        np.zeros((entities, SLOTS), np.int64),
        *(np.zeros((entities, SLOTS), np.uint32) for _ in range(2)),
    )


@inline
def part_at(state: State, entity: int) -> int:
    """Return the part of an entity, 0 for -1."""
    return int(np.int64(state[entity]) if entity >= 0 else 0)


@inline
def find_situation(run: Run, parts: Parts, setting: Setting, state: State, c: int) -> None:
    """Write the situation of the moves on CPU `c` into `run.now`."""
    cpus, now, rows = setting.bounds.cpus, run.now, parts.rows
    t = cpus + rows[state[c], CURRENT]
    second = rows[state[t], SECOND]
    now[0] = state[c]
    now[1] = state[t]
    now[2] = part_at(state, cpus + rows[state[t], RUNS] - 1 if rows[state[t], RUNS] else -1)
    now[3] = part_at(state, cpus + second - 1 if 0 < second <= len(state) - cpus else -1)
    for i in range(2):
        owner = rows[state[c], POINTER + i]
        now[4 + i] = part_at(state, cpus + context_of(owner) if owner else -1)
    up = 0
    for d in range(1, cpus):
        other = (c + d) % cpus
        up += 1 - rows[state[other], OFF]
        now[5 + d] = state[other] if setting.crosses else 0
    now[SITUATION - 1] = up > 0


@inline
def hash_of_situation(run: Run) -> int:
    """Return a hash of the situation at hand."""
    h = np.uint64(1)
    for i in range(0, SITUATION, 2):
        h = mixed(h, run.now[i] << 32 | run.now[i + 1])
    return int(np.int64(h >> np.uint64(1)))


@inline
def sort_chunk(book: Book, parts: Parts, setting: Setting, desk: Desk, run: Run, count: int, c: int) -> None:
    """Put the next `count` states into an order in which those of the same situation on CPU `c` are together."""
    start, first = book.place[P_NEXT], book.first
    for b in range(len(first)):
        first[b] = 0
    for k in range(count):
        unpack(book.states, (start + k) * setting.width, setting.bits, setting.each, desk.scratch.state)
        find_situation(run, parts, setting, desk.scratch.state, c)
        b = hash_of_situation(run) & BUCKETS - 1
        book.bucket[k] = b
        first[b + 1] += 1
    for b in range(1, len(first)):
        first[b] += first[b - 1]
    for k in range(count):
        at = first[book.bucket[k]]
        first[book.bucket[k]] += 1
        book.order[at] = start + k
        for j in range(setting.width):
            book.sorted[at * setting.width + j] = book.states[(start + k) * setting.width + j]


@inline
def standing(parts: Parts, setting: Setting, state: State, x: int) -> int:
    """Return what the part of context `x` does not tell: 1 if it runs on some CPU; the part of who runs a vCPU."""
    cpus = setting.bounds.cpus
    for d in range(cpus):
        if parts.rows[state[d], CURRENT] == x and not parts.rows[state[d], OFF]:
            return 1
    for t in range(2 * cpus, 2 * cpus + setting.bounds.tasks):
        if parts.rows[state[t], RUNS] == x + 1:
            return int(np.int64(state[t]))  # at least 1, and a vCPU never runs itself
    return 0


@inline
def concerns(move: int, x: int) -> bool:
    """Tell whether a move has context `x` as its second participant; -1: whether it has none."""
    has = other_of(move) > 0 or kind_of(move) == SWITCH
    return other_of(move) == x if has else x < 0


@inline
def find_effects(parts: Parts, setting: Setting, desk: Desk, run: Run, c: int, x: int) -> int:
    """Append the effects of all moves on CPU `c` that concern `x`, in the state on the desk; return the first one."""
    load(desk, parts)
    first = run.own[1]
    for m in range(enabled_on(desk.before, setting.bounds, run.moves, 0, c)):
        if concerns(run.moves[m], x):
            bare_move = run.own[1]
            for coin in range(ways(setting.bounds, run.moves[m])):
                move, e = with_coin(run.moves[m], coin), run.own[1]
                if kind_of(move) == TAKE_OVER:  # reaches everything, so no situation tells its effect
                    leave_open(run.effects, e, move)
                else:
                    answer = ask_world(desk, parts, setting, move, False)
                    keep_effect(run.effects, e, desk.scratch, move, answer)
                known = False
                for other in range(bare_move, e):
                    known = known or same_effect(run.effects, other, e)
                run.own[1] += not known
    return int(first)


@inline
def begin_run(parts: Parts, setting: Setting, desk: Desk, run: Run, c: int) -> None:
    """Begin a run with the situation at hand."""
    for i in range(SITUATION):
        run.same[i] = run.now[i]
    for y in range(run.keys.shape[0]):
        for k in range(SLOTS):
            run.keys[y, k] = 0
    run.own[1] = 0
    find_effects(parts, setting, desk, run, c, -1)
    run.own[0] = run.own[1]


@inline
def in_run(run: Run) -> bool:
    """Tell whether the state at hand has the situation of the run, and there is room for more effects."""
    different = 0
    for i in range(SITUATION):
        different |= run.now[i] ^ run.same[i]
    return different == 0 and run.own[1] + MOST_FALLS * MOST_FALLS * MAX_MOVES <= EFFECTS


@inline
def slot_of(parts: Parts, setting: Setting, desk: Desk, run: Run, c: int, x: int) -> int:
    """Return the slot with the effects of moves that concern context `x`, found now if they were not before."""
    y = setting.bounds.cpus + x
    key = np.int64(desk.scratch.state[y]) << 32 | standing(parts, setting, desk.scratch.state, x)
    k = (key >> 32 ^ key >> 36 ^ key) & SLOTS - 1
    if run.keys[y, k] != key:
        run.first[y, k] = find_effects(parts, setting, desk, run, c, x)
        run.count[y, k] = run.own[1] - run.first[y, k]
        run.keys[y, k] = key
    return int(k)


# Expanding.


@inline
def nobody_left(w: World, bounds: Bounds) -> bool:
    """Tell whether every task has died or is a worker: then nothing more may happen, if the scope has no fork."""
    for x in range(bounds.cpus, bounds.cpus + bounds.tasks):
        if w.context[x, MODE] != FREE and w.context[x, MODE] != WORKER:
            return False
    return True


@inline
def follow(book: Book, parts: Parts, setting: Setting, desk: Desk, run: Run, i: int, e: int) -> None:
    """Note what effect `e` makes of state `i`, which lies on the desk."""
    effects, move = run.effects, int(np.int64(run.effects[e, E_MOVE]))
    broken = effects[e, E_BROKEN] & setting.wanted
    if broken:
        violation(book, i, move, effects[e, E_VERDICT], broken)
        return
    known = effects[e, E_ANSWER] == MADE and apply(effects, e, parts, desk.scratch)
    if known and name_and_note(book, parts, setting, desk, i, False):
        book.kinds[effects[e, E_KIND]] += 1
    else:
        put_off(book, i, move)


@inline
def follow_all(book: Book, parts: Parts, setting: Setting, desk: Desk, run: Run, i: int, c: int) -> int:
    """Note what all moves on CPU `c` make of state `i`, which lies on the desk; return how many there are."""
    made = run.own[0]
    for e in range(run.own[0]):
        follow(book, parts, setting, desk, run, i, e)
    for x in range(len(desk.scratch.state) - setting.bounds.cpus):
        if x < setting.bounds.cpus and x != c:
            continue  # another CPU's idle thread
        k, y = slot_of(parts, setting, desk, run, c, x), setting.bounds.cpus + x
        for e in range(run.first[y, k], run.first[y, k] + run.count[y, k]):
            follow(book, parts, setting, desk, run, i, e)
        made += run.count[y, k]
    return int(made)


@inline
def look_at_states(book: Book, parts: Parts, setting: Setting, desk: Desk, count: int) -> None:
    """Look for states among the next `count` that break a property of states."""
    for i in range(book.place[P_NEXT], book.place[P_NEXT] + count):
        unpack(book.states, i * setting.width, setting.bits, setting.each, desk.scratch.state)
        load(desk, parts)
        broken = broken_in(desk.before, setting.bounds, setting.wanted)
        if broken:
            violation(book, i, -1, 0, broken)


@inline
def expand_chunk(book: Book, parts: Parts, setting: Setting, desk: Desk, run: Run, count: int) -> int:
    """Expand the next `count` states; put off what needs something new."""
    start = book.place[P_NEXT]
    if setting.wanted & OF_STATES:
        look_at_states(book, parts, setting, desk, count)
    for k in range(count):
        book.moves[k] = False
    for c in range(setting.bounds.cpus):
        sort_chunk(book, parts, setting, desk, run, count, c)
        run.same[0] = 0
        for k in range(count):
            unpack(book.sorted, k * setting.width, setting.bits, setting.each, desk.scratch.state)
            find_situation(run, parts, setting, desk.scratch.state, c)
            if not in_run(run):
                begin_run(parts, setting, desk, run, c)
            made = follow_all(book, parts, setting, desk, run, book.order[k], c)
            if made:
                book.moves[book.order[k] - start] = True
            book.place[P_MADE] += made
    for k in range(count):
        if not book.moves[k]:
            unpack(book.states, (start + k) * setting.width, setting.bits, setting.each, desk.scratch.state)
            load(desk, parts)
            if not nobody_left(desk.before, setting.bounds):
                return STUCK
    book.place[P_NEXT] = start + count
    return DONE


@inline
def has_room(parts: Parts, layout: Layout) -> bool:
    """Tell whether there is room for all that one move may teach."""
    entities, renamings = len(layout.group), len(layout.new_name)
    enough = parts.used[N_PARTS] + entities * (renamings + MAX_AGES + 2) <= len(parts.rows)
    return bool(enough and parts.used[N_AGES] + MAX_AGES <= len(parts.ages))


@inline
def catch_up(book: Book, parts: Parts, setting: Setting, desk: Desk) -> int:
    """Make the moves that were put off, learning; stop when a row or more room is needed."""
    place, result = book.place, desk.scratch.result
    while place[P_CAUGHT_UP] < place[P_PUT_OFF]:
        if not has_room(parts, setting.layout):
            return NEED_ROOM
        i, move = book.put_off[place[P_CAUGHT_UP], 0], book.put_off[place[P_CAUGHT_UP], 1]
        unpack(book.states, i * setting.width, setting.bits, setting.each, desk.scratch.state)
        load(desk, parts)
        answer = ask_world(desk, parts, setting, move, True)
        if answer != MADE:
            return NEED_ROW if answer == PUT_OFF else UNSOUND
        if result[1] & setting.wanted:
            violation(book, i, move, result[0], result[1] & setting.wanted)
        else:
            name_and_note(book, parts, setting, desk, i, True)
            book.kinds[result[3]] += 1
        place[P_CAUGHT_UP] += 1
    place[P_PUT_OFF] = 0
    place[P_CAUGHT_UP] = 0
    return DONE


@bare
def work(book: Book, parts: Parts, setting: Setting, desk: Desk, run: Run, count: int) -> int:
    """Expand the next `count` states, or if that is none make the moves put off, learning. One function to compile."""
    if count:
        return expand_chunk(book, parts, setting, desk, run, count)
    return catch_up(book, parts, setting, desk)
