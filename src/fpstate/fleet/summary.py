"""What a table of a fleet says in the end: per policy how often what came out, and quantiles of figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fpstate.fleet.job import Row

if TYPE_CHECKING:
    import pyarrow as pa

    from fpstate.fleet.go import Done

AT = {"least": 0.0, "q10": 0.1, "median": 0.5, "q90": 0.9, "most": 1.0}
"""The quantiles that are told; between two values they are interpolated."""
NO_ANSWER = "no answer"
"""What came out where a row has an error."""


@dataclass(frozen=True)
class Told:
    """What of a kind of rows is told: by which column, what came out of a row, and which figures' quantiles.

    `findings` are outcomes that the exit code tells, `unsure` those that decide nothing; the column `why` says of a
    finding what was found.
    """

    by: str
    outcome: Callable[[Row], str]
    outcomes: tuple[str, ...]
    figures: tuple[str, ...]
    findings: tuple[str, ...]
    why: str
    unsure: tuple[str, ...] = ()


def _of_compare(row: Row) -> str:
    return "corrupts" if row["broken"] else "right"


def _of_check(row: Row) -> str:
    return str(row["verdict"])


def _of_run(row: Row) -> str:
    return "wrong" if not row["ok"] else "running" if row["running"] else "right"


def _of_search(row: Row) -> str:
    if row["complete"]:
        return "none holds" if row["cost"] is None else "cheapest"
    return "open" if row["cost"] is None else "good"


TOLD = {
    "compare": Told(
        "policy", _of_compare, ("right", "corrupts"), ("ratio_high", "high_cycles"), ("corrupts",), "broken_first"
    ),
    "check": Told(
        "policy",
        _of_check,
        ("holds", "violated", "not reached", "incomplete"),
        ("states", "depth"),
        ("violated",),
        "property",
        unsure=("not reached", "incomplete"),
    ),
    "run": Told(
        "policy",
        _of_run,
        ("right", "wrong", "running"),
        ("saves", "loads", "traps"),
        ("wrong",),
        "first_wrong",
        unsure=("running",),
    ),
    "search": Told(
        "skeleton",
        _of_search,
        ("cheapest", "good", "none holds", "open"),
        ("cost",),
        ("none holds",),
        "ways",
        unsure=("good", "open"),
    ),
}


@dataclass(frozen=True)
class OfPolicy:
    """One policy: its `rows`, how many of them came out how, and of each figure the quantiles, None without any.

    `first`: label of the first row with a finding, and `why`; None if there is none.
    `cheapest`: on so many traces no other policy that was asked costs less; of `compare` alone.
    """

    name: str
    rows: int
    outcomes: dict[str, int]
    quantiles: dict[str, dict[str, float] | None]
    first: Row | None = None
    cheapest: int | None = None


@dataclass(frozen=True)
class Summary:
    """All policies, in the order asked; `failed`: label and error of each row without an answer.

    `telling`: the columns of the label, other than the policy, in which rows differ.
    """

    kind: str
    policies: list[OfPolicy]
    failed: list[Row]
    telling: list[str]

    def has(self, outcomes: tuple[str, ...]) -> bool:
        """Return whether one of these came out anywhere."""
        return any(p.outcomes.get(name) for p in self.policies for name in outcomes)

    def exit_code(self, done: Done) -> int:
        """Return 3 if not all has an answer, 1 if something was found, 3 if something is undecided, else 0."""
        told = TOLD[self.kind]
        if done.left or self.failed:
            return 3
        return 1 if self.has(told.findings) else 3 if self.has(told.unsure) else 0

    def to_json(self) -> dict[str, Any]:
        """Return the summary as in docs/json.md."""
        return {"policies": [asdict(p) for p in self.policies], "failed": self.failed}


def summary(kind: str, rows: pa.Table, label: list[str]) -> Summary:
    """Return what rows of a kind say; `label` are the columns by which a row is told."""
    told = TOLD[kind]
    names = dict.fromkeys([*label, "error", *told.figures, *_NEEDED[kind], told.why])
    found = rows.select(list(names)).to_pylist()
    by: dict[str, list[Row]] = {}
    for row in found:
        by.setdefault(row[told.by], []).append(row)
    cheapest = _cheapest(found) if kind == "compare" else None
    policies = [_of_policy(told, label, own, None if cheapest is None else cheapest[n]) for n, own in by.items()]
    failed = [{name: row[name] for name in (*label, "error")} for row in found if row["error"] is not None]
    telling = [name for name in label if name != told.by and len({row[name] for row in found}) > 1]
    return Summary(kind, policies, failed, telling)


_NEEDED = {
    "compare": ("broken",),
    "check": ("verdict",),
    "run": ("ok", "running"),
    "search": ("complete", "cost"),
}


def _of_policy(told: Told, label: list[str], rows: list[Row], cheapest: int | None) -> OfPolicy:
    outcomes, first = dict.fromkeys((*told.outcomes, NO_ANSWER), 0), None
    for row in rows:
        came = NO_ANSWER if row["error"] is not None else told.outcome(row)
        outcomes[came] += 1
        if came in told.findings and first is None:
            first = {**{name: row[name] for name in label}, "why": row[told.why]}
    figures = {f: [row[f] for row in rows if row["error"] is None and row[f] is not None] for f in told.figures}
    quantiles = {f: _quantiles(np.array(values)) if values else None for f, values in figures.items()}
    return OfPolicy(rows[0][told.by], len(rows), outcomes, quantiles, first, cheapest)


def _quantiles(values: NDArray[Any]) -> dict[str, float]:
    return dict(zip(AT, np.quantile(values, list(AT.values())).tolist(), strict=True))


def _cheapest(rows: list[Row]) -> dict[str, int]:
    """Return on how many traces each policy costs no more than any other that does not corrupt there."""
    least: dict[str, float] = {}
    right = [row for row in rows if row["error"] is None and not row["broken"]]
    for row in right:
        least[row["trace"]] = min(row["high_cycles"], least.get(row["trace"], row["high_cycles"]))
    counts = dict.fromkeys((row["policy"] for row in rows), 0)
    for row in right:
        counts[row["policy"]] += row["high_cycles"] == least[row["trace"]]
    return counts
