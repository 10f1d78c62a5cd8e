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

from fpstate.check.moves import with_bits
from fpstate.check.parts import Parts
from fpstate.check.run import rebuild, setting_for
from fpstate.check.search import Found, Search
from fpstate.paths.properties import DEFAULT, bits_of
from fpstate.paths.scope import Scope, build
from fpstate.policies.base import Policy
from fpstate.rows.learn import Rows
from fpstate.rows.session import OP_NAMES
from fpstate.world.events import PARTICIPANTS, Event
from fpstate.world.state import Ints
from fpstate.world.table import R_CPU, R_OPS, R_POINTERS, R_SECOND, R_TASK

FOUND, EQUAL, HARMLESS, OPEN = "found", "equal", "harmless", "open"


@dataclass(frozen=True)
class Mutant:
    """One changed row: what was changed, and what came of it."""

    row: int
    what: str
    outcome: str
    property: int = 0


State = tuple[int, ...]
_BITS: int = 20  # of the number of a part, in all searches: so a state is the same words in each


class Ground:
    """A scope that is searched again and again, with the rows of one policy, learned or changed."""

    def __init__(self, rows: Rows, scope: Scope) -> None:
        self.scope = scope
        wanted = bits_of(DEFAULT)
        self.settings = [with_bits(setting_for(scope, rows, wanted, fold=True, zeros=z), _BITS) for z in (False, True)]
        self.parts: list[Parts | None] = [None, None]  # of all searches so far

    def search(self, rows: Rows, max_states: int = 5_000_000) -> Found:
        """Search the scope as `check` does: again where zeros are nobody's, if something was wrong where not."""
        found = Found(False, 0, 0, 0, {})
        for zeros in (False, True):
            start = build(self.scope, rows, zeros=zeros)[1]
            search = Search(rows, self.settings[zeros], start, cores=1, parts=self.parts[zeros])
            found = search.run(max_states)
            assert search.setting.bits == _BITS
            self.parts[zeros] = search.parts
            if not found.violation or rebuild(search, found, self.scope, bits_of(DEFAULT)):
                break
        return found


def mutations(rows: Rows, r: int) -> Iterator[tuple[str, Ints]]:
    """Yield every single change of row `r`, with a name for it."""
    row = rows.table.rows[r]
    event = Event(rows.names[r][0])
    ops = [int(row[R_OPS + 1 + i]) for i in range(int(row[R_OPS]))]
    for i, op in enumerate(ops):
        yield f"drop {OP_NAMES[op & 255]}", _with_ops(row, ops[:i] + ops[i + 1 :])
        if i + 1 < len(ops):
            yield "swap two operations", _with_ops(row, [*ops[:i], ops[i + 1], op, *ops[i + 2 :]])
    for role, column in (("cpu", R_CPU), ("task", R_TASK), ("second", R_SECOND)):
        yield from _kept_words(rows, r, event, role, column)
    for slot in range(6):
        if row[R_POINTERS] >> 3 * slot & 7:
            changed = row.copy()
            changed[R_POINTERS] &= ~(7 << 3 * slot)
            yield f"keep pointer {slot % 2} of {('cpu', 'task', 'second')[slot // 2]}", changed


def _with_ops(row: Ints, ops: list[int]) -> Ints:
    changed = row.copy()
    changed[R_OPS] = len(ops)
    changed[R_OPS + 1 :] = 0
    changed[R_OPS + 1 : R_OPS + 1 + len(ops)] = ops
    return changed


def _kept_words(rows: Rows, r: int, event: Event, role: str, column: int) -> Iterator[tuple[str, Ints]]:
    """Yield the row with one field of a word kept at what the view had."""
    vcpu = "vcpu" in PARTICIPANTS[event]
    codes = rows.codes(event, rows.names[r][1])
    for f in rows.fields.of(role, vcpu).values():
        old = codes.get((role, f.name))
        if f.pointer or old is None:
            continue
        mask = (1 << f.bits) - 1 << f.shift
        if int(rows.table.rows[r, column]) & mask != old << f.shift:
            changed = rows.table.rows[r].copy()
            changed[column] = int(changed[column]) & ~mask | old << f.shift
            yield f"keep {role}.{f.name}", changed


def try_mutants(policy: type[Policy], small: Scope, large: Scope, *, seed: int, count: int) -> list[Mutant]:
    """Try `count` mutants, drawn at random by `seed`, of the rows a search of `small` uses."""
    rows = Rows(policy)
    near, far = Ground(rows, small), Ground(rows, large)
    right = near.search(rows)
    assert right.complete
    assert right.violation is None
    reached = _states(right)
    every = [(r, what, changed) for r in _in_order(rows) for what, changed in mutations(rows, r)]
    chosen = np.random.default_rng(seed).permutation(len(every))[:count]
    tried = []
    for r, what, changed in (every[i] for i in sorted(chosen.tolist())):
        event = Event(rows.names[r][0]).name.lower()
        tried.append(Mutant(r, f"{event}: {what}", *_fate(_mutated(rows, r, changed), near, far, reached)))
    return tried


def _in_order(rows: Rows) -> list[int]:
    """Return the numbers of all rows in an order that does not hang on when they were learned."""
    return sorted(range(len(rows.names)), key=lambda r: rows.names[r])


def _mutated(rows: Rows, r: int, changed: Ints) -> Rows:
    """Return all rows as learned, but row `r` changed."""
    other = Rows(rows.policy)
    for e, key in rows.names:
        other.learn(e, key)
    other.table.rows[r] = changed
    return other


def _fate(rows: Rows, near: Ground, far: Ground, reached: set[State]) -> tuple[str, int]:
    """Return what comes of a mutant, and the properties it breaks."""
    found = near.search(rows)
    if found.violation:
        return FOUND, found.violation[2]
    if _states(found) <= reached:
        return EQUAL, 0
    found = far.search(rows)
    if found.violation:
        return FOUND, found.violation[2]
    return (HARMLESS if found.complete else OPEN), 0


def _states(found: Found) -> set[State]:
    return {shard.store.words_of(i) for shard in found.shards for i in range(shard.store.total)}
