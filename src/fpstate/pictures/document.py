"""What a report shows, as one document: results of other rooms side by side. The page draws it and computes nothing."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpstate.costs import Profile
from fpstate.paths.blame import short_place
from fpstate.policies.base import Policy
from fpstate.policies.catalogue import about
from fpstate.replay.compare import Comparison, repriced
from fpstate.replay.engine import NONE
from fpstate.replay.fold import BY_BYTES, alike, left_open, names_of
from fpstate.replay.timeline import (
    LOADS,
    SAVES,
    TRAPS,
    Source,
    Timeline,
    by_context,
    decision,
    sources,
    timeline,
    whose,
)
from fpstate.replay.told import other_machine, weak_costs
from fpstate.replay.validate import policy_of_kernel
from fpstate.traces.describe import describe
from fpstate.traces.holes import HOLES
from fpstate.traces.trace import Kind, Trace
from fpstate.world.events import N_EVENTS, Event
from fpstate.world.state import NOBODYS, SOFTIRQS, context_of

SCHEMA = "fpstate.report/1"
MOST_ENTRIES = 2_000_000
"""Entries of all timelines of a trace together; beyond, the page would be too large to open."""


def profiles_json(profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """Return the cost profiles as the document has them."""
    return [
        {"name": p.name, "title": p.title, "cpu": p.cpu, "weak": p.weak, "operations": _ranges(p)} for p in profiles
    ]


def _ranges(profile: Profile) -> dict[str, Any]:
    return {name: {"cycles": o.cycles, "low": o.low, "high": o.high} for name, o in profile.operations.items()}


def policies_json(policies: Sequence[type[Policy]]) -> list[dict[str, Any]]:
    """Return what there is to say of each policy."""
    return [about(policy) for policy in policies]


def trace_json(
    trace: Trace,
    comparison: Comparison,
    policies: Sequence[type[Policy]],
    profiles: Sequence[Profile],
    vl: int,
    done: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Return all that the document has of one trace; `comparison` is by any of the profiles; `done` as in `compare`."""
    at = np.flatnonzero(trace.event < N_EVENTS)
    most = MOST_ENTRIES // max(1, len(at))
    found: dict[str, Any] = {}
    origins: dict[str, Any] = {}
    numbers: dict[int, int] = {}
    for policy in policies:
        line = timeline(trace, policy)
        origins[policy.name] = {
            "events": _sources_json(sources(trace, line, vl=vl), profiles),
            "contexts": _sources_json(by_context(trace, line, vl=vl), profiles),
        }
        if len(found) < most:
            found[policy.name] = timeline_json(trace, line, at, numbers)
        done()
    return {
        "trace": _about(trace),
        "kernel_policy": policy_of_kernel(trace),
        "by_costs": {p.name: _compared(repriced(comparison, p), p) for p in profiles},
        "origins": origins,
        "events": _events(trace, at if found else at[:0]),
        "contexts": [_context(trace, x) for x in range(len(trace.contexts))],
        "owners": [_owner(trace, owner) for owner in numbers],
        "timelines": found,
        "no_timelines": [p.name for p in policies if p.name not in found],
    }


def _about(trace: Trace) -> dict[str, Any]:
    """Return what `describe` says of a recording, and what each kind of hole means."""
    found = describe(trace)
    wanted = ("source", "format", "kernel", "mode", "clock", "arch", "cpus", "duration_ns", "lines", "rows", "kinds")
    kept = {name: found[name] for name in (*wanted, "observed", "unobserved", "lost", "missing")}
    kept["unobserved"] = [*other_machine(found["arch"]), *kept["unobserved"]]
    holes = [{**hole, "meaning": HOLES[hole["kind"]]} for hole in found["holes"]]
    return {**kept, "holes": holes, "begins_ns": int(trace.time[0]) if len(trace) else 0}


def _compared(comparison: Comparison, profile: Profile) -> dict[str, Any]:
    """Return a comparison by one profile, with the policies that did the same together, the cheapest first."""
    together = alike(comparison.policies)
    notes = left_open(comparison, profile, together)
    notes += [f"Note: {BY_BYTES}."] if any(p.features for p in comparison.policies) else []
    notes += weak_costs(comparison, profile)
    rows = [{"label": names_of(same), "policies": [p.name for p in same]} for same in together]
    found = comparison.to_json(profile)
    return {"bound": found["bound"], "policies": found["policies"], "rows": rows, "notes": notes}


def _sources_json(found: list[Source], profiles: Sequence[Profile]) -> list[dict[str, Any]]:
    """Return sources with the cycles that each operation takes by each profile; what takes none is left out."""
    every = []
    for source in found:
        cycles = {
            p.name: {op: n * p.operations[op].cycles for op, n in source.charged.items() if n * p.operations[op].cycles}
            for p in profiles
        }
        every.append({**asdict(source), "cycles": cycles})
    return every


def _events(trace: Trace, at: NDArray[np.int64]) -> dict[str, Any]:
    """Return the columns that all timelines share, one entry for each event that happened."""
    since = np.diff(trace.time[at], prepend=trace.time[:1]) if len(at) else at
    return {
        "names": [event.name.lower() for event in Event],
        "since": since.tolist(),
        "cpu": trace.cpu[at].tolist(),
        "event": trace.event[at].tolist(),
        "subject": trace.subject[at].tolist(),
        "object": np.maximum(trace.object[at], -1).tolist(),
        "line": trace.line[at].tolist(),
    }


def timeline_json(trace: Trace, line: Timeline, at: NDArray[np.int64], numbers: dict[int, int]) -> dict[str, Any]:
    """Return a timeline's columns for the rows `at` of the trace.

    At those of them that change nothing under the policy, a timeline has no entry: the registers stay as they are.
    `numbers` gets the place of each owner number in the document's `owners`.
    """
    owners, which = np.unique(np.concatenate((line.owner, line.first)), return_inverse=True)
    known = np.array([numbers.setdefault(int(owner), len(numbers)) for owner in owners], np.int64)[which]
    first = known[len(line.owner) :]
    entries = np.searchsorted(at, line.at)
    owner, row = np.empty(len(at), np.int64), np.full(len(at), NONE, np.int64)
    row[entries] = line.row
    for cpu, before in enumerate(first.tolist()):
        here = np.flatnonzero(trace.cpu[at] == cpu)
        acted = np.flatnonzero(trace.cpu[line.at] == cpu)
        so_far = np.searchsorted(entries[acted], here, side="right")  # how many entries of this CPU, up to each row
        owner[here] = np.concatenate(([before], known[acted]))[so_far]
    used, row = np.unique(np.maximum(row, NONE), return_inverse=True)
    counts = {name: np.zeros(len(at), np.int64) for name in _COUNTED}
    for name, counters in _COUNTED.items():
        counts[name][entries] = line.done[:, counters].sum(axis=1)
    return {
        "first": first.tolist(),
        "owner": owner.tolist(),
        "row": row.tolist(),
        "rows": [rule_json(line, int(r)) if r >= 0 else None for r in used],
        **{name: column.tolist() for name, column in counts.items()},
        "wrong": int(np.searchsorted(at, line.outcome.first)) if line.outcome.wrong else None,
    }


_COUNTED = {"saves": SAVES, "loads": LOADS, "traps": TRAPS}


def rule_json(line: Timeline, row: int) -> dict[str, Any]:
    """Return a row of a policy as a rule, with where it was decided."""
    rule, place = decision(line, row)
    return {**asdict(rule), **place_json(place)}


def place_json(place: str) -> dict[str, str]:
    """Return where something was decided, and the text of that line if it is one of a file of Python."""
    path, _, number = place.rpartition(":")
    text = linecache.getline(path, int(number)).strip() if path.endswith(".py") and number.isdigit() else ""
    return {"where": short_place(place), "text": text}


def _context(trace: Trace, x: int) -> dict[str, str]:
    return {"name": trace.contexts.label(x), "kind": Kind(int(trace.contexts.kind[x])).name.lower()}


def _owner(trace: Trace, owner: int) -> dict[str, str]:
    """Return whose values an owner number stands for, and what kind of context that is."""
    if owner in (NOBODYS, SOFTIRQS):
        return {"name": whose(trace, owner), "kind": "nobody" if owner == NOBODYS else "softirq"}
    kind = "kernel" if owner & 1 else Kind(int(trace.contexts.kind[context_of(owner)])).name.lower()
    return {"name": whose(trace, owner), "kind": kind}


def checked_json(name: str, results: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """Return the verdict on each property under a policy, with the counterexamples, told for the page.

    `results` are those of `check.each.check_each`, the same for all properties that hold together.
    """
    return {
        "policy": name,
        "scope": scope,
        "properties": {p: r.verdict for p, r in results.items()},
        "counterexamples": [_counterexample(p, r) for p, r in results.items() if r.path],
        "states": max(r.states for r in results.values()),
        "missing": sorted({event for r in results.values() for event in r.missing}),
    }


def _counterexample(name: str, result: Any) -> dict[str, Any]:
    """Return a path as `fpstate.check/1` has it, with the source lines of its decisions and the blame shortened."""
    from fpstate.paths.blame import shortened

    steps = [
        {**asdict(s), "decided": [place_json(place) for place in dict.fromkeys(s.decided)]} for s in result.path.steps
    ]
    blamed = [int(n) for n in re.findall(r"\bstep (\d+)", result.path.blame)]
    told = {"wrong": result.path.wrong, "blame": shortened(result.path.blame), "blamed": blamed}
    return {"property": name, "code": result.path.code, "cpus": result.scope.cpus, **told, "steps": steps}
