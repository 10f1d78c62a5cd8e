"""The checker's own test: single changes to the rows of a correct policy must be found, or be shown to do no harm.

A mutant drops one operation, swaps two, or keeps an old flag or pointer, in one row that a search of the correct policy
used. It is *found* when a search is violated. One that is not is compared with the correct policy in lockstep, over all
orders of events: it asks for the *same operations* in each, so nobody ever acts upon what was changed; or it has the
*same values* everywhere a use finds them, by other work, and that is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fpstate.check.lockstep import Comparison, compare_policies
from fpstate.check.run import rebuild, searches
from fpstate.check.search import Found
from fpstate.paths.properties import DEFAULT, bits_of, first_name
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy
from fpstate.rows.learn import Rows
from fpstate.rows.session import OP_NAMES
from fpstate.world.events import PARTICIPANTS, Event
from fpstate.world.operations import WORK, kinds_of_work
from fpstate.world.state import Ints
from fpstate.world.table import R_CPU, R_OPS, R_POINTERS, R_SECOND, R_TASK

FOUND, SAME_OPERATIONS, SAME_VALUES, OPEN = "found", "same operations", "same values", "open"


@dataclass(frozen=True)
class Mutant:
    """One changed row: what was changed, what came of it, and how one that does no harm works otherwise."""

    row: int
    what: str
    outcome: str
    reason: str = ""


MAX_STATES = 5_000_000  # of a search


def search(rows: Rows, scope: Scope) -> Found:
    """Search a scope as `check` does."""
    found = Found(False, 0, 0, 0, {})
    for one in searches(rows, scope, bits_of(DEFAULT), fold=True, cores=1, forget=False):
        found = one.run(MAX_STATES)
        if not found.violation or rebuild(one, found, scope, bits_of(DEFAULT)):
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
        mask = f.mask
        if int(rows.table.rows[r, column]) & mask != old << f.shift:
            changed = rows.table.rows[r].copy()
            changed[column] = int(changed[column]) & ~mask | old << f.shift
            yield f"keep {role}.{f.name}", changed


def try_mutants(policy: type[Policy], scopes: list[Scope], *, seed: int, count: int) -> list[Mutant]:
    """Try `count` mutants, drawn at random by `seed`, of the rows that a search of the first of `scopes` uses.

    Each is searched for in all scopes; one that is not found is compared with the policy in the first.
    """
    rows = Rows(policy)
    right = search(rows, scopes[0])
    assert right.complete
    assert right.violation is None
    every = [(r, what, changed) for r in _in_order(rows) for what, changed in mutations(rows, r)]
    chosen = np.random.default_rng(seed).permutation(len(every))[:count]
    tried = []
    for r, what, changed in (every[i] for i in sorted(chosen.tolist())):
        event = Event(rows.names[r][0]).name.lower()
        tried.append(Mutant(r, f"{event}: {what}", *_fate(rows, _mutated(rows, r, changed), scopes)))
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


def _fate(rows: Rows, mutated: Rows, scopes: list[Scope]) -> tuple[str, str]:
    """Return what comes of a mutant, and the reason."""
    results = (search(mutated, scope) for scope in scopes)
    violated = next((found.violation for found in results if found.violation), None)
    if violated:
        return FOUND, first_name(violated[2])
    compared = compare_policies(rows, mutated, scopes[0])
    if compared.apart or not compared.complete:
        return OPEN, "other events may follow" if compared.apart else "too many pairs of worlds"
    same = not compared.operations and not compared.traps
    return (SAME_OPERATIONS, "") if same else (SAME_VALUES, work_of(compared))


def work_of(compared: Comparison) -> str:
    """Say which operations the second of two policies carries out more or less often than the first, by kind."""
    parts = []
    for name, numbers in WORK.items():
        more, fewer = (sum(counts[i] for i in numbers) for counts in (compared.more, compared.fewer))
        which = "more and fewer" if more and fewer else "more" if more else "fewer"
        parts += [f"{kinds_of_work(name)} {which}"] * bool(more or fewer)
    parts += ["traps on other uses"] * bool(compared.traps)
    return ", ".join(parts) or "the same operations on other places"
