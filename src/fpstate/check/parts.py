"""A world in parts: what is known of one CPU or one context is a *part*, and a state is the list of its parts.

The same part turns up in very many states, so parts are kept once and numbered, and a state is a few small numbers. In
a part, versions become one bit: a label is its owner's latest value or an older one. Numbers depend on the order in
which parts turn up, so they mean something within one search only.

Two worlds that differ only in the names of CPUs, tasks, kernel threads and vCPUs are one: `canonical` gives a state the
first of all names it can have, in the order of lists of numbers. What a part becomes under a renaming, and when the
copies of a value that it holds become stale (`age`), is found out once and kept.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, inline
from fpstate.paths.order import NEON, RUN_NEON, RUN_OUT_NEON
from fpstate.paths.scope import Scope
from fpstate.structs import Struct
from fpstate.world.state import (
    BIRTH,
    CLASSES_END,
    COLUMNS,
    CURRENT,
    DISCARDABLE,
    F_AARCH32,
    F_FPMR,
    F_GUEST_SME,
    F_GUEST_SVE,
    F_SME,
    F_SVE,
    FOLLOWED_CLASS,
    FPEXC,
    FPMR,
    IMAGE,
    IN_SYSCALL,
    INITIAL,
    KERNEL_IMAGE,
    KERNEL_LATEST,
    LATEST,
    MODE,
    NOBODYS,
    PER_CLASS,
    POINTER,
    REGISTERS,
    RUNS,
    SECOND,
    SOFTIRQS,
    STASH,
    STORAGE,
    SVE_FRAME,
    SVE_IMAGE,
    VERSION,
    WIDE_COLUMNS,
    ZA,
    ZCR,
    ZEROS,
    Ints,
    V,
    World,
    Z,
    classes_end,
    context_of,
    copy_record,
    is_followed,
    kernel_of,
    own,
    owner_of,
    same_record,
)

State = NDArray[np.uint32]  # the parts of a world, by entity
PartNumbers = NDArray[np.uint32]

# A part is a record of the world, in which versions are 0 or 1, with zeros where it does not matter what is known; in
# the last column the entity: CPUs are numbered from 0, contexts behind them. A row is an array of one record.

# What a column's number means: PLAIN, or a label of class LABEL + class, or
PLAIN: Final = 0
LABEL: Final = 1
OWNER: Final = LABEL + CLASSES_END  # an owner number
CPU: Final = OWNER + 1  # a CPU + 1, 0 none
CONTEXT: Final = OWNER + 2  # a context
CONTEXT_1: Final = OWNER + 3  # a context + 1, 0 none
THIS: Final = OWNER + 4  # the entity itself

CPUS: Final = 0  # groups of entities: the CPUs; their idle threads, which are renamed with them; kernel threads are 3
IDLE: Final = 1
TASKS: Final = 2
VCPUS: Final = 4

NO_PART: Final = 0  # the number of no part: parts are numbered from 1
UNKNOWN: Final = 0
MAX_RENAMINGS: Final = 62
NO_CPU: Final = 1 << 40  # no CPU's name: after all
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)
_STEP: Final = np.uint64(0x9E3779B97F4A7C16)

# An *age* is what becomes of copies of a context's values, as one number: the context, and for each class these bits.
LATEST_STALE: Final = 1
LATEST_STRANGE: Final = 2  # it is a predecessor's from now on, as a stranger's
OLDER_STRANGE: Final = 4
FATE_BITS: Final = 3
KERNEL_DIES: Final = 1 << 6 * FATE_BITS
CONTEXT_BITS: Final = 8

# Places in `Parts.used`.
N_PARTS: Final = 0
N_AGES: Final = 1


@dataclass(frozen=True, eq=False)
class Layout(Struct):
    """What tells the worlds of one check apart, and which renamings do not."""

    cpus: int
    wide: int  # the worlds have more registers than V
    followed: int  # as in World: what is not right is all the same, if it is not 0
    old: int  # 1: an old value of its owner's own is told apart from a lost one
    meaning: Ints  # [0 CPU or 1 context, column]
    matters: Ints  # [entity, column] -1; 0: worlds that differ in it only are the same
    new_name: Ints  # [renaming, entity]
    old_name: Ints  # [renaming, entity] the other way round
    group: Ints  # [entity] CPUS, IDLE or more: entities of one group are renamed among themselves


@dataclass(frozen=True, eq=False)
class Parts(Struct):
    """All parts seen so far."""

    rows: Ints  # [part, column]
    slots: PartNumbers  # hash of a row -> part
    renamed: PartNumbers  # [part, renaming] the part it becomes, UNKNOWN if not asked yet
    least: Ints  # [part, 0] the first name that it can have at place 0, of those it has; [part, 1] by which renamings
    aged: PartNumbers  # [part, age] the same for ages
    ages: Ints  # [age]
    used: Ints  # [N_*] how many parts and ages there are


# Making them.


def classes_of(features: int) -> dict[str, list[int]]:
    """Return the register classes in which worlds with these features can differ: of CPUs, of tasks and of vCPUs."""
    every = ((F_SVE, Z), (F_SVE, ZCR), (F_SME, ZA), (F_FPMR, FPMR), (F_AARCH32, FPEXC))
    used = [V, *(k for feature, k in every if features & feature)]
    of_some_guests = {Z: F_GUEST_SVE, ZCR: F_GUEST_SVE, ZA: F_GUEST_SME}
    of_guests = [k for k in used if k not in of_some_guests or features & of_some_guests[k]]
    return {"cpu": used, "task": [k for k in used if k != FPEXC], "vcpu": of_guests}


def _renamings(counts: tuple[int, ...], fold: bool, keeps: int) -> list[list[tuple[int, ...]]]:
    """Return for each group of entities its possible orders, identity first.

    Idle threads go with their CPUs, so their group has one here. Groups that would make more than MAX_RENAMINGS keep
    their names, and so does entity `keeps`.
    """
    orders, start, total = [], 0, 1
    for g, count in enumerate(counts):
        names = range(start, start + count)
        every = list(itertools.permutations(names)) if fold and g != IDLE and count <= 6 else []
        if keeps in names:
            every = [order for order in every if order[keeps - start] == keeps]
        total *= max(len(every), 1)
        orders.append(every if every and total <= MAX_RENAMINGS else [tuple(names)])
        start += count
    return orders


def make_layout(
    scope: Scope, *, features: int, zeros: bool, fold: bool, followed: int = 0, old: bool = False
) -> Layout:
    """Return the layout for a scope. `zeros`, `followed`: as in World; `fold`: names mean nothing.

    `old`: old values are told from lost ones, as they always are in worlds with V alone.
    """
    counts = (scope.cpus, scope.cpus, scope.tasks, scope.kthreads, scope.vcpus)
    group = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    columns = WIDE_COLUMNS if features else COLUMNS
    classes = range(V, CLASSES_END if features else PER_CLASS, PER_CLASS)
    meaning = np.zeros((2, columns), np.int64)
    matters = np.full((len(group), columns), -1, np.int64)
    meaning[0, POINTER : POINTER + 2] = OWNER
    meaning[0, CURRENT] = CONTEXT
    meaning[1, POINTER : POINTER + 2] = CPU
    meaning[1, [RUNS, SECOND]] = CONTEXT_1
    meaning[1, [KERNEL_IMAGE, KERNEL_LATEST, *([SVE_IMAGE] if features else [])]] = LABEL + V
    meaning[:, -1] = THIS
    in_use = classes_of(features)
    for k in classes:
        meaning[0, [REGISTERS + k, STASH + k]] = LABEL + k
        meaning[1, [IMAGE + k, LATEST + k, INITIAL + k, BIRTH + k]] = LABEL + k
        for y, g in enumerate(group.tolist()):
            has = k in in_use["cpu" if g == CPUS else "vcpu" if g == VCPUS else "task"]
            if g == CPUS:
                matters[y, [REGISTERS + k, STASH + k]] = -has
            else:
                in_image = k == V or g == VCPUS or (g == TASKS and k != ZCR)
                matters[y, [IMAGE + k, INITIAL + k]] = -(has and in_image)
    if not zeros and not features & F_SME:
        matters[group != CPUS, INITIAL] = 0
    if features:
        matters[group == VCPUS, IN_SYSCALL] = 0
        for g, feature in ((TASKS, F_SVE), (VCPUS, F_GUEST_SVE)):
            if not features & feature:
                matters[np.ix_(group == g, [STORAGE, DISCARDABLE, SVE_FRAME, SVE_IMAGE])] = 0
    who = followed // FOLLOWED_CLASS - 1
    keeps = who if who < scope.cpus else scope.cpus + who  # with its idle thread, a CPU
    orders = _renamings(counts, fold, keeps)
    idle = [tuple(scope.cpus + c for c in cpus) for cpus in orders[CPUS]]  # in the order of their CPUs
    pairs = [cpus + threads for cpus, threads in zip(orders[CPUS], idle, strict=True)]
    chosen = itertools.product(pairs, *orders[IDLE + 1 :])
    old_name = np.array([list(itertools.chain(*names)) for names in chosen], np.int64)
    facts = scope.cpus, int(features != 0), followed, int(not followed and (old or not features))
    return Layout(*facts, meaning, matters, np.argsort(old_name, axis=1), old_name, group)


def new_parts(layout: Layout, room: int = 1 << 12) -> Parts:
    """Return room for parts, none seen yet."""
    columns, renamings_ = layout.matters.shape[1], len(layout.new_name)
    return Parts(
        rows=np.zeros((room, columns), np.int64),
        slots=np.zeros(4 * room, np.uint32),
        renamed=np.zeros((room, renamings_), np.uint32),
        least=np.zeros((room, 2), np.int64),
        aged=np.zeros((room, 32), np.uint32),
        ages=np.zeros(32, np.int64),
        used=np.array([1, 1], np.int64),
    )


def with_room(parts: Parts, *, parts_more: int, ages_more: int) -> Parts:
    """Return the same parts with room for at least so many more, if there is not."""
    count, ages = parts.used.tolist()
    while ages + ages_more > len(parts.ages):
        aged = np.concatenate([parts.aged, np.zeros_like(parts.aged)], axis=1)
        parts = parts.but(aged=aged, ages=np.concatenate([parts.ages, np.zeros_like(parts.ages)]))
    if count + parts_more <= len(parts.rows):
        return parts
    more = max(len(parts.rows), parts_more)

    def longer(a: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([a, np.zeros((more, *a.shape[1:]), a.dtype)])

    slots = np.zeros(4 * len(parts.slots), np.uint32)
    parts = parts.but(
        rows=longer(parts.rows),
        renamed=longer(parts.renamed),
        least=longer(parts.least),
        aged=longer(parts.aged),
        slots=slots,
    )
    enter_again(parts)
    return parts


# Between a world and its parts.


@inline
def in_section(w: World, t: int) -> bool:
    """Tell whether thread `t` is in a kernel NEON section, running or not."""
    mode = w.context[t, MODE]
    return bool(mode == NEON or mode == RUN_NEON or mode == RUN_OUT_NEON)


@inline
def strangers(followed: int) -> int:
    """Return what a stranger's value is in a part; where one thing is followed, all that is not right is the same."""
    return NOBODYS if followed else SOFTIRQS


@inline
def known_as(w: World, layout: Layout, k: int, label: int) -> int:
    """Return what a label of class `k` is in a part: latest version 1, older version 0.

    Values of predecessors, and kernel-mode values that nobody will miss, are a stranger's: a softirq's. In worlds with
    more registers than V, an old value of its own is to its owner what a lost one is, where that may not become a
    predecessor's before it is missed, and zeros are nobody's.
    """
    owner = owner_of(label)
    x = context_of(owner)
    if not is_followed(w, k, x):
        return label if label == ZEROS and w.followed % FOLLOWED_CLASS == k else NOBODYS
    if owner <= SOFTIRQS:
        return label
    if owner & 1:
        if k == ZCR:
            return owner  # the length a vCPU's image is laid out for
        if in_section(w, x) and label == w.context[x, KERNEL_LATEST]:
            return owner + VERSION
        return strangers(w.followed)
    if label == w.context[x, LATEST + k]:
        return ZEROS if k == Z and w.context[x, INITIAL + Z] == label else owner + VERSION
    if label < w.context[x, BIRTH + k]:
        return strangers(w.followed)
    return owner if layout.old else NOBODYS


@inline
def cpu_part(w: World, layout: Layout, c: int, row: Ints) -> None:
    """Write what is known of CPU `c` into `row`."""
    copy_record(w.cpu, c, row, 0)
    for k in range(V, classes_end(w), PER_CLASS):
        row[0, STASH + k] = known_as(w, layout, k, w.cpu[c, STASH + k])
        row[0, REGISTERS + k] = known_as(w, layout, k, w.cpu[c, REGISTERS + k])


@inline
def context_part(w: World, layout: Layout, x: int, row: Ints) -> None:
    """Write what is known of context `x` into `row`: its latest version is 1, older ones are 0."""
    copy_record(w.context, x, row, 0)
    row[0, KERNEL_IMAGE] = known_as(w, layout, V, w.context[x, KERNEL_IMAGE])
    row[0, KERNEL_LATEST] = kernel_of(x) + VERSION
    if w.features:
        row[0, SVE_IMAGE] = known_as(w, layout, V, w.context[x, SVE_IMAGE])
    for k in range(V, classes_end(w), PER_CLASS):
        row[0, IMAGE + k] = known_as(w, layout, k, w.context[x, IMAGE + k])
        row[0, LATEST + k] = own(x) + VERSION
        row[0, INITIAL + k] = own(x) + (VERSION if w.context[x, INITIAL + k] == w.context[x, LATEST + k] else 0)
        row[0, BIRTH + k] = own(x)
    if w.followed:
        leave_out(w, x, row)


@inline
def leave_out(w: World, x: int, row: Ints) -> None:
    """Leave out of `row` what is known of those values of context `x` that are not looked at."""
    for k in range(V, classes_end(w), PER_CLASS):
        if not is_followed(w, k, x):
            row[0, INITIAL + k] = own(x)
            if row[0, IMAGE + k] == ZEROS:
                row[0, IMAGE + k] = NOBODYS
    if w.features and not is_followed(w, Z, x):
        row[0, DISCARDABLE] = 0
    if w.features and not is_followed(w, V, x) and row[0, SVE_IMAGE] == ZEROS:
        row[0, SVE_IMAGE] = NOBODYS


@inline
def part_of(w: World, entity: int, layout: Layout, row: Ints) -> None:
    """Write what is known of an entity into `row`."""
    if entity < layout.cpus:
        cpu_part(w, layout, entity, row)
    else:
        context_part(w, layout, entity - layout.cpus, row)
    for i in range(COLUMNS):
        row[0, i] &= layout.matters[entity, i]
    if layout.wide:
        for i in range(COLUMNS, WIDE_COLUMNS):
            row[0, i] &= layout.matters[entity, i]
    row[0, row.shape[1] - 1] = entity


@inline
def restore(w: World, parts: Parts, i: int) -> None:
    """Write part `i` back into a world."""
    entity, cpus = parts.rows[i, parts.rows.shape[1] - 1], len(w.cpu)
    if entity < cpus:
        copy_record(parts.rows, i, w.cpu, entity)
    else:
        copy_record(parts.rows, i, w.context, entity - cpus)


@inline
def to_world(parts: Parts, state: State, w: World) -> None:
    """Write the state whose parts are `state` into a world."""
    for i in range(len(state)):
        restore(w, parts, state[i])


@inline
def from_world(w: World, layout: Layout, parts: Parts, row: Ints, state: State) -> None:
    """Write the parts of a world into `state`; `row` is scratch. There must be room for as many new parts."""
    for i in range(len(state)):
        part_of(w, i, layout, row)
        state[i] = number_of(parts, row, True)


# Keeping them.


@inline
def mixed(h: np.uint64, value: int) -> np.uint64:
    """Return hash `h` with one more value in it."""
    h = (h ^ np.uint64(value)) * _MIX
    return h ^ h >> np.uint64(32)


@inline
def folded(value: int) -> np.uint64:
    """Return a number whose lower half tells of the upper half, too."""
    return np.uint64(value) ^ np.uint64(value) >> np.uint64(32)


@inline
def hash_of_row(rows: Ints, i: int) -> int:
    """Return a hash of row `i`, not negative."""
    h = np.uint64(0)
    for j in range(COLUMNS):
        h += folded(rows[i, j]) * (_MIX + np.uint64(j) * _STEP)
    if rows.shape[1] > COLUMNS:
        for j in range(COLUMNS, WIDE_COLUMNS):
            h += folded(rows[i, j]) * (_MIX + np.uint64(j) * _STEP)
    return int(np.int64(mixed(h, 1) >> np.uint64(1)))


@bare
def enter_again(parts: Parts) -> None:
    """Enter all parts into the emptied hash table."""
    mask = len(parts.slots) - 1
    for i in range(1, parts.used[N_PARTS]):
        slot = hash_of_row(parts.rows, i) & mask
        while parts.slots[slot]:
            slot = (slot + 1) & mask
        parts.slots[slot] = i


@inline
def find_slot(parts: Parts, row: Ints) -> int:
    """Return where in the hash table the part `row` is, or where it belongs."""
    mask = len(parts.slots) - 1
    slot = hash_of_row(row, 0) & mask
    while parts.slots[slot] and not same_record(parts.rows, int(np.int64(parts.slots[slot])), row, 0):
        slot = (slot + 1) & mask
    return slot


@inline
def number_of(parts: Parts, row: Ints, learn: bool) -> int:
    """Return the number of the part `row`; if it was not seen before UNKNOWN, or if it may be learned a new one.

    There must be room for that.
    """
    slot = find_slot(parts, row)
    i = np.int64(parts.slots[slot])
    if i or not learn:
        return int(i)
    i = parts.used[N_PARTS]
    parts.used[N_PARTS] += 1
    parts.slots[slot] = i
    copy_record(row, 0, parts.rows, i)
    return int(i)


# Names.


@inline
def with_name(layout: Layout, p: int, meaning: int, value: int) -> int:
    """Return a number in a part under renaming `p`."""
    cpus = layout.cpus
    if meaning == PLAIN or (value == 0 and meaning != CONTEXT and meaning != THIS):
        return value
    if meaning <= OWNER:
        owner = owner_of(value)
        if owner <= SOFTIRQS:
            return value
        x = layout.new_name[p, cpus + context_of(owner)] - cpus
        return own(x) | owner & 1 | value & ~(VERSION - 1)
    if meaning == CPU:
        return int(layout.new_name[p, value - 1] + 1)
    if meaning == THIS:
        return int(layout.new_name[p, value])
    first = cpus if meaning == CONTEXT else cpus - 1
    return layout.new_name[p, first + value] - first if first + value < len(layout.group) else value


@inline
def rename(parts: Parts, layout: Layout, i: int, p: int, row: Ints) -> int:
    """Find out what part `i` becomes under renaming `p`; `row` is scratch. There must be room for a new part."""
    kind = 0 if parts.rows[i, parts.rows.shape[1] - 1] < layout.cpus else 1
    for j in range(row.shape[1]):
        row[0, j] = with_name(layout, p, layout.meaning[kind, j], parts.rows[i, j])
    new = number_of(parts, row, True)
    parts.renamed[i, p] = new
    return new


@dataclass(frozen=True, eq=False)
class Scratch(Struct):
    """Memory for one thread to work in."""

    row: Ints
    state: State  # a state as its parts; and two more
    after: State
    best: State
    ages: Ints  # of one move
    result: Ints  # of one move: its verdict; properties broken, entities changed, both as bits; what it counts as


def new_scratch(layout: Layout) -> Scratch:
    """Return memory for one thread."""
    entities, columns = layout.matters.shape
    state, after, best = (np.zeros(entities, np.uint32) for _ in range(3))
    return Scratch(
        np.zeros((1, columns), np.int64), state, after, best, ages=np.zeros(8, np.int64), result=np.zeros(4, np.int64)
    )


@inline
def set_to(state: State, other: State) -> None:
    """Make one state another."""
    for i in range(len(state)):
        state[i] = other[i]


@inline
def learn_names(parts: Parts, layout: Layout, state: State, row: Ints) -> None:
    """Find out what the parts of a state become under all renamings."""
    for i in range(len(state)):
        part = state[i]
        if parts.least[part, 0] != UNKNOWN:
            continue
        for p in range(len(layout.new_name)):
            if parts.renamed[part, p] == UNKNOWN:
                rename(parts, layout, part, p, row)
            name = np.int64(parts.renamed[part, p])
            if layout.new_name[p, i] == 0:  # it comes to place 0
                if parts.least[part, 0] == UNKNOWN or name < parts.least[part, 0]:
                    parts.least[part, 0], parts.least[part, 1] = name, 0
                if name == parts.least[part, 0]:
                    parts.least[part, 1] |= 1 << p
        if parts.least[part, 0] == UNKNOWN:
            parts.least[part, 0] = NO_CPU


@inline
def first_at_place_0(parts: Parts, layout: Layout, state: State) -> int:
    """Return the renamings that give a state the first name at place 0, as bits; 0 if some name is not known."""
    least, which = parts.least[state[0], 0], parts.least[state[0], 1]
    known = least != UNKNOWN
    for c in range(1, layout.cpus):
        name = parts.least[state[c], 0]
        known = known and name != UNKNOWN
        if name < least:
            least, which = name, 0
        if name == least:
            which |= parts.least[state[c], 1]
    return which if known else 0


@inline
def canonical(parts: Parts, layout: Layout, scratch: Scratch) -> bool:
    """Write what `scratch.after` is called when names mean nothing into `scratch.best`: the first of all its names.

    Place by place, only those renamings are kept that are first so far. Return False if a part's name under a renaming
    is not known yet.
    """
    state, best = scratch.after, scratch.best
    if len(layout.new_name) == 1:
        set_to(best, state)
        return True
    which, place, known = first_at_place_0(parts, layout, state), 1, True
    if which == 0:
        return False
    while which & which - 1:  # more than one is left
        least, rest, which = np.int64(1) << 62, which, 0
        p = 0
        while rest:
            if rest & 1:
                name = np.int64(parts.renamed[state[layout.old_name[p, place]], p])
                known = known and name != UNKNOWN
                if name < least:
                    least, which = name, 0
                if name == least:
                    which |= 1 << p
            rest >>= 1
            p += 1
        place += 1
        if place == len(best):
            break
    p = 0
    while not which >> p & 1:
        p += 1
    for i in range(len(best)):
        best[i] = parts.renamed[state[layout.old_name[p, i]], p]
        known = known and best[i] != UNKNOWN
    return known


@inline
def same(a: State, b: State) -> bool:
    """Tell whether two states are the same."""
    for i in range(len(a)):
        if a[i] != b[i]:
            return False
    return True


# Ages.


@inline
def fate(w: World, after: World, k: int, x: int) -> int:
    """Return what becomes of copies of context `x`'s values of class `k` when world `w` turns into `after`."""
    latest, birth = w.context[x, LATEST + k], after.context[x, BIRTH + k]
    if latest == after.context[x, LATEST + k] and own(x) >= birth:
        return 0
    bits = OLDER_STRANGE if own(x) < birth else 0
    if latest != after.context[x, LATEST + k]:
        bits |= LATEST_STALE if latest >= birth else LATEST_STRANGE
    return bits


@inline
def fate_of_all(w: World, after: World, x: int) -> int:
    """Return what becomes of copies of context `x`'s values when world `w` turns into `after`, as one number.

    0: nothing. Kernel-mode values die when their section ends or they are replaced.
    """
    all_bits = 0
    for k in range(V, classes_end(w), PER_CLASS):
        if is_followed(w, k, x):
            all_bits |= fate(w, after, k, x) << FATE_BITS * (k // PER_CLASS)
    dies = (
        is_followed(w, V, x)
        and in_section(w, x)
        and not (in_section(after, x) and w.context[x, KERNEL_LATEST] == after.context[x, KERNEL_LATEST])
    )
    if dies:
        all_bits |= KERNEL_DIES
    return all_bits << CONTEXT_BITS | x if all_bits else 0


@inline
def age_of(parts: Parts, fate: int, learn: bool) -> int:
    """Return the number of an age; UNKNOWN if it was not met before, or if it may be learned a new one."""
    for a in range(1, parts.used[N_AGES]):
        if parts.ages[a] == fate:
            return a
    if not learn:
        return UNKNOWN
    a = parts.used[N_AGES]
    parts.used[N_AGES] += 1
    parts.ages[a] = fate
    return int(a)


@inline
def aged_label(layout: Layout, k: int, fate: int, label: int) -> int:
    """Return what a label of class `k` is after an age."""
    x, owner = fate & (1 << CONTEXT_BITS) - 1, owner_of(label)
    if owner == kernel_of(x) and k != ZCR:
        return strangers(layout.followed) if fate >> CONTEXT_BITS & KERNEL_DIES else label
    if owner != own(x):
        return label
    bits = fate >> CONTEXT_BITS + FATE_BITS * (k // PER_CLASS)
    if label == owner:  # an older version
        return strangers(layout.followed) if bits & OLDER_STRANGE else label
    if bits & LATEST_STRANGE:
        return strangers(layout.followed)
    if bits & LATEST_STALE:
        return owner if layout.old else NOBODYS
    return label


@inline
def age(parts: Parts, layout: Layout, i: int, a: int, row: Ints) -> int:
    """Find out what part `i` becomes at age `a`; `row` is scratch. There must be room for a new part."""
    kind = 0 if parts.rows[i, parts.rows.shape[1] - 1] < layout.cpus else 1
    for j in range(row.shape[1]):
        meaning = layout.meaning[kind, j]
        row[0, j] = parts.rows[i, j]
        if LABEL <= meaning < OWNER:
            row[0, j] = aged_label(layout, meaning - LABEL, parts.ages[a], row[0, j])
    new = number_of(parts, row, True)
    parts.aged[i, a] = new
    return new
