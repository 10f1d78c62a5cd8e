"""One move from a state given as parts: made in the world, and what it has changed put into parts again.

A move looks at few entities, its *reach*: its CPU, the thread there, the vCPU that the thread has in KVM_RUN, the
second participant, the thread that a vCPU is taken from, whom the CPU's pointers name, and where a policy interrupts
other CPUs all CPUs; all there is, where values change their owner. Beyond its reach a move only makes copies stale
(`parts.age`). That is verified whenever something is learned.

So the same move in the same reach always has the same *effect*: these parts become those, and others grow old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fpstate.check.parts import (
    UNKNOWN,
    Layout,
    PartNumbers,
    Parts,
    Scratch,
    State,
    age,
    age_of,
    fate_of_all,
    number_of,
    part_of,
    restore,
    set_to,
)
from fpstate.jit import inline
from fpstate.paths.order import (
    GUEST,
    RESUME,
    SWITCH,
    TAKE_OVER,
    UNBIND,
    USER,
    Bounds,
    cpu_of,
    kind_of,
    make_move,
    other_of,
    runner_of,
)
from fpstate.paths.properties import broken_by, reader_on, seen_on
from fpstate.rows.unread import IN_GUEST, IN_KERNEL, IN_USER, Unread
from fpstate.structs import Struct
from fpstate.world.state import (
    CURRENT,
    FREE,
    IS_VCPU,
    MODE,
    POINT,
    POINTER,
    RUNS,
    SECOND,
    WORD,
    Ints,
    World,
    context_of,
    copy_record,
    copy_world,
    kernel_of,
    own,
    same_record,
)
from fpstate.world.table import A_TRAPPED, Report, Table
from fpstate.world.verdicts import NO_ROW

MADE: Final = 0  # what `make` answers: the state after the move is in `best`
PUT_OFF: Final = 1  # something is not known yet: a row, or a part
BEYOND_REACH: Final = 2  # the move did what it must not

TRAPPED: Final = RESUME + 1  # what a use that trapped counts as, beside the kinds of moves

MAX_AGES: Final = 4  # contexts of which one move may make copies stale


@dataclass(frozen=True, eq=False)
class Setting(Struct):
    """What stays the same throughout a search."""

    layout: Layout
    bounds: Bounds
    wanted: int  # properties, as bits
    crosses: int  # 1: the policy may interrupt other CPUs
    unread: Ints  # [place] bits of a CPU's word that nobody reads there before they are written (rows.unread)
    pairs: Ints  # [0 thread or 1 vCPU, pointer] 0, or which pointer of the CPU must name it too: PAIR and more
    bits: int  # of the number of a part in a packed state
    each: int  # parts in a word of it
    width: int  # words of it


def with_bits(setting: Setting, bits: int) -> Setting:
    """Return the setting with so many bits for the number of a part."""
    each = 64 // bits
    return setting.but(bits=bits, each=each, width=-(-len(setting.layout.group) // each))


PAIR: Final = 1  # in `Setting.pairs`: the CPU's first pointer; its second is one more;
PAIR_OF_KERNEL: Final = 2  # so much more: it must name the thread's kernel-mode state


def without(setting: Setting, known: Unread) -> Setting:
    """Return the setting in which nobody knows of what is unread."""
    pairs = np.zeros((2, 2), np.int64)
    for pair in known.pairs:
        pairs[int(pair.of == "Vcpu"), pair.pointer.shift] = PAIR + pair.named_by.shift + PAIR_OF_KERNEL * pair.kernel
    return setting.but(unread=np.array(known.bits, np.int64), pairs=pairs)


@dataclass(frozen=True, eq=False)
class Desk(Struct):
    """What one thread works with: the world before a move, the same world in which it is made, and the policy."""

    before: World
    after: World
    loaded: State  # the parts that these two worlds are, 0 where that is not known
    scratch: Scratch
    table: Table
    report: Report


@inline
def names_in_vain(w: World, setting: Setting, x: int, i: int) -> bool:
    """Tell whether a pointer of context `x` names a CPU and is none half of a pair; who does not exist has no pairs."""
    pair, named = setting.pairs[w.context[x, IS_VCPU], i] - PAIR, w.context[x, POINTER + i]
    if pair < 0 or named == 0:
        return False
    owner = kernel_of(x) if pair & PAIR_OF_KERNEL else own(x)
    return bool(w.context[x, MODE] == FREE or w.cpu[named - 1, POINTER + (pair & 1)] != owner)


@inline
def forget(w: World, setting: Setting, c: int, reach: int) -> None:
    """Let what nobody will know of CPU `c`, where that is now, and of contexts in `reach` be 0 (see rows.unread)."""
    t = w.cpu[c, CURRENT]
    mode, place = w.context[t, MODE], IN_KERNEL
    if not w.context[t, POINT]:
        place = IN_USER if mode == USER else IN_GUEST if mode == GUEST else IN_KERNEL
    w.cpu[c, WORD] &= ~setting.unread[place]
    for x in range(len(w.context) - 1):
        for i in range(2):
            if reach >> len(w.cpu) + x & 1 and names_in_vain(w, setting, x, i):
                w.context[x, POINTER + i] = 0


@inline
def load(desk: Desk, parts: Parts) -> None:
    """Make both worlds of the desk the state in its scratch."""
    state, loaded = desk.scratch.state, desk.loaded
    for i in range(len(state)):
        if loaded[i] != state[i]:
            restore(desk.before, parts, state[i])
            restore(desk.after, parts, state[i])
            loaded[i] = state[i]


@inline
def reach_of(w: World, bounds: Bounds, move: int, crosses: int) -> int:
    """Return the entities that a move looks at, as bits: CPUs from 0, contexts behind them."""
    c, cpus, n = cpu_of(move), len(w.cpu), len(w.context) - 1
    if kind_of(move) == TAKE_OVER:
        return (1 << cpus + n) - 1
    t = w.cpu[c, CURRENT]
    reach = 1 << c | 1 << cpus + t
    if w.context[t, RUNS]:
        reach |= 1 << cpus + w.context[t, RUNS] - 1
    if 0 < w.context[t, SECOND] <= n:
        reach |= 1 << cpus + w.context[t, SECOND] - 1
    if other_of(move) or kind_of(move) == SWITCH:
        reach |= 1 << cpus + other_of(move)
    if kind_of(move) == UNBIND:
        reach |= 1 << cpus + runner_of(w, bounds, other_of(move))
    for i in range(2):
        if w.cpu[c, POINTER + i]:
            reach |= 1 << cpus + context_of(w.cpu[c, POINTER + i])
    return int(reach | (1 << cpus) - 1 if crosses else reach)


@inline
def changed(desk: Desk, y: int) -> bool:
    """Tell whether the move has changed entity `y`."""
    cpus = len(desk.before.cpu)
    if y < cpus:
        return not same_record(desk.before.cpu, y, desk.after.cpu, y)
    return not same_record(desk.before.context, y - cpus, desk.after.context, y - cpus)


@inline
def undo(desk: Desk, y: int) -> None:
    """Make entity `y` again what it was before the move."""
    cpus = len(desk.before.cpu)
    if y < cpus:
        copy_record(desk.before.cpu, y, desk.after.cpu, y)
    else:
        copy_record(desk.before.context, y - cpus, desk.after.context, y - cpus)


@inline
def grow_old(parts: Parts, layout: Layout, scratch: Scratch, y: int, a: int, learn: bool) -> bool:
    """Let part `y` of the new state grow old; return False if what it becomes is not known and may not be learned."""
    old = scratch.after[y]
    scratch.after[y] = parts.aged[old, a]
    if scratch.after[y] == UNKNOWN:
        if not learn:
            return False
        scratch.after[y] = age(parts, layout, old, a, scratch.row)
    return True


@inline
def as_parts(desk: Desk, parts: Parts, layout: Layout, reach: int, learn: bool) -> bool:
    """Put the world after a move into parts, given those before it, and undo the move.

    Return False if something is not known and may not be learned.
    """
    scratch, known = desk.scratch, True
    set_to(scratch.after, scratch.state)
    ages, done = 0, 0
    for i in range(MAX_AGES):
        scratch.ages[i] = 0
    for y in range(len(scratch.state)):
        if not reach >> y & 1 or not changed(desk, y):
            continue
        done |= 1 << y
        part_of(desk.after, y, layout, scratch.row)
        number = number_of(parts, scratch.row, learn)
        scratch.after[y] = number
        known = known and number != UNKNOWN
        fate = fate_of_all(desk.before, desk.after, y - layout.cpus) if y >= layout.cpus else 0
        if fate:
            scratch.ages[ages] = age_of(parts, fate, learn)
            known = known and scratch.ages[ages] != UNKNOWN
            ages += 1
    scratch.result[2] = done
    for y in range(len(scratch.state)):
        if done >> y & 1:
            undo(desk, y)
        elif known:
            for i in range(ages):
                known = known and grow_old(parts, layout, scratch, y, scratch.ages[i], learn)
    return known


@inline
def stays_in_reach(desk: Desk, reach: int) -> bool:
    """Tell whether a move has changed nothing beyond its reach."""
    for y in range(len(desk.scratch.state)):
        if not reach >> y & 1 and changed(desk, y):
            return False
    return True


@inline
def ask_world(desk: Desk, parts: Parts, setting: Setting, move: int, learn: bool) -> int:
    """Make a move in the world; the state it leads to goes to `after` of the scratch, its verdict to `result`.

    `desk.before` must be the world of the state.
    """
    c, w, scratch = cpu_of(move), desk.before, desk.scratch
    reach = reach_of(w, setting.bounds, move, setting.crosses)
    seen, reader = seen_on(w, c), reader_on(w, c)
    verdict = make_move(desk.after, desk.table, desk.report, setting.bounds, move)
    scratch.result[0] = verdict
    scratch.result[3] = TRAPPED if desk.report.asked[A_TRAPPED] else kind_of(move)
    scratch.result[1] = 0
    if verdict == NO_ROW:
        copy_world(w, desk.after)
        return PUT_OFF
    forget(desk.after, setting, c, reach)
    scratch.result[1] = broken_by(verdict, seen, reader)
    if learn and not stays_in_reach(desk, reach):
        return BEYOND_REACH
    return MADE if as_parts(desk, parts, setting.layout, reach, learn) else PUT_OFF


# Effects.

E_MOVE: Final = 0  # columns of `effects`: the move, what it answers, its verdict and the properties broken
E_ANSWER: Final = 1
E_VERDICT: Final = 2
E_BROKEN: Final = 3
E_KIND: Final = 4  # what it counts as
E_AGES: Final = 5  # the ages that come over all others
E_COUNT: Final = E_AGES + MAX_AGES  # how many entities change; then each with its new part
E_COLUMNS: Final = 40


@inline
def keep_effect(effects: PartNumbers, e: int, scratch: Scratch, move: int, answer: int) -> None:
    """Write the effect of a move just made into row `e`."""
    effects[e, E_MOVE] = move
    effects[e, E_ANSWER] = answer
    effects[e, E_VERDICT] = scratch.result[0]
    effects[e, E_BROKEN] = scratch.result[1]
    effects[e, E_KIND] = scratch.result[3]
    if answer != MADE:
        return
    count = 0
    for y in range(len(scratch.state)):
        if scratch.result[2] >> y & 1:
            effects[e, E_COUNT + 1 + 2 * count] = y
            effects[e, E_COUNT + 2 + 2 * count] = scratch.after[y]
            count += 1
    effects[e, E_COUNT] = count
    for i in range(MAX_AGES):
        effects[e, E_AGES + i] = scratch.ages[i]


@inline
def leave_open(effects: PartNumbers, e: int, move: int) -> None:
    """Note in row `e` that a move must be made anew in each state."""
    effects[e, E_MOVE] = move
    effects[e, E_ANSWER] = PUT_OFF
    effects[e, E_VERDICT] = effects[e, E_BROKEN] = 0


@inline
def same_effect(effects: PartNumbers, a: int, b: int) -> bool:
    """Tell whether two moves, both made, have the same effect."""
    different = effects[a, E_ANSWER] != MADE or effects[b, E_ANSWER] != MADE
    for i in range(E_ANSWER, E_COUNT + 1 + 2 * effects[a, E_COUNT]):
        different = different or effects[a, i] != effects[b, i]
    return not different


@inline
def apply(effects: PartNumbers, e: int, parts: Parts, scratch: Scratch) -> bool:
    """Write what the state `scratch.state` becomes by effect `e` into `scratch.after`; return whether all is known."""
    state, after = scratch.state, scratch.after
    set_to(after, state)
    for i in range(MAX_AGES):
        a = effects[e, E_AGES + i]
        if a == 0:
            break
        for y in range(len(state)):
            after[y] = parts.aged[after[y], a]
    for i in range(effects[e, E_COUNT]):
        after[effects[e, E_COUNT + 1 + 2 * i]] = effects[e, E_COUNT + 2 + 2 * i]
    known = True
    for y in range(len(state)):
        known = known and after[y] != UNKNOWN
    return known
