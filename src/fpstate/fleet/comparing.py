"""Policies on many traces: a row for each policy on each trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from fpstate.costs import OPERATIONS, Profile, load_profile
from fpstate.fleet.digest import code_digest, costs_digest, digest, located, policy_digest, same_policy, trace_digest
from fpstate.fleet.job import Ask, Job, Row
from fpstate.fleet.kind import NUMBER, REAL, TEXT, Kind
from fpstate.named import chosen, trace_of
from fpstate.policies.base import Policy
from fpstate.replay.compare import Compared, Figures, bounds_of, compared, rows_for
from fpstate.replay.engine import features_for
from fpstate.replay.told import corrupts_where
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Trace

NUMBERS = {f.name: REAL if f.name.startswith("cycles") else NUMBER for f in fields(Figures) if f.name != "charged"}
FIGURES = NUMBERS | {f"charged_{op}": REAL for op in OPERATIONS}
LABEL = {"trace": TEXT, "policy": TEXT, "costs": TEXT, "vl": NUMBER}
ANSWER = {
    "events": NUMBER,
    "features": TEXT,
    "broken": NUMBER,
    "broken_first": TEXT,
    "ratio_low": REAL,
    "ratio_high": REAL,
    "bound_low": REAL,
    "bound_high": REAL,
    **{f"{side}_{name}": what for side in ("low", "high") for name, what in FIGURES.items()},
}


def jobs(traces: Sequence[str], policies: Sequence[str], costs: str, vl: int) -> list[Job]:
    """Return a job for each trace; FpstateError for a policy or profile that is not there."""
    named = {name: policy_digest(name) for name in policies}
    given = {
        "policies": {name: (located(name), what, chosen(name).source) for name, what in named.items()},
        "costs": located(costs),
        "vl": vl,
    }
    priced = costs_digest(costs)
    made = []
    for trace in traces:
        what = trace_digest(trace)
        asks = [
            Ask(
                {"trace": trace, "policy": name, "costs": costs, "vl": vl},
                digest(code=code_digest(), trace=what, policy=policy, costs=priced, vl=vl),
            )
            for name, policy in named.items()
        ]
        made.append(Job("compare", trace, tuple(asks), given | {"trace": located(trace)}, code_digest()))
    return made


@dataclass
class Read:
    """A trace that is read, with its bounds; and of each policy asked about, where it is found, digest and source."""

    trace: Trace
    bounds: tuple[Figures, Figures]
    profile: Profile
    vl: int
    policies: dict[str, tuple[str, str, str]]


def prepare(job: Job) -> Read:
    """Read the trace of a job; FpstateError if it cannot be read, or if nothing happens in it."""
    trace, profile = trace_of(job.given["trace"]), load_profile(job.given["costs"])
    trace.refuse_idle()
    return Read(trace, bounds_of(trace, profile), profile, job.given["vl"], job.given["policies"])


def answer_of(read: Read, ask: Ask) -> Row:
    """Replay the trace under one policy."""
    policy = _policy(*read.policies[ask.label["policy"]])
    try:
        found = compared(read.trace, policy, _rows(read.trace, policy), read.bounds, read.profile, vl=read.vl)
    except BaseException:
        _LEARNED.clear()  # what was being learned is not whole
        raise
    return _row(read, found)


@cache
def _policy(name: str, _digest: str, source: str) -> type[Policy]:
    return same_policy(name, source)


_LEARNED: dict[tuple[type[Policy], frozenset[str]], Rows] = {}
"""Rows learned in this process, by policy and the features of the traces they serve: nine tenths of a replay."""


def _rows(trace: Trace, policy: type[Policy]) -> Rows:
    key = policy, features_for(policy, trace)
    if key not in _LEARNED:
        _LEARNED[key] = rows_for(trace, policy)
    return _LEARNED[key]


def _row(read: Read, found: Compared) -> Row:
    row: dict[str, Any] = {
        "events": len(read.trace),
        "features": ",".join(found.features),
        "broken": found.broken.times if found.broken else 0,
        "broken_first": corrupts_where(found.broken) if found.broken else None,
        "ratio_low": found.ratio_low,
        "ratio_high": found.ratio_high,
        "bound_low": read.bounds[0].cycles,
        "bound_high": read.bounds[1].cycles,
    }
    for side, figures in (("low", found.low), ("high", found.high)):
        row |= {f"{side}_{name}": getattr(figures, name) for name in NUMBERS}
        row |= {f"{side}_charged_{op}": float(times) for op, times in figures.charged.items()}
    return row


KIND = Kind("compare", LABEL, ANSWER, prepare, answer_of, ("the importer", "the replay"))
