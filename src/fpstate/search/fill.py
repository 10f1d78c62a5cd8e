"""The cheapest ways to fill in a policy's holes so that it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from fpstate.errors import FpstateError
from fpstate.policies.holes import completed, holes_of
from fpstate.search.judge import GOOD, Judge
from fpstate.search.open import Ways

Told = Callable[[int, int, str], None]
"""What is called with how many ways were looked at, how many were good, and what is being done."""


@dataclass(frozen=True)
class Filled:
    """A way that holds: the values of the holes, and its cost on each trace as a ratio to the bound."""

    values: dict[str, Any]
    ratios: tuple[float, ...]
    cost: float


@dataclass
class Search:
    """What was found: the cheapest first; how many ways there are, and what came of those that were looked at.

    `complete`: all ways were looked at or are ruled out by what came of others, so that none is cheaper.
    """

    ways: int
    best: list[Filled] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    complete: bool = False

    @property
    def looked_at(self) -> int:
        """How many ways were looked at."""
        return self.outcomes.total()


def fill(judge: Judge, *, keep: int, most: int, told: Told = lambda *_: None) -> Search:
    """Return the `keep` cheapest ways to fill in the holes of the judge's policy; look at no more than `most`.

    The first that holds is improved by one hole at a time; then all the others come, as far as they are not ruled out.
    Of ways that cost the same on each recording, the first is kept. Raise FpstateError if the policy
    has no holes.
    """
    holes = holes_of(judge.policy)
    if not holes:
        given = f"policy '{judge.policy.name}' has no holes"
        raise FpstateError(given, expected="`NAME = hole(CHOICE, CHOICE, ...)` in its class", hint="docs/finding.md")
    return _Filling(judge, {name: holes[name].choices for name in _order(judge, list(holes))}, keep, most, told).run()


class _Filling:
    """One search."""

    def __init__(self, judge: Judge, choices: dict[str, tuple[Any, ...]], keep: int, most: int, told: Told) -> None:
        self.judge, self.keep, self.most, self.told = judge, keep, most, told
        self.ways = Ways(choices)
        self.search = Search(self.ways.count)

    def run(self) -> Search:
        for improving in (True, False):
            for values in self.ways:
                if self.search.looked_at >= self.most:
                    return self.search
                self._look_at(values)
                if improving and self.search.best:
                    self._improve()
                    break
        self.search.complete = True
        return self.search

    def _look_at(self, values: dict[str, Any]) -> None:
        best, number = self.search.best, self.search.looked_at + 1
        limit = best[self.keep - 1].cost if len(best) >= self.keep else inf
        self.told(number, len(best), "replaying")
        judgement = self.judge.judge(values, limit, lambda what: self.told(number, len(best), what))
        self.search.outcomes[judgement.outcome] += 1
        if judgement.outcome == GOOD and all(judgement.ratios != each.ratios for each in best):
            best.append(Filled(dict(values), judgement.ratios, judgement.cost))
            best.sort(key=lambda each: each.cost)
            del best[self.keep :]
        self.ways.rule_out(values, judgement.asked)

    def _improve(self) -> None:
        """Change one hole of the best way at a time, until no change of one makes it better."""
        before = None
        while before is not self.search.best[0]:
            before = self.search.best[0]
            for name, choices in self.ways.choices.items():
                for choice in choices:
                    values = self.search.best[0].values | {name: choice}
                    if self.ways.is_open(values) and self.search.looked_at < self.most:
                        self._look_at(values)


def _order(judge: Judge, names: list[str]) -> list[str]:
    """Return the holes in an order good to search in: first those that the cost hangs on, as they are asked for."""
    policy = completed(judge.policy, {})
    for number in range(len(judge.measure.traces)):
        judge.measure.ratio(policy, number)
    asked = list(policy.completion.asked)  # type: ignore[attr-defined]
    return asked + [name for name in names if name not in asked]
