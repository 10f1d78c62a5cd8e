"""The policies that learn, beside the clairvoyant bound and the best policy that does not learn, on each recording.

    python benchmarks/bench_adaptive.py [--short] [TRACE]...

Without TRACE: the recordings of the package, and three made-up mixes (seeds 1 to 3). `--short` takes four recordings.
What the trace does not show is taken to have happened; costs are those of altra-vhe, at their points. A star marks
what misses the aim: at most 1.25 times the bound where that has more than 100 transfers, and no dearer than the best.
"""

from __future__ import annotations

import sys

from fpstate.costs import load_profile
from fpstate.policies.catalogue import policies
from fpstate.replay.compare import compare
from fpstate.traces.generate import mixed_trace
from fpstate.traces.samples import open_trace, sample_names
from fpstate.traces.trace import Trace

LEARNING = ("adaptive", "adaptive-wiped", "adaptive-dirty")
SHORT = ("kneon.vhe", "mmio-int.vhe", "signals.vhe", "smp4-mixed.vhe")
AIM = 1.25
FEWEST = 100  # transfers in the bound


def recordings() -> dict[str, Trace]:
    """Return the traces asked for, by name."""
    short = "--short" in sys.argv
    named = [a for a in sys.argv[1:] if a != "--short"] or (SHORT if short else sample_names())
    traces = {name.rpartition("/")[2].removesuffix(".trace.txt.gz"): open_trace(name) for name in named}
    if len(sys.argv) == 1:
        traces |= {f"made up, seed {seed}": mixed_trace(20_000, seed=seed, cpus=2) for seed in (1, 2, 3)}
    return traces


def main() -> None:
    """Print a row for each recording: cycles to the bound's, and of `adaptive-dirty` to those of the best other."""
    costs = load_profile("altra-vhe")
    print(f"{'recording':20} {'transfers':>9}  {'best other':18} {'':>6}", *(f"{n:>15}" for n in LEARNING), " to best")
    for name, trace in recordings().items():
        found = compare(trace, policies().values(), costs)
        low = found.bound_high
        # who does not know SVE moves V alone where the trace has more: that is no peer
        known = {f for p in found.policies for f in p.features if f in ("sve", "guest-sve")}
        others = [p for p in found.policies if p.name not in LEARNING and not p.broken and known <= set(p.features)]
        best = min(others, key=lambda p: p.high.cycles)
        by_name = {p.name: p for p in found.policies}
        row = [f"{best.name:18} {best.high.cycles / low.cycles:6.2f}"]
        for learns in LEARNING:
            p = by_name[learns]
            ratio = p.high.cycles / low.cycles
            missed = (ratio > AIM and low.saves + low.loads > FEWEST) or p.high.cycles > best.high.cycles
            row.append(f"{ratio:14.2f}{'*' if missed else ' '}" if known <= set(p.features) else f"{'-':>15}")
        to_best = by_name[LEARNING[-1]].high.cycles / best.high.cycles
        print(f"{name:20} {low.saves + low.loads:9,}  ", " ".join(row), f"{to_best:8.2f}", sep="", flush=True)


if __name__ == "__main__":
    main()
