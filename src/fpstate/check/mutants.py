"""The checker's own test: single changes to the rows of a correct policy must be found, or do no harm.

A mutant drops one operation, swaps two, or keeps an old flag or pointer, in one row that a search of the correct policy
used. It is *found* when the search is violated, *equal* when it reaches only states the correct policy reaches as well.
The others are searched again in a larger scope: found there, or *harmless*: every order of events there holds, so the
mutant is a correct policy itself (one side of a two-sided test, or a reload nobody needed). Those are listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fpstate.check.run import plan_for
from fpstate.check.search import Found, Search
from fpstate.paths.properties import DEFAULT, bits_of
from fpstate.paths.scope import Scope, build
from fpstate.policies.base import Policy
from fpstate.rows.learn import Rows
from fpstate.rows.session import OP_NAMES
from fpstate.world import step as S
from fpstate.world.events import PARTICIPANTS, Event

FOUND, EQUAL, HARMLESS, OPEN = "found", "equal", "harmless", "open"


@dataclass(frozen=True)
class Mutant:
    """One changed row: what was changed, and what came of it."""

    row: int
    what: str
    outcome: str
    property: int = 0


def search(rows: Rows, scope: Scope, max_states: int = 5_000_000) -> Found:
    """Search a scope with these rows, learned or changed."""
    z, world = build(scope, rows)
    plan = plan_for(scope, rows, fold=True)
    return Search(rows, plan, z, world, wanted=bits_of(DEFAULT), cores=1).run(max_states)


def mutations(rows: Rows, r: int) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Yield every single change of row `r`, with a name for it."""
    row = rows.table[r]
    event = Event(rows.names[r][0])
    ops = [int(row[S.R_OPS + 1 + i]) for i in range(int(row[S.R_OPS]))]
    for i, op in enumerate(ops):
        yield f"drop {OP_NAMES[op & 255]}", _with_ops(row, ops[:i] + ops[i + 1 :])
        if i + 1 < len(ops):
            yield "swap two operations", _with_ops(row, [*ops[:i], ops[i + 1], op, *ops[i + 2 :]])
    for role, column in (("cpu", S.R_CPU), ("task", S.R_TASK), ("second", S.R_SECOND)):
        yield from _kept_words(rows, r, event, role, column)
    for slot in range(6):
        if row[S.R_PTRS] >> 3 * slot & 7:
            changed = row.copy()
            changed[S.R_PTRS] &= ~(7 << 3 * slot)
            yield f"keep pointer {slot % 2} of {('cpu', 'task', 'second')[slot // 2]}", changed


def _with_ops(row: NDArray[np.int32], ops: list[int]) -> NDArray[np.int32]:
    changed = row.copy()
    changed[S.R_OPS] = len(ops)
    changed[S.R_OPS + 1 :] = 0
    changed[S.R_OPS + 1 : S.R_OPS + 1 + len(ops)] = ops
    return changed


def _kept_words(rows: Rows, r: int, event: Event, role: str, column: int) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Yield the row with one field of a word kept at what the view had."""
    vcpu = "vcpu" in PARTICIPANTS[event]
    codes = rows.codes(event, rows.names[r][1])
    for f in rows.fields.of(role, vcpu).values():
        old = codes.get((role, f.name))
        if f.pointer or old is None:
            continue
        mask = (1 << f.bits) - 1 << f.shift
        if int(rows.table[r, column]) & mask != old << f.shift:
            changed = rows.table[r].copy()
            changed[column] = int(changed[column]) & ~mask | old << f.shift
            yield f"keep {role}.{f.name}", changed


def try_mutants(policy: type[Policy], small: Scope, large: Scope, *, seed: int, count: int) -> list[Mutant]:
    """Try `count` mutants, drawn at random by `seed`, of the rows a search of `small` uses."""
    rows = Rows(policy)
    right = search(rows, small)
    assert right.complete
    assert right.violation is None
    reached = _states(right)
    every = [(r, what, changed) for r in range(len(rows.names)) for what, changed in mutations(rows, r)]
    order = np.random.default_rng(seed).permutation(len(every))[:count]
    tried = []
    for r, what, changed in (every[i] for i in sorted(order.tolist())):
        event = Event(rows.names[r][0]).name.lower()
        tried.append(Mutant(r, f"{event}: {what}", *_fate(_mutated(rows, r, changed), small, large, reached)))
    return tried


def _mutated(rows: Rows, r: int, changed: NDArray[np.int32]) -> Rows:
    """Return all rows as learned, but row `r` changed."""
    other = Rows(rows.policy)
    for e, key in rows.names:
        other.learn(e, key)
    other.table[r] = changed
    return other


def _fate(rows: Rows, small: Scope, large: Scope, reached: set[tuple[int, ...]]) -> tuple[str, int]:
    """Return what comes of a mutant, and the properties it breaks."""
    found = search(rows, small)
    if found.violation:
        return FOUND, found.violation[2]
    if _states(found) <= reached:
        return EQUAL, 0
    found = search(rows, large)
    if found.violation:
        return FOUND, found.violation[2]
    return (HARMLESS if found.complete else OPEN), 0


def _states(found: Found) -> set[tuple[int, ...]]:
    return {shard.words_of(i) for shard in found.shards for i in range(shard.total)}
