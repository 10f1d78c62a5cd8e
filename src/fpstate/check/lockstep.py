"""Two policies side by side: every order of events happens to both, and what each of them does is compared.

Nothing is assumed about how the two keep their books. Compared is what others can see: which events may come next,
whether a use traps, which operations are carried out, and whose value then lies in each place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.check.parts import Layout, make_layout, part_of
from fpstate.errors import FpstateError
from fpstate.jit import bare, inline
from fpstate.paths.order import Bounds, enabled, make_move, room_for_moves
from fpstate.paths.scope import Scope, build
from fpstate.rows.learn import Rows
from fpstate.structs import Struct
from fpstate.world.operations import N_COUNTS
from fpstate.world.state import (
    DIRTY,
    POINTER,
    WORD,
    Ints,
    World,
    copy_of,
    copy_record,
    copy_world,
)
from fpstate.world.table import A_EVENT, A_FIRST, A_KEY, A_TRAPPED, A_USED, Report, Table, new_report
from fpstate.world.verdicts import NO_ROW, OK

DONE: Final = 0  # what `advance` answers
NEED_A: Final = 1  # a row of the first policy
NEED_B: Final = 2
NEED_ROOM: Final = 3
APART: Final = 4  # other events may come next, or something went wrong

S_WAITING: Final = 0  # columns of `Pair.state`: pairs that wait, pairs seen, and what was found to differ
S_SEEN: Final = 1
S_OPERATIONS: Final = 2  # moves that carry out other operations, or leave other values somewhere
S_TRAPS: Final = 3  # uses that trap under one of the two alone
S_HARDWARE: Final = 4  # the bits of a CPU's word that are not the policy's
S_COLUMNS: Final = 5

HARDWARE: Final = 2 * DIRTY - 1  # those bits in worlds with more registers than V,
HARDWARE_OF_V: Final = 3  # and in those with V alone (rows.fields)


@dataclass(frozen=True)
class Comparison:
    """How two policies differ over all orders of events: each number counts moves out of different pairs of worlds.

    `apart` is True where an event that may happen under one may not under the other, or goes wrong under one alone.
    Where both go wrong in the same way, the order of events ends.
    `more` and `fewer` say how often the second policy carried out an operation more or less (indexed as N_*).
    """

    complete: bool
    apart: bool
    pairs: int
    operations: int
    traps: int
    more: tuple[int, ...]
    fewer: tuple[int, ...]
    together: NDArray[np.uint8]
    """[row of the first, row of the second]: 1 where both were used in one move; 0 as number of a row is for none."""


@dataclass(frozen=True, eq=False)
class Side(Struct):
    """One of the two: its policy, its own words of new tasks and vCPUs, and its world before and after a move."""

    before: World
    after: World
    bounds: Bounds
    table: Table
    report: Report


@dataclass(frozen=True, eq=False)
class Pair(Struct):
    """Both sides, and all pairs of worlds found so far."""

    a: Side
    b: Side
    layout: Layout
    row_a: Ints  # [0, column] room for one part
    row_b: Ints
    waiting: Ints  # [pair, the parts of both worlds, and then the number of the move to begin with]
    seen: NDArray[np.uint64]  # [slot, 2]: 128 bits of hash of each pair found, 0 where the slot is free
    moves: Ints  # room for those that may come next on one side, and on the other
    others: Ints
    state: Ints  # [S_*]
    more: Ints  # [N_*]
    fewer: Ints  # [N_*]
    together: NDArray[np.uint8]  # [row of one + 1, row of the other + 1]: used in the same move; 0 where one used none


def compare_policies(a: Rows, b: Rows, scope: Scope, *, max_pairs: int = 20_000_000) -> Comparison:
    """Let every order of events of `scope` happen to two policies with the same features.

    Both see the same events: those that happen anyway, and those that `a` handles.
    """
    bounds, first = build(scope, a)
    layout = make_layout(scope, features=first.features, zeros=True, fold=False)
    entities, columns = layout.matters.shape
    width = 2 * entities * columns + 1
    parts = np.zeros((1, columns), np.int64), np.zeros((1, columns), np.int64)
    waiting, seen = np.zeros((1 << 12, width), np.int64), np.zeros((1 << 16, 2), np.uint64)
    counts = np.zeros(N_COUNTS, np.int64), np.zeros(N_COUNTS, np.int64)
    state = np.zeros(S_COLUMNS, np.int64)
    state[S_HARDWARE] = HARDWARE if a.policy.features else HARDWARE_OF_V
    own, other = build(scope, b)
    falls = max(bounds.falls, own.falls)
    if {bounds.falls, own.falls} - {1, falls}:
        raise FpstateError("coins of policies to compare fall in different ways", expected="as many values in both")
    bounds = bounds.but(falls=falls)
    room = room_for_moves(bounds), room_for_moves(bounds)
    bounds_b = bounds.but(task_word=own.task_word, vcpu_word=own.vcpu_word, timer=own.timer, coin=own.coin)
    side_a, side_b = _side_of(a, bounds, first), _side_of(b, bounds_b, other)
    pair = Pair(side_a, side_b, layout, *parts, waiting, seen, *room, state, *counts, _room_for(a, b))
    begin(pair)
    answer = NEED_ROOM
    while answer not in (DONE, APART) and pair.state[S_SEEN] <= max_pairs:
        answer = int(advance(pair))
        if answer == NEED_ROOM:
            pair = with_room(pair)
        elif answer in (NEED_A, NEED_B):
            rows, asked = (a, pair.a.report.asked) if answer == NEED_A else (b, pair.b.report.asked)
            rows.learn(int(asked[A_EVENT]), int(asked[A_KEY]))
            together = _room_for(a, b, pair.together)
            pair = pair.but(a=pair.a.but(table=a.table), b=pair.b.but(table=b.table), together=together)
    _, pairs, operations, traps, _ = pair.state.tolist()
    changes = tuple(pair.more.tolist()), tuple(pair.fewer.tolist())
    return Comparison(answer in (DONE, APART), answer == APART, pairs, operations, traps, *changes, pair.together)


def _room_for(a: Rows, b: Rows, known: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Return room for noting which rows were used together, with what is known of it."""
    shape = len(a.table.rows) + 1, len(b.table.rows) + 1
    if known is not None and known.shape == shape:
        return known
    room = np.zeros(shape, np.uint8)
    if known is not None:
        room[: known.shape[0], : known.shape[1]] = known
    return room


def _side_of(rows: Rows, bounds: Bounds, world: World) -> Side:
    return Side(copy_of(world), copy_of(world), bounds, rows.table, new_report(N_COUNTS))


def with_room(pair: Pair) -> Pair:
    """Return the pair with twice the room for what waits and what was seen."""
    waiting = np.zeros((2 * len(pair.waiting), pair.waiting.shape[1]), np.int64)
    waiting[: len(pair.waiting)] = pair.waiting
    seen = np.zeros((2 * len(pair.seen), 2), np.uint64)
    enter_again(pair.seen, seen)
    return pair.but(waiting=waiting, seen=seen)


@inline
def same_places(a: Ints, b: Ints, hardware: int) -> bool:
    """Tell whether two parts of the same entity are alike in all places and these bits of their words."""
    different = (a[0, WORD] ^ b[0, WORD]) & hardware
    for j in range(POINTER + 2, a.shape[1] - 1):
        different |= a[0, j] ^ b[0, j]
    return bool(different == 0)


@inline
def write_down(pair: Pair, a: World, b: World, r: int) -> bool:
    """Write two worlds into row `r` of those that wait; return whether they are alike but for the policies' fields."""
    alike, columns = True, pair.row_a.shape[1]
    for y in range(len(pair.layout.group)):
        part_of(a, y, pair.layout, pair.row_a)
        part_of(b, y, pair.layout, pair.row_b)
        hardware = pair.state[S_HARDWARE] if y < pair.layout.cpus else 0
        alike = alike and same_places(pair.row_a, pair.row_b, hardware)
        for j in range(columns):
            pair.waiting[r, 2 * y * columns + j] = pair.row_a[0, j]
            pair.waiting[r, (2 * y + 1) * columns + j] = pair.row_b[0, j]
    return alike


@inline
def read_back(pair: Pair, r: int) -> None:
    """Make the worlds before a move those of row `r`."""
    columns = pair.row_a.shape[1]
    for y in range(len(pair.layout.group)):
        for j in range(columns):
            pair.row_a[0, j] = pair.waiting[r, 2 * y * columns + j]
            pair.row_b[0, j] = pair.waiting[r, (2 * y + 1) * columns + j]
        if y < pair.layout.cpus:
            copy_record(pair.row_a, 0, pair.a.before.cpu, y)
            copy_record(pair.row_b, 0, pair.b.before.cpu, y)
        else:
            copy_record(pair.row_a, 0, pair.a.before.context, y - pair.layout.cpus)
            copy_record(pair.row_b, 0, pair.b.before.context, y - pair.layout.cpus)


@inline
def enter(seen: NDArray[np.uint64], h: np.uint64, g: np.uint64) -> bool:
    """Enter a pair's hash among those seen; return whether it was not there."""
    slot = g & np.uint64(len(seen) - 1)
    while seen[slot, 0]:
        if seen[slot, 0] == h and seen[slot, 1] == g:
            return False
        slot = slot + np.uint64(1) & np.uint64(len(seen) - 1)
    seen[slot, 0] = h
    seen[slot, 1] = g
    return True


@bare
def enter_again(seen: NDArray[np.uint64], larger: NDArray[np.uint64]) -> None:
    """Enter all that was seen into a larger table."""
    for i in range(len(seen)):
        if seen[i, 0]:
            enter(larger, seen[i, 0], seen[i, 1])


@inline
def is_new(pair: Pair, r: int) -> bool:
    """Enter pair `r` of those that wait among those seen; return whether it was not there: told by 127 bits of hash."""
    h = np.uint64(0x9E3779B97F4A7C15)
    g = np.uint64(0xC2B2AE3D27D4EB4F)
    for i in range(pair.waiting.shape[1] - 1):
        h = (h ^ np.uint64(pair.waiting[r, i])) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
        g = (g + np.uint64(pair.waiting[r, i])) * np.uint64(0x9FB21C651E98DF25)
        g ^= g >> np.uint64(29)
    return enter(pair.seen, h | np.uint64(1), g)


@inline
def push(pair: Pair) -> bool:
    """Let the two worlds after a move wait, if they are new; return whether they are alike but for policies' fields."""
    r = pair.state[S_WAITING]
    alike = write_down(pair, pair.a.after, pair.b.after, r)
    pair.waiting[r, -1] = 0
    if is_new(pair, r):
        pair.state[S_WAITING] += 1
        pair.state[S_SEEN] += 1
    return alike


@bare
def begin(pair: Pair) -> None:
    """Let the first pair wait."""
    push(pair)


@inline
def make(side: Side, move: int) -> int:
    """Make a move on one side; return what went wrong."""
    copy_world(side.before, side.after)
    for i in range(N_COUNTS):
        side.report.counts[i] = 0
    return make_move(side.after, side.table, side.report, side.bounds, move)


@inline
def weigh(pair: Pair) -> bool:
    """Add up by how much the operations of a move made on both sides differ; return whether they do."""
    different = False
    for i in range(N_COUNTS):
        change = pair.b.report.counts[i] - pair.a.report.counts[i]
        different = different or change != 0
        pair.more[i] += max(change, 0)
        pair.fewer[i] += max(-change, 0)
    return different


@inline
def note_rows(pair: Pair) -> None:
    """Note which rows of the two were used in a move."""
    of_a, of_b = pair.a.report.asked, pair.b.report.asked
    for i in range(of_a[A_USED]):
        pair.together[of_a[A_FIRST + i] + 1, 0] = 1
        for j in range(of_b[A_USED]):
            pair.together[of_a[A_FIRST + i] + 1, of_b[A_FIRST + j] + 1] = 1
    for j in range(of_b[A_USED]):
        pair.together[0, of_b[A_FIRST + j] + 1] = 1


@inline
def make_both(pair: Pair, move: int) -> int:
    """Make a move on both sides, and compare; answer DONE, or what is needed."""
    verdict, other = make(pair.a, move), make(pair.b, move)
    if verdict == NO_ROW or other == NO_ROW:
        return NEED_A if verdict == NO_ROW else NEED_B
    note_rows(pair)
    if verdict != OK or other != OK:
        return DONE if verdict == other else APART  # what both do wrong alike ends this way
    pair.state[S_TRAPS] += pair.a.report.asked[A_TRAPPED] != pair.b.report.asked[A_TRAPPED]
    different, alike = weigh(pair), push(pair)
    pair.state[S_OPERATIONS] += different or not alike
    return DONE


@bare
def advance(pair: Pair) -> int:
    """Make all moves out of the pairs that wait, until something is needed or nothing waits any more."""
    while pair.state[S_WAITING]:
        if pair.state[S_WAITING] + len(pair.moves) > len(pair.waiting) or 2 * pair.state[S_SEEN] > len(pair.seen):
            return NEED_ROOM
        pair.state[S_WAITING] -= 1
        r = pair.state[S_WAITING]
        first = pair.waiting[r, -1]
        read_back(pair, r)
        count = enabled(pair.a.before, pair.a.bounds, pair.moves)
        if enabled(pair.b.before, pair.b.bounds, pair.others) != count:
            return APART
        for i in range(first, count):
            answer = make_both(pair, pair.moves[i]) if pair.moves[i] == pair.others[i] else APART
            if answer == NEED_A or answer == NEED_B:
                last = pair.state[S_WAITING]
                write_down(pair, pair.a.before, pair.b.before, last)
                pair.waiting[last, -1] = i
                pair.state[S_WAITING] = last + 1
            if answer != DONE:
                return answer
    return DONE
