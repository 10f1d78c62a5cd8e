"""What one way to fill in a policy's holes is worth: what it costs on recordings, and whether it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.costs import Profile
from fpstate.errors import FpstateError
from fpstate.paths.scope import Scope
from fpstate.paths.walk import Walker, follow
from fpstate.policies.base import Policy, with_features
from fpstate.policies.holes import Completion, completed
from fpstate.replay.compare import bound_figures, figures
from fpstate.replay.engine import features_for, replay
from fpstate.rows.learn import Learned, Rows
from fpstate.traces.trace import Trace

ByFeatures = dict[frozenset[str], Learned]
"""What was learned of a policy with holes, by the features of the world."""

REFUSED, WRONG, TOO_DEAR, OPEN, GOOD = "refused", "wrong", "too dear", "open", "good"
"""What can come of a way: its code asks for the impossible, it corrupts or leaks, others are cheaper, a search of it
found no end or never saw some event, it holds."""


@dataclass(frozen=True)
class Judgement:
    """What came of a way, and the holes that were asked for on the way to that; `ratios` by trace, if it is good.

    Of a good one these are the holes that its cost hangs on: those which agree on them are no cheaper.
    """

    outcome: str
    asked: tuple[str, ...]
    ratios: tuple[float, ...] = ()

    @property
    def cost(self) -> float:
        """The mean over the traces of what it costs there, as a ratio to the fewest transfers there can be."""
        return sum(self.ratios) / len(self.ratios)


@dataclass(frozen=True)
class Measure:
    """Recordings with the cycles of their bounds, and what operations cost."""

    traces: tuple[Trace, ...]
    bounds: tuple[float, ...]
    profile: Profile

    def ratio(
        self, policy: type[Policy], number: int, learned: dict[frozenset[str], Learned] | None = None
    ) -> float | None:
        """Return what a policy costs on one trace, as a ratio to its bound, high; None if it corrupts registers.

        `learned`: by features, what other ways to fill in the same policy's holes have learned.
        """
        trace = self.traces[number]
        features = features_for(policy, trace)
        known = None if learned is None else learned.setdefault(features, Learned())
        rows = Rows(with_features(policy, features), learned=known)
        outcome = replay(trace, rows, maybe=True)
        return None if outcome.wrong else figures(outcome, self.profile).cycles / self.bounds[number]


def measure(traces: Iterable[Trace], profile: Profile) -> Measure:
    """Return what policies are measured by; FpstateError for a trace on which nothing has to be moved."""
    read = tuple(traces)
    bounds = tuple(bound_figures(trace, profile, maybe=True).cycles for trace in read)
    for trace, least in zip(read, bounds, strict=True):
        trace.refuse_idle()
        if not least:
            raise FpstateError(
                "needs no transfer at all: no ratio to the fewest can be given",
                expected="a recording in which FP registers change hands",
                where=trace.header.source,
            )
    return Measure(read, bounds, profile)


class Judge:
    """Looks at ways to fill in the holes of one policy."""

    def __init__(
        self, policy: type[Policy], measure: Measure, worlds: Sequence[tuple[Scope, tuple[str, ...]]], *, cores: int = 2
    ) -> None:
        """Take the `worlds` in which a policy must hold, each a scope and features; the small ones first."""
        self.policy, self.measure, self.worlds, self.cores = policy, measure, worlds, cores
        self.learned: ByFeatures = {}

    def judge(self, values: Mapping[str, Any], limit: float, tell: Callable[[str], None] = lambda _: None) -> Judgement:
        """Return what comes of a way that must cost less than `limit`."""
        policy = completed(self.policy, values)
        asked = _completion(policy)
        ratios: list[float] = []
        try:
            for number in range(len(self.measure.traces)):
                ratio = self.measure.ratio(policy, number, self.learned)
                if ratio is None:  # a shortest path asks for fewer holes than a whole recording
                    return self._checked(values) or Judgement(WRONG, tuple(asked.asked))
                ratios.append(ratio)
                rest = len(self.measure.traces) - len(ratios)
                if sum(ratios) + rest >= limit * len(self.measure.traces):  # no ratio is below 1
                    return Judgement(TOO_DEAR, tuple(asked.asked))
            hangs_on = tuple(asked.asked)
            tell("checking")
            return self._checked(values) or Judgement(GOOD, hangs_on, tuple(ratios))
        except FpstateError:
            return Judgement(REFUSED, tuple(asked.asked) if not ratios else tuple(values))

    def _checked(self, values: Mapping[str, Any]) -> Judgement | None:
        """Return what is wrong with a way in the first world in which something is, None if it holds in all."""
        found = (self._wrong(values, scope, features) for scope, features in self.worlds)
        return next((wrong for wrong in found if wrong is not None), None)

    def _wrong(self, values: Mapping[str, Any], scope: Scope, features: tuple[str, ...]) -> Judgement | None:
        """Return what is wrong with a way in one scope, None if it holds there."""
        result = check(with_features(completed(self.policy, values), features), scope, cores=self.cores)
        if result.verdict == HOLDS:
            return None
        if result.verdict != VIOLATED or result.path is None:
            return Judgement(OPEN, tuple(values))
        again = completed(self.policy, values)  # the search has asked for more than the path needs
        walker = Walker(Rows(with_features(again, features), interruptible=True), scope)
        follow(walker, result.path.code, 0)
        return Judgement(WRONG, tuple(_completion(again).asked))


def _completion(policy: type[Policy]) -> Completion:
    return policy.completion  # type: ignore[attr-defined,no-any-return]
