"""A world as a few 64-bit words, so that states can be stored and compared whole.

A plan lists the fields that can differ between states: where each lies, how many bits it needs, and what its number
means. Meaning matters twice: versions become one bit (latest or not), and numbers of CPUs and contexts are renamed
when two worlds that differ only in names are folded into one (`canonical`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.check.scope import Scope, kinds_of
from fpstate.fields import Fields, width
from fpstate.jit import inline
from fpstate.world import order as O
from fpstate.world import wide as W
from fpstate.world.state import (
    C_CURRENT,
    C_OFF,
    C_PTR,
    C_REGS,
    C_SIZE,
    C_STASH,
    C_WORD,
    F_AARCH32,
    F_FPMR,
    F_GUEST_SVE,
    F_SME,
    F_SVE,
    FPEXC,
    FPMR,
    X_BIRTH,
    X_FRAME,
    X_IMAGE,
    X_INIT,
    X_KERNEL,
    X_KVER,
    X_MODE,
    X_POINT,
    X_PTR,
    X_RUNS,
    X_SECOND,
    X_SIZE,
    X_VER,
    X_WORD,
    Z_DEAD,
    Z_FRAME,
    Z_STORE,
    Z_SYSCALL,
    Z_WIDE,
    ZA,
    ZA_SVCR,
    ZCR,
    World,
    Z,
    context_base,
    kernel_owner,
    plane_size,
    softirq_owner,
)

# What the number in a field means.
PLAIN: Final = 0
LABEL: Final = 1  # an owner, and behind it a version, which becomes one bit
OWNER: Final = 2  # an owner number, or a context + 1
CPU: Final = 3  # a CPU + 1, 0 none
CONTEXT: Final = 4  # a context
INITIAL: Final = 5  # a version: is it the latest?
WIDE_LABEL: Final = 6  # a label in the plane of another class than V, with the versions of that plane
KINDS: Final = 7

F_PLACE: Final = 0  # columns of a plan: where in the world, bits, meaning, which word, shift
F_BITS: Final = 1
F_KIND: Final = 2
F_WORD: Final = 3
F_SHIFT: Final = 4
F_PLANE: Final = 5  # of a wide label: where the contexts of its plane start, and whether initial values are zeros
F_ZEROS: Final = 6

Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Plan:
    """How the worlds of one check are packed. `places[p, f]` is where field f lies under renaming p."""

    fields: NDArray[np.int32]
    places: NDArray[np.int32]
    owners: NDArray[np.int32]  # [p, owner number] -> its number under renaming p
    cpus: NDArray[np.int32]  # [p, CPU + 1] -> its number + 1 under renaming p
    names: NDArray[np.int32]  # [p, new context] -> old context
    words: int
    bits: int


def make_plan(
    scope: Scope, fields: Fields, *, kernel: bool, stash: bool, clear: bool, points: int, fold: bool, features: int = 0
) -> Plan:
    """Return the plan for a scope and a policy's fields.

    `kernel`, `stash`, `clear` say whether the policy ever names kernel-mode state, the stash, or clears registers;
    `points` how many points its handlers can have; `fold` whether worlds that differ only in names are one.
    """
    n = scope.cpus + scope.tasks + scope.kthreads + scope.vcpus
    base = scope.cpus * C_SIZE
    hotplug, signals = (kinds_of(scope.events) >> k & 1 for k in (O.DOWN, O.SIGNAL))
    neon = kinds_of(scope.events) >> O.NEON_BEGIN & 1
    owners_in_use = kernel_owner(n - 1, n) if neon or features else softirq_owner(n)
    owner_bits = int(owners_in_use).bit_length()
    listed: list[tuple[int, int, int]] = []
    pointers = {k: sum(bool(f.pointer) for f in fields.lists[k]) for k in fields.lists}
    for c in range(scope.cpus):
        at = c * C_SIZE
        listed.append((at + C_WORD, width(fields.lists["Cpu"]), PLAIN))
        listed += [(at + C_PTR + i, owner_bits, OWNER) for i in range(pointers["Cpu"])]
        listed.append((at + C_REGS, owner_bits + 1, LABEL))
        if stash:
            listed.append((at + C_STASH, owner_bits + 1, LABEL))
        listed += [(at + C_CURRENT, n.bit_length(), CONTEXT)]
        if hotplug:
            listed.append((at + C_OFF, 1, PLAIN))
    first_vcpu = n - scope.vcpus
    for x in range(n):
        at = base + x * X_SIZE
        entity = "Vcpu" if x >= first_vcpu else "Task"
        listed.append((at + X_WORD, width(fields.lists[entity]), PLAIN))
        listed += [(at + X_PTR + i, scope.cpus.bit_length(), CPU) for i in range(pointers[entity])]
        listed.append((at + X_IMAGE, owner_bits + 1, LABEL))
        if x >= first_vcpu and kinds_of(scope.events) >> O.FREE_VCPU & 1:
            listed.append((at + X_MODE, 4, PLAIN))
        if clear or features & F_SME:
            listed.append((at + X_INIT, 1, INITIAL))
        if scope.cpus <= x < first_vcpu:
            listed.append((at + X_MODE, 4, PLAIN))
        if x < first_vcpu:
            if kernel:
                listed.append((at + X_KERNEL, owner_bits + 1, LABEL))
            if points:
                listed += [(at + X_POINT, points.bit_length() + 1, PLAIN), (at + X_SECOND, (n + 1).bit_length(), OWNER)]
        if scope.cpus <= x < scope.cpus + scope.tasks:
            if scope.vcpus:
                listed.append((at + X_RUNS, n.bit_length(), OWNER))
            if signals and not features:
                listed.append((at + X_FRAME, 1, PLAIN))
    if features:
        listed += _wide_fields(scope, features, owner_bits, points)
    listed = sorted((f for f in listed if f[1]), key=lambda f: f[2])
    table = np.zeros((len(listed) + 1, KINDS), np.int32)
    table[0] = [1 + sum(f[2] <= kind for f in listed) for kind in range(KINDS)]
    word = shift = 0
    for i, (place, bits, kind) in enumerate(listed, 1):
        if shift + bits > 64:
            word, shift = word + 1, 0
        plane = place // plane_size(scope.cpus, n)
        table[i] = place, bits, kind, word, shift, plane * plane_size(scope.cpus, n) + base, plane == Z
        shift += bits
    maps = list(_renamings(scope)) if fold else [list(range(n))]
    places = np.array([[0, *(_moved(int(p), scope, m) for p in table[1:, F_PLACE])] for m in maps], np.int32)
    owners = np.array([[_owner(o, n, m) for o in range(kernel_owner(n - 1, n) + 1)] for m in maps], np.int32)
    cpus = np.array([[0, *(c + 1 for c in m[: scope.cpus])] for m in maps], np.int32)
    names = np.array([np.argsort(m) for m in maps], np.int32)
    return Plan(table, places, owners, cpus, names, word + 1, int(table[1:, F_BITS].sum()))


def _wide_fields(scope: Scope, features: int, owner_bits: int, points: int) -> list[tuple[int, int, int]]:
    """Return the fields of the planes beyond V's that a world with `features` needs: place, bits, meaning."""
    n = scope.cpus + scope.tasks + scope.kthreads + scope.vcpus
    classes = ((F_SVE, Z), (F_SVE, ZCR), (F_SME, ZA), (F_FPMR, FPMR), (F_AARCH32, FPEXC))
    used = [k for feature, k in classes if features & feature]
    listed = [(W.registers(k, c, scope.cpus, n), owner_bits + 1, WIDE_LABEL) for k in used for c in range(scope.cpus)]
    for x in range(scope.cpus, n):
        vcpu = x >= n - scope.vcpus
        if not vcpu and x >= scope.cpus + scope.tasks:
            continue
        at = W.record(Z, x, scope.cpus, n)
        if features & F_SVE and not vcpu:
            listed += [(at + Z_DEAD, 1, PLAIN), (at + Z_SYSCALL, 1, PLAIN), (at + Z_FRAME, int(points > 0), PLAIN)]
        elif not vcpu:
            listed.append((at + Z_SYSCALL, 1, PLAIN))
        if features & F_GUEST_SVE if vcpu else features & F_SVE:
            listed += [(at + Z_WIDE, owner_bits + 1, LABEL), (at + Z_STORE, 2, PLAIN)]
        if features & F_SME and not vcpu:
            listed.append((W.record(ZA, x, scope.cpus, n) + ZA_SVCR, 2, PLAIN))
        for k in used:
            own = W.record(k, x, scope.cpus, n)
            of_guests = k in (FPMR, FPEXC) or (k in (Z, ZCR) and features & F_GUEST_SVE)
            of_tasks = k in (Z, ZA, FPMR)
            if of_guests if vcpu else of_tasks:
                listed += [(own + X_IMAGE, owner_bits + 1, WIDE_LABEL), (own + X_INIT, 1, INITIAL)]
    return listed


def _renamings(scope: Scope) -> list[list[int]]:
    """Return all ways of renaming CPUs (with their idle threads), tasks, kernel threads and vCPUs; identity first."""
    start, groups = 0, []
    for count in (scope.cpus, scope.tasks, scope.kthreads, scope.vcpus):
        groups.append([[start + i for i in p] for p in itertools.permutations(range(count))])
        start += count
    return [list(itertools.chain(*parts)) for parts in itertools.product(*groups)]


def _moved(place: int, scope: Scope, to: list[int]) -> int:
    """Return where the field that the packed state has for `place` is found when context x is called `to[x]`."""
    back = {new: old for old, new in enumerate(to)}
    base = scope.cpus * C_SIZE
    size = plane_size(scope.cpus, len(to))
    plane, place = place // size * size, place % size
    if place < base:
        return plane + back[place // C_SIZE] * C_SIZE + place % C_SIZE
    x = (place - base) // X_SIZE
    return plane + base + back[x] * X_SIZE + (place - base) % X_SIZE


def _owner(owner: int, n: int, to: list[int]) -> int:
    if 1 <= owner <= n:
        return to[owner - 1] + 1
    if kernel_owner(0, n) <= owner < kernel_owner(n, n):
        return kernel_owner(to[owner - kernel_owner(0, n)], n)
    return owner


@inline
def label_value(w: World, place: int, owners: NDArray[np.int32], p: int, n: int, base: int) -> int:
    """Return what the label at `place` packs to: its owner, renamed, and whether the value is the owner's latest."""
    v = int(w[place])
    if v == 0:
        return W.ZEROS if len(w) > plane_size(base // C_SIZE, n) and w[place + 1] == W.ZEROS else 0
    if v <= n:
        x = base + (v - 1) * X_SIZE
        if w[place + 1] == w[x + X_VER]:
            return int(owners[p, v]) << 1 | 1
        if w[place + 1] >= w[x + X_BIRTH]:
            return 0 if len(w) > plane_size(base // C_SIZE, n) else int(owners[p, v]) << 1
        return softirq_owner(n) << 1  # of another program, task or vCPU that had this record before
    if v != softirq_owner(n):
        t = base + (v - kernel_owner(0, n)) * X_SIZE
        mode = w[t + X_MODE]
        in_section = mode == O.NEON or mode == O.RUN_NEON or mode == O.RUN_OUT_NEON
        if in_section and w[place + 1] == w[t + X_KVER]:
            return int(owners[p, v]) << 1 | 1
    return softirq_owner(n) << 1  # nobody will miss these kernel values, nobody may see them


@inline
def wide_label_value(w: World, place: int, plane: int, owners: NDArray[np.int32], p: int, n: int, zeros: bool) -> int:
    """Return what a label in another plane than V's packs to; zeros are owner 0's latest value.

    `plane` is where that plane's contexts start, `zeros` whether initial values of its class are zeros. An old value of
    its own is to its owner what a lost one is, and to others no more.
    """
    v = int(w[place])
    if v == 0:
        return int(w[place + 1])
    if v > n:
        return int(owners[p, v]) << 1  # the length a vCPU's image is laid out for
    x = plane + (v - 1) * X_SIZE
    if w[place + 1] == w[x + X_VER]:
        return W.ZEROS if zeros and w[x + X_INIT] == w[x + X_VER] else int(owners[p, v]) << 1 | 1
    return 0 if w[place + 1] >= w[x + X_BIRTH] else softirq_owner(n) << 1


@inline
def pack(
    w: World, fields: NDArray[np.int32], places: NDArray[np.int32], owners: NDArray[np.int32],
    cpus: NDArray[np.int32], p: int, n: int, base: int, out: Words,
) -> None:  # fmt: skip
    """Pack world `w` under renaming `p` into `out`."""
    # The first row of `fields` is no field: it says at which row each kind ends. Words are filled one after another.
    acc, word = np.uint64(0), 0
    for f in range(1, len(fields)):
        at = places[p, f]
        if f < fields[0, PLAIN]:
            v = int(w[at])
        elif f < fields[0, LABEL]:
            v = label_value(w, at, owners, p, n, base)
        elif f < fields[0, OWNER]:
            v = int(owners[p, w[at]])
        elif f < fields[0, CPU]:
            v = int(cpus[p, w[at]])
        elif f < fields[0, CONTEXT]:
            v = int(owners[p, w[at] + 1]) - 1
        elif f < fields[0, INITIAL]:
            v = 1 if w[at] == w[at + X_VER - X_INIT] else 0
        else:
            v = wide_label_value(w, at, fields[f, F_PLANE], owners, p, n, fields[f, F_ZEROS] == 1)
        if fields[f, F_WORD] != word:
            out[word] = acc
            acc, word = np.uint64(0), word + 1
        acc |= np.uint64(v) << np.uint64(fields[f, F_SHIFT])
    out[word] = acc


@inline
def kind_of_owner(v: int, n: int, first_vcpu: int, cpus: int, tasks: int) -> int:
    """Return what sort of owner `v` is, without saying which: a number from 0 to 5."""
    if v == 0:
        return 0
    if v > n:
        return 1
    if v <= cpus:
        return 2
    if v <= cpus + tasks:
        return 3
    return 4 if v <= first_vcpu else 5


@inline
def mark_label(w: World, place: int, n: int, z: O.Scope, base: int) -> int:
    """Return what can be said of a label without names: sort of owner, and whether the value is its latest."""
    v = int(w[place])
    kind = kind_of_owner(v, n, n - z[O.Z_VCPUS], z[O.Z_CPUS], z[O.Z_TASKS])
    if 1 <= v <= n:
        x = base + (v - 1) * X_SIZE
        if w[place + 1] == w[x + X_VER]:
            return kind << 1 | 1
        if w[place + 1] < w[x + X_BIRTH]:
            return 2
    return kind << 1


@inline
def mark_cpu(w: World, c: int, n: int, z: O.Scope, base: int) -> int:
    """Return what can be said of CPU `c` without names, as a number."""
    at = c * C_SIZE
    t = int(w[at + C_CURRENT])
    mark = mark_label(w, at + C_REGS, n, z, base) << 3
    mark |= kind_of_owner(t + 1, n, n - z[O.Z_VCPUS], z[O.Z_CPUS], z[O.Z_TASKS])
    mark = mark << 3 | kind_of_owner(w[at + C_PTR], n, n - z[O.Z_VCPUS], z[O.Z_CPUS], z[O.Z_TASKS])
    own = base + t * X_SIZE
    mark = mark << 5 | int(w[own + X_MODE]) << 1 | int(w[at + C_OFF])
    return mark << 16 ^ int(w[at + C_WORD]) ^ int(w[own + X_WORD]) << 8


@inline
def mark_context(w: World, x: int, n: int, z: O.Scope, base: int) -> int:
    """Return what can be said of context `x` without names, as a number."""
    at = base + x * X_SIZE
    mark = mark_label(w, at + X_IMAGE, n, z, base) << 5 | int(w[at + X_MODE]) << 1 | int(w[at + X_FRAME])
    mark = mark << 3 | (1 if w[at + X_PTR] else 0) | (2 if w[at + X_PTR + 1] else 0) | (4 if w[at + X_RUNS] else 0)
    running = 0
    for c in range(z[O.Z_CPUS]):
        if w[c * C_SIZE + C_CURRENT] == x:
            running |= 1
        if w[c * C_SIZE + C_REGS] == x + 1 and w[c * C_SIZE + C_REGS + 1] >= w[at + X_BIRTH]:
            running |= 2
    return (mark << 2 | running) << 16 ^ int(w[at + X_WORD]) ^ int(w[at + X_POINT]) << 12


@inline
def canonical(
    w: World, fields: NDArray[np.int32], places: NDArray[np.int32], owners: NDArray[np.int32],
    cpus: NDArray[np.int32], names: NDArray[np.int32], marks: NDArray[np.int64], z: O.Scope, n: int, base: int,
    best: Words, other: Words,
) -> None:  # fmt: skip
    """Pack world `w` under every renaming that puts the marks of its entities in order; leave the smallest in `best`.

    Marks do not depend on names, so two worlds that differ only in names have the same renamings to try; mostly one.
    `names[p, i]` is the old name of what renaming p calls i.
    """
    if len(places) == 1:
        pack(w, fields, places, owners, cpus, 0, n, base, best)
        return
    for c in range(z[O.Z_CPUS]):
        marks[c] = mark_cpu(w, c, n, z, base)
    for x in range(z[O.Z_CPUS], n):
        marks[x] = mark_context(w, x, n, z, base)
    ends_cpus, ends_tasks = z[O.Z_CPUS], z[O.Z_CPUS] + z[O.Z_TASKS]
    first_vcpu = n - z[O.Z_VCPUS]
    tried = False
    for p in range(len(places)):
        ordered = True
        for i in range(1, n):
            if i != ends_cpus and i != ends_tasks and i != first_vcpu and marks[names[p, i - 1]] > marks[names[p, i]]:
                ordered = False
                break
        if not ordered:
            continue
        if not tried:
            pack(w, fields, places, owners, cpus, p, n, base, best)
            tried = True
            continue
        pack(w, fields, places, owners, cpus, p, n, base, other)
        for i in range(len(best)):
            if other[i] != best[i]:
                if other[i] < best[i]:
                    for j in range(len(best)):
                        best[j] = other[j]
                break


@inline
def unpack(words: Words, at: int, fields: NDArray[np.int32], w: World, n: int, base: int) -> None:
    """Write the state whose words start at `words[at]` into world `w`; its latest versions become 1, others 0."""
    for x in range(n):
        w[base + x * X_SIZE + X_VER] = 1
        w[base + x * X_SIZE + X_KVER] = 1
        w[base + x * X_SIZE + X_INIT] = 0
        w[base + x * X_SIZE + X_BIRTH] = 0
    size = plane_size(base // C_SIZE, n)
    if len(w) > size:
        for k in range(1, len(w) // size):
            for x in range(n):
                w[k * size + base + x * X_SIZE + X_VER] = 1
                w[k * size + base + x * X_SIZE + X_INIT] = 0
                w[k * size + base + x * X_SIZE + X_BIRTH] = 0
    for f in range(1, len(fields)):
        bits = np.uint64(fields[f, F_BITS])
        v = int(
            words[at + fields[f, F_WORD]] >> np.uint64(fields[f, F_SHIFT]) & ((np.uint64(1) << bits) - np.uint64(1))
        )
        place = fields[f, F_PLACE]
        if fields[f, F_KIND] == LABEL or fields[f, F_KIND] == WIDE_LABEL:
            w[place] = v >> 1
            w[place + 1] = v & 1
        else:
            w[place] = v


assert context_base(1) == C_SIZE
