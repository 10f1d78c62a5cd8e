"""What a policy does along a trace, event by event: whose values the registers hold, what was carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpstate.costs import Profile
from fpstate.policies.base import Policy, with_features
from fpstate.replay.compare import DEFAULT_VL, charges, owner_label
from fpstate.replay.engine import Outcome, features_for, first_threads, replay
from fpstate.rows.decisions import Rule, rule_of_row
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Kind, Trace
from fpstate.world import operations as did
from fpstate.world.events import MAYBE, Event
from fpstate.world.state import NOBODYS, VERSION, own

SAVES = [*range(did.N_SAVE_HOST, did.N_SAVE_KERNEL + 1), did.N_SAVE_SVE, did.N_SAVE_SVE + 1]
LOADS = [*range(did.N_LOAD_HOST, did.N_LOAD_KERNEL + 1), did.N_LOAD_SVE, did.N_LOAD_SVE + 1]
TRAPS = [did.N_USER_TRAP, did.N_GUEST_TRAP, did.N_SVE_TRAP, did.N_SVE_TRAP + 1, did.N_SME_TRAP]
"""Counters that make up the saves, loads and traps of `Figures`."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """One policy on one trace. The columns have one entry for each event that happened, in the order of the trace."""

    policy: str
    rows: Rows
    at: NDArray[np.int64]  # row of the trace
    owner: NDArray[np.int64]  # owner number (world.state) of what the CPU's registers hold after it
    row: NDArray[np.int32]  # row of the policy that decided, negative where no handler ran
    done: NDArray[np.uint8]  # [entry, N_*] operations carried out at it
    first: list[int]  # [CPU] owner number of what its registers hold before the first event
    outcome: Outcome  # of the whole replay


@dataclass(frozen=True)
class Source:
    """What some events cost under a policy: those of one name, or those that one task or vCPU took part in."""

    name: str
    times: int  # how many events
    saves: int
    loads: int
    traps: int
    charged: dict[str, float]  # as in `Figures`


def timeline(trace: Trace, policy: type[Policy], *, maybe: bool = True) -> Timeline:
    """Replay `trace` under `policy` and return what happened at each event; `maybe` as in `replay`."""
    rows = Rows(with_features(policy, features_for(policy, trace)))
    outcome = replay(trace, rows, maybe=maybe, keep_rows=True, keep_done=True)
    at = np.flatnonzero(outcome.held >= 0)
    cpus = max(trace.header.cpus, int(trace.cpu.max(initial=0)) + 1)
    first = [
        int(own(x)) if x >= 0 and trace.contexts.kind[x] == Kind.USER else NOBODYS
        for x in first_threads(trace, cpus).tolist()
    ]
    owner = outcome.held[at] & (VERSION - 1)
    return Timeline(policy.name, rows, at, owner, outcome.used[at], outcome.done[at], first, outcome)


def stretches(trace: Trace, line: Timeline, cpu: int) -> Iterator[tuple[int, int, int]]:
    """Yield (owner number, time it begins, time it ends) for each stretch of one owner in the registers of a CPU."""
    if not len(trace):
        return
    here = np.flatnonzero(trace.cpu[line.at] == cpu)
    owners = np.concatenate(([line.first[cpu]], line.owner[here]))
    times = np.concatenate(([trace.time[0]], trace.time[line.at[here]]))
    begins = np.flatnonzero(np.concatenate(([True], owners[1:] != owners[:-1])))
    ends = np.concatenate((times[begins[1:]], [trace.time[-1]]))
    for i, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if end > times[i] or i == begins[-1]:
            yield int(owners[i]), int(times[i]), int(end)


def longest(trace: Trace, line: Timeline, cpu: int, parts: int) -> list[int]:
    """Return the owner number that the registers of a CPU held longest, for each of so many equal parts of a trace."""
    held: list[dict[int, float]] = [{} for _ in range(parts)]
    begin = int(trace.time[0])
    part = max(1, int(trace.time[-1]) - begin) / parts
    for owner, start, end in stretches(trace, line, cpu):
        first, last = (start - begin) / part, (end - begin) / part
        for i in range(min(parts - 1, int(first)), min(parts - 1, int(last)) + 1):
            held[i][owner] = held[i].get(owner, 0) + min(last, i + 1) - max(first, i)
    return [max(owners, key=lambda owner: (owners[owner], -owner)) for owners in held]


def sources(trace: Trace, line: Timeline, *, vl: int = DEFAULT_VL) -> list[Source]:
    """Return where the operations come from, by the name of the event, that with most of them first."""
    kinds = trace.event[line.at].copy()
    for unsure, sure in MAYBE.items():
        kinds[kinds == unsure] = sure
    return _grouped(line, kinds, lambda kind: Event(kind).name.lower(), vl)


def by_context(trace: Trace, line: Timeline, *, vl: int = DEFAULT_VL) -> list[Source]:
    """Return at whose events the operations were carried out: at those of a vCPU, and at the others of each thread."""
    subject, second = trace.subject[line.at], trace.object[line.at]
    of_vcpu = (second >= 0) & (trace.contexts.kind[second] == Kind.VCPU)
    return _grouped(line, np.where(of_vcpu, second, subject), trace.contexts.label, vl)


def _grouped(line: Timeline, group: NDArray[Any], name: Callable[[int], str], vl: int) -> list[Source]:
    """Return what was carried out at the entries of each group that did anything, that with most of it first."""
    found = []
    for number in np.unique(group).tolist():
        counts = line.done[group == number].sum(axis=0, dtype=np.int64)
        if counts.any():
            saves, loads, traps = (int(counts[which].sum()) for which in (SAVES, LOADS, TRAPS))
            times = int((group == number).sum())
            found.append(Source(name(number), times, saves, loads, traps, charges(counts, vl)))
    return sorted(found, key=lambda s: (-(s.saves + s.loads + s.traps), s.name))


def cycles(line: Timeline, profile: Profile, *, vl: int = DEFAULT_VL) -> NDArray[np.float64]:
    """Return how many cycles what was done up to and with each entry has cost."""
    unit = np.eye(did.N_COUNTS, dtype=np.int64)
    each = [sum(n * profile.operations[op].cycles for op, n in charges(row, vl).items()) for row in unit]
    return np.cumsum(line.done @ np.array(each))


def whose(trace: Trace, owner: int) -> str:
    """Say whose values an owner number stands for, as a name on a picture."""
    return owner_label(trace, owner).removesuffix("'s")


def decision(line: Timeline, row: int) -> tuple[Rule, str]:
    """Return the row that decided, as a rule, and the file and line it was decided at."""
    return rule_of_row(line.rows, row), line.rows.where[row]
