"""How often a task traps for SVE again after its state was loaded in FPSIMD form: what a timeout is to make rare.

    python benchmarks/sve_traps.py [TRACE] [POLICY]...

For each task that has trapped for SVE, from its first trap on: loads in FPSIMD form, and traps.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fpstate.named import chosen, trace_of
from fpstate.policies.base import Policy, with_features
from fpstate.replay.engine import features_in, replay
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Trace
from fpstate.world.operations import N_LOAD_HOST, N_SVE_TRAP


@dataclass(frozen=True)
class Task:
    """One task after its first trap of SVE: how often its state was loaded in FPSIMD form, and how often it trapped."""

    name: str
    loads: int
    traps: int


def tasks_of(trace: Trace, policy: type[Policy]) -> Iterator[Task]:
    """Yield the tasks that trap for SVE in a trace under a policy, with all uses taken to have happened."""
    rows = Rows(with_features(policy, features_in(trace) & policy.supports))
    done = replay(trace, rows, maybe=True, keep_done=True).done
    traps = done[:, N_SVE_TRAP] > 0
    for x in np.unique(trace.subject[traps]).tolist():
        first = int(np.argmax(traps & (trace.subject == x)))
        after = (trace.subject == x) & (np.arange(len(trace)) > first)
        yield Task(trace.contexts.name[x], int(done[after, N_LOAD_HOST].sum()), int(traps[after].sum()))


def main() -> None:
    """Print a table for each policy."""
    given = sys.argv[1:] or ["sve.vhe"]
    trace = trace_of(given[0])
    for policy in map(chosen, given[1:] or ["linux-7.2", "sve-timeout"]):
        print(policy.name)
        print(f"{'task':16} {'loads':>6} {'traps':>6} {'traps to loads':>15}")
        for task in tasks_of(trace, policy):
            share = f"{task.traps / task.loads:.0%}" if task.loads else "-"
            print(f"{task.name:16} {task.loads:6,} {task.traps:6,} {share:>15}")


if __name__ == "__main__":
    main()
