"""Skeletons in many scopes, on many sets of recordings: a row for each search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fpstate.costs import load_profile
from fpstate.errors import FpstateError
from fpstate.fleet.digest import code_digest, costs_digest, digest, located, policy_digest, trace_digest
from fpstate.fleet.job import Ask, Job, Row
from fpstate.fleet.kind import NUMBER, REAL, TEXT, YES, Kind
from fpstate.named import chosen, trace_of
from fpstate.paths.scope import Scope
from fpstate.policies.base import with_features
from fpstate.policies.holes import holes_of
from fpstate.search.fill import fill
from fpstate.search.judge import Judge, Measure, measure

LABEL = {
    "skeleton": TEXT,
    "traces": TEXT,
    "costs": TEXT,
    "cpus": NUMBER,
    "tasks": NUMBER,
    "vcpus": NUMBER,
    "features": TEXT,
    "max_ways": NUMBER,
}
ANSWER = {
    "ways": NUMBER,
    "looked_at": NUMBER,
    "good": NUMBER,
    "complete": YES,
    "cost": REAL,
    "values": TEXT,
    "ratios": TEXT,
}


@dataclass(frozen=True)
class Searches:
    """What searches are made of: all combinations of these. `features` and `max_ways` are the same for each."""

    traces: Sequence[tuple[str, ...]]
    costs: Sequence[str] = ("altra-vhe",)
    cpus: Sequence[int] = (1,)
    tasks: Sequence[int] = (1,)
    vcpus: Sequence[int] = (1,)
    features: tuple[str, ...] = ()
    max_ways: int = 2000


def jobs(skeletons: Sequence[str], searches: Searches) -> list[Job]:
    """Return a job for each skeleton in each scope on each set of recordings by each profile.

    Raise FpstateError for what is not there or cannot be, and for a policy without holes.
    """
    made = []
    recorded = {name: trace_digest(name) for several in searches.traces for name in several}
    priced = {name: costs_digest(name) for name in searches.costs}
    scopes = [Scope(*numbers) for numbers in product(searches.cpus, searches.tasks, searches.vcpus)]
    for name in skeletons:
        what, policy = policy_digest(name), chosen(name)
        if not holes_of(policy):
            given = f"policy '{policy.name}' has no holes"
            raise FpstateError(
                given, expected="`NAME = hole(CHOICE, CHOICE, ...)` in its class", hint="docs/finding.md"
            )
        for feature in searches.features:
            with_features(policy, (feature,))
        for traces, costs, scope in product(searches.traces, searches.costs, scopes):
            label = {
                "skeleton": name,
                "traces": ",".join(traces),
                "costs": costs,
                "cpus": scope.cpus,
                "tasks": scope.tasks,
                "vcpus": scope.vcpus,
                "features": ",".join(searches.features),
                "max_ways": searches.max_ways,
            }
            hangs_on = {"skeleton": what, "traces": [recorded[trace] for trace in traces], "costs": priced[costs]}
            ask = Ask(label, digest(code=code_digest(), **label | hangs_on))
            more = {"policy": located(name), "traces": [located(t) for t in traces], "costs": located(costs)}
            about = f"{name} at {scope.counted()}"
            made.append(Job("search", about, (ask,), {**more, "features": searches.features}, code_digest()))
    return made


def prepare(job: Job) -> tuple[Any, Measure]:
    """Read the recordings; FpstateError if one cannot be read, or nothing has to be moved on it."""
    return job.given, measure([trace_of(t) for t in job.given["traces"]], load_profile(job.given["costs"]))


def answer_of(prepared: tuple[Any, Measure], ask: Ask) -> Row:
    """Search once, on one core."""
    given, measured = prepared
    asked = ask.label
    scope = Scope(asked["cpus"], asked["tasks"], asked["vcpus"])
    worlds = [(scope, ()), *((scope, (feature,)) for feature in given["features"])]
    found = fill(Judge(chosen(given["policy"]), measured, worlds, cores=1), keep=1, most=asked["max_ways"])
    best = found.best[0] if found.best else None
    return {
        "ways": found.ways,
        "looked_at": found.looked_at,
        "good": found.outcomes["good"],
        "complete": found.complete,
        "cost": best.cost if best else None,
        "values": json.dumps(best.values, default=str) if best else None,
        "ratios": json.dumps(list(best.ratios)) if best else None,
    }


KIND = Kind("search", LABEL, ANSWER, prepare, answer_of, ("the importer", "the replay", "the search"))
