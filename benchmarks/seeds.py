"""Every correct policy on many seeds: all programs must compute what they compute alone, bit for bit.

    python benchmarks/seeds.py [SEEDS] [FIRST] [POLICY]...

Each seed runs all bundled programs as tasks and as guests on 2 CPUs (3 on odd seeds), in slices of 1,000 to 4,000
instructions, with softirqs that use NEON at one of five entries of the kernel. 1,000 seeds take half an hour.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from fpstate.machine.host import Settings
from fpstate.machine.run import Laboratory, all_bundled
from fpstate.policies.catalogue import policies
from fpstate.rows.learn import Rows


def main() -> int:
    """Run all seeds; print per policy how many runs were identical and what was exercised."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    laboratory, programs = Laboratory(3), all_bundled()
    bad = 0
    for name, policy in policies().items():
        if name == "defer-to-put" or (sys.argv[3:] and name not in sys.argv[3:]):
            continue
        rows, began, totals = Rows(policy), time.monotonic(), Counter[str]()
        for seed in range(first, first + seeds):
            settings = Settings(2 + seed % 2, 1000 + seed * 37 % 3000, seed, 0.2)
            result, _ = laboratory.run(rows, settings, programs, programs, paths=False)
            totals += Counter(
                identical=result.ok, saves=result.saves, loads=result.loads, traps=result.traps,
                events=result.events, programs=sum(p.ok for p in result.programs),
            )  # fmt: skip
            if not result.ok:
                bad += 1
                print(f"{name}: seed {seed} differs: {[p.name for p in result.programs if not p.ok]}", flush=True)
        shown = ", ".join(f"{totals[k]:,} {k}" for k in ("programs", "events", "saves", "loads", "traps"))
        print(
            f"{name}: {totals['identical']} of {seeds} identical; {shown}; {time.monotonic() - began:.0f} s", flush=True
        )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
