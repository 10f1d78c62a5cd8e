"""What a trace holds, in numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from fpstate.traces.trace import Kind, Trace
from fpstate.world.events import Event, Truth

SCHEMA_NAME = "fpstate.describe/1"
BUSIEST = 20


def describe(trace: Trace, *, busiest: int = BUSIEST) -> dict[str, Any]:
    """Return a summary that can be written as JSON.

    Keys: `schema`; `source`, `format`, `kernel`, `mode`, `clock`, `arch` of the recording; `cpus`; `lines` of the
    source; `rows` of the trace; `duration_ns` from the first to the last row; `events` and `truths`: rows by name;
    `kinds`: contexts by kind; `contexts`: the busiest, each with `name`, `tid`, `kind`, `events`; `observed`: recorded
    names; `unobserved`: sentences; `ignored`: lines by event name; `lost`: each loss with `cpu` (-1: unknown),
    `events`, `line`; `holes`: what must have happened and was not recorded, by `kind`, each with `times` and the `line`
    of the first; `missing`: what the recorder could not record; `sorted`: lines were put in order of time.
    """
    header = trace.header
    counts = np.bincount(trace.event, minlength=256)
    return {
        "schema": SCHEMA_NAME,
        "source": header.source,
        "format": header.format,
        "kernel": header.kernel,
        "mode": header.mode,
        "clock": header.clock,
        "arch": header.arch,
        "cpus": header.cpus,
        "lines": header.lines,
        "rows": len(trace),
        "duration_ns": int(trace.time[-1] - trace.time[0]) if len(trace) else 0,
        "events": {event.name.lower(): int(counts[event]) for event in Event if counts[event]},
        "truths": {truth.name.lower(): int(counts[truth]) for truth in Truth if counts[truth]},
        "kinds": _kinds(trace),
        "contexts": _busiest(trace, busiest),
        "observed": header.observed,
        "unobserved": header.unobserved,
        "ignored": header.ignored,
        "lost": header.lost,
        "holes": header.holes,
        "missing": header.missing,
        "sorted": header.sorted,
    }


def _kinds(trace: Trace) -> dict[str, int]:
    counts = Counter(trace.contexts.kind.tolist())
    return {kind.name.lower(): counts[kind] for kind in Kind}


def _busiest(trace: Trace, busiest: int) -> list[dict[str, Any]]:
    """Return the contexts with most rows as subject or object, truths not counted."""
    rows = trace.event < min(Truth)
    n = len(trace.contexts)
    taking_part = np.bincount(trace.subject[rows & (trace.subject >= 0)], minlength=n)
    taking_part += np.bincount(trace.object[rows & (trace.object >= 0)], minlength=n)
    order = np.argsort(-taking_part, kind="stable")[:busiest]
    return [
        {
            "name": trace.contexts.label(i),
            "tid": int(trace.contexts.tid[i]),
            "kind": Kind(int(trace.contexts.kind[i])).name.lower(),
            "events": int(taking_part[i]),
        }
        for i in order.tolist()
    ]
