"""Recordings with random damage: what no correct policy may be blamed for.

Run: python -m tests.damage [--seeds N] imports N damaged recordings of each kind and replays them.
"""

from __future__ import annotations

import argparse
import gzip
import re
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from fpstate.policies.base import with_features
from fpstate.policies.catalogue import find_policy
from fpstate.replay.engine import features_in, replay
from fpstate.rows.learn import Rows
from fpstate.traces.read import read_trace
from fpstate.traces.samples import sample_names, sample_path
from fpstate.traces.trace import Trace
from tests.ordered import first_not_allowed

Lines = list[str]

DATA = Path(__file__).parent / "data" / "traces"
CORRECT = ("eager", "linux-4.18", "linux-6.14", "first-class", "first-class-dirty")
"""Policies of which `check` says that they hold."""
MOST_LINES = 1500  # of a recording that is damaged: a stretch of one of the bundled ones

_LINE = re.compile(r"^(.*\[(\d+)\] \S+ +)(\d+\.\d+)(: +(\S+).*)$")


@cache
def bundled(name: str) -> tuple[Lines, Lines]:
    """Return the comments and the lines of a bundled recording."""
    lines = gzip.decompress(sample_path(name).read_bytes()).decode().splitlines()
    return [line for line in lines if line.startswith("#")], [line for line in lines if not line.startswith("#")]


def dropped(lines: Lines, rng: np.random.Generator) -> Lines:
    """Leave out single lines."""
    share = rng.choice([0.005, 0.05, 0.3])
    return [line for line, out in zip(lines, rng.random(len(lines)) < share, strict=True) if not out]


def doubled(lines: Lines, rng: np.random.Generator) -> Lines:
    """Have single lines twice."""
    twice = rng.random(len(lines)) < rng.choice([0.005, 0.05, 0.3])
    return [line for line, again in zip(lines, twice, strict=True) for _ in range(1 + again)]


def swapped(lines: Lines, rng: np.random.Generator) -> Lines:
    """Let neighbouring lines trade places; times stay where they are."""
    parts = [(m[1], m[3], m[4]) for m in map(_LINE.match, lines) if m]
    times = [time for _, time, _ in parts]
    for i in np.flatnonzero(rng.random(len(parts) - 1) < rng.choice([0.005, 0.05, 0.3])).tolist():
        parts[i], parts[i + 1] = parts[i + 1], parts[i]
    return [before + time + after for (before, _, after), time in zip(parts, times, strict=True)]


def cut(lines: Lines, rng: np.random.Generator) -> Lines:
    """Take out a stretch, and end in the midst of a line."""
    a, b = sorted(rng.integers(1, len(lines) - 1, 2).tolist())
    last = lines[-1]
    return [*lines[:a], *lines[b:-1], last[: int(rng.integers(len(last)))]]


def without_cpu(lines: Lines, rng: np.random.Generator) -> Lines:
    """Leave out what one CPU did, for a time."""
    cpus = [m[2] if (m := _LINE.match(line)) else "" for line in lines]
    victim = rng.choice(sorted(set(cpus)))
    a, b = sorted(rng.integers(0, len(lines), 2).tolist())
    kept = [line for i, line in enumerate(lines) if cpus[i] != victim or not a <= i < b]
    return kept or lines


def without_event(lines: Lines, rng: np.random.Generator) -> Lines:
    """Leave out all lines of some events or functions."""
    names = [m[5] if (m := _LINE.match(line)) else "" for line in lines]
    victims = rng.choice(sorted(set(names)), int(rng.integers(1, 4)))
    kept = [line for line, name in zip(lines, names, strict=True) if name not in victims]
    return kept or lines


def all_of_it(lines: Lines, rng: np.random.Generator) -> Lines:
    """Damage in several ways, one after the other."""
    for kind in rng.permutation(list(KINDS)[:-1]).tolist():
        if rng.random() < 0.5 and len(lines) > 50:
            lines = KINDS[kind](lines, rng)
            lines = lines[:-1] if kind == "cut" else lines
    return lines


KINDS: dict[str, Callable[[Lines, np.random.Generator], Lines]] = {
    f.__name__: f for f in (dropped, doubled, swapped, cut, without_cpu, without_event, all_of_it)
}


def damaged(kind: str, seed: int) -> str:
    """Return a damaged stretch of a bundled recording, the same for the same arguments."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    comments, lines = bundled(str(rng.choice(sample_names())))
    start = int(rng.integers(0, max(1, len(lines) - MOST_LINES)))
    text = [*comments, *KINDS[kind](lines[start : start + MOST_LINES], rng)]
    return "\n".join(text) + ("" if kind == "cut" else "\n")


@cache
def rows_of(name: str, features: frozenset[str]) -> Rows:
    """Return the rows of a policy, which all replays learn together."""
    policy = find_policy(name)
    return Rows(with_features(policy, features & policy.supports))


def blamed(trace: Trace) -> list[str]:
    """Return which of the correct policies a replay blames, low or high; none is right."""
    features = features_in(trace)
    found = []
    for name in CORRECT:
        for maybe in (False, True):
            outcome = replay(trace, rows_of(name, features), maybe=maybe)
            if outcome.wrong:
                found.append(f"{name} at line {trace.line[outcome.first]}, {maybe=}")
    return found


def faults(text: str, folder: Path) -> list[str]:
    """Import a recording and return what is wrong with the trace: correct policies blamed, steps that are no path."""
    path = folder / "damaged.txt"
    path.write_text(text)
    trace = read_trace(path)
    stopped = [row for maybe in (False, True) if (row := first_not_allowed(trace, maybe=maybe)) >= 0]
    return blamed(trace) + [f"no path at line {trace.line[row]} (row {row})" for row in stopped]


def main() -> None:
    """Try many seeds of each kind, and say which went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    seeds = parser.parse_args().seeds
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            wrong = [(seed, f) for seed in range(seeds) if (f := faults(damaged(kind, seed), Path(folder)))]
            found = [f"{kind}: {seeds} seeds, {len(wrong)} wrong", *map(str, wrong[:5])]
            sys.stdout.write("\n  ".join(found) + "\n")
            sys.stdout.flush()
            bad += len(wrong)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
