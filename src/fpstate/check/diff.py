"""Two policies row by row: on what both do in the same move of every order of events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fpstate.check.lockstep import HARDWARE, HARDWARE_OF_V, Comparison, compare_policies
from fpstate.errors import FpstateError
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy
from fpstate.rows.decisions import Rule, rule_of_row
from fpstate.rows.learn import Rows
from fpstate.world.operations import OOPS
from fpstate.world.table import R_CPU, R_OPS
from fpstate.world.wide import FREE_SVE

SAME, DIFFERENT, APART, INCOMPLETE = "same", "different", "apart", "incomplete"
MEANINGS: Final = {
    SAME: "the same operations, traps and values in every order of events",
    DIFFERENT: "other operations or values in some order of events",
    APART: "in some order of events one goes wrong alone, or may go on otherwise than the other",
    INCOMPLETE: "the bound on pairs of states was reached",
}


@dataclass(frozen=True)
class Line:
    """Rows of the two that were used in the same move, and whether they ask for the same; None: that one has none."""

    event: str
    first: Rule | None
    second: Rule | None
    equal: bool


@dataclass(frozen=True)
class Difference:
    """How two policies differ in a scope: what became of it all, and their rows side by side, in order of events."""

    names: tuple[str, str]
    scope: Scope
    verdict: str
    pairs: int
    lines: list[Line]

    @property
    def equal(self) -> int:
        """How many pairs of rows are equal."""
        return sum(line.equal for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as in docs/json.md."""
        rows = [
            {
                "event": line.event,
                "equal": line.equal,
                "first": vars(line.first) if line.first else None,
                "second": vars(line.second) if line.second else None,
            }
            for line in self.lines
        ]
        about = {"policies": list(self.names), "scope": vars(self.scope), "verdict": self.verdict}
        return about | {"pairs": self.pairs, "equal": self.equal, "rows": rows}


def diff(a: type[Policy], b: type[Policy], scope: Scope, *, max_pairs: int = 20_000_000) -> Difference:
    """Compare two policies in all orders of events of a scope. Raise FpstateError if their features differ."""
    if a.features != b.features:
        given = f"'{a.name}' has features {_listed(a)}, '{b.name}' {_listed(b)}"
        raise FpstateError(given, expected="the same for both")
    rows = Rows(a), Rows(b)
    found = compare_policies(*rows, scope, max_pairs=max_pairs)
    lines = _lines(rows, found)
    differs = found.operations or found.traps
    verdict = APART if found.apart else INCOMPLETE if not found.complete else DIFFERENT if differs else SAME
    return Difference((a.name, b.name), scope, verdict, found.pairs, lines)


def _listed(policy: type[Policy]) -> str:
    return ", ".join(sorted(policy.features)) or "none beside FPSIMD"


def _lines(rows: tuple[Rows, Rows], found: Comparison) -> list[Line]:
    a, b = rows
    lines: dict[tuple[Any, ...], Line] = {}
    met: tuple[set[int], set[int]] = set(), set()
    for i, j in np.argwhere(found.together[1:, 1:]).tolist():
        if _event(a, i) == _event(b, j):
            met[0].add(i)
            met[1].add(j)
            line = Line(_event(a, i), rule_of_row(a, i), rule_of_row(b, j), _asked(a, i) == _asked(b, j))
            lines.setdefault((a.names[i][0], line.first, line.second), line)
    for i in np.flatnonzero(found.together[1:, 0]).tolist():
        if i not in met[0]:
            line = Line(_event(a, i), rule_of_row(a, i), None, not _asked(a, i)[0])
            lines.setdefault((a.names[i][0], line.first, None), line)
    for j in np.flatnonzero(found.together[0, 1:]).tolist():
        if j not in met[1]:
            line = Line(_event(b, j), None, rule_of_row(b, j), not _asked(b, j)[0])
            lines.setdefault((b.names[j][0], None, line.second), line)
    return [lines[key] for key in sorted(lines, key=lambda key: (key[0], str(key[1:])))]


def _event(rows: Rows, r: int) -> str:
    return rows.event_of(rows.names[r][0]).name.lower()


def _asked(rows: Rows, r: int) -> tuple[list[int], int]:
    """Return what a row asks of the hardware: its operations, and the traps it leaves.

    An oops that hangs on who is meant is none of the row's: where it comes about, the two are apart. Nor is that
    storage is freed: a row may know that there is none, and what storage is left is compared with the values.
    """
    row = rows.table.rows[r]
    bits = HARDWARE if rows.policy.features else HARDWARE_OF_V
    asked = row[R_OPS + 1 : R_OPS + 1 + row[R_OPS]].tolist()
    return [code for code in asked if code & 255 not in (OOPS, FREE_SVE) or code == OOPS], int(row[R_CPU]) & bits
