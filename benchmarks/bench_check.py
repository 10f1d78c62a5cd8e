"""Checker speed beside SPIN's, in one run, on the same model.

benchmarks/deferred.pml is the deferred reload of the arm64 host in Promela: the same moves, each atomic, the same
state. Its reachable states are ours, without folding, and two more (before both processes of the model have started).
SPIN is built with -O2 -DSAFETY and searches depth first on one core. Compiling is not counted on either side; each side
runs in a process of its own, for its memory.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fpstate.check.run import check
from fpstate.paths.scope import Scope
from fpstate.policies.host_deferred import DeferredHost

EVENTS = ("thread_switch", "ret_to_user", "user_fp", "syscall", "softirq_neon_begin")
TLC_STATES_PER_S = 0.028e6
"""TLC (Java 17, 1 worker) on fpsimd.tla of the kernel-tla project, its own configuration, distinct states; measured
once on a machine of 2 cores like the one the ratios below were first measured on. Not run here."""


STATED = {5: {1: 1.5, 2: 2.8}, 4: {1: 1.1, 2: 1.3}}
"""Times SPIN, by tasks and cores, with 5 tasks as docs/check.md states; a run under half of one fails."""


class Host(DeferredHost):
    """The host alone, as the Promela model has it."""

    name = "deferred-host"


def search(tasks: int, cores: int) -> dict[str, Any]:
    """Check the host with 2 CPUs; best of two, after a small one for compilation."""
    check(Host, Scope(2, 2, 0, 0, EVENTS), fold=False, cores=cores)
    runs = [check(Host, Scope(2, tasks, 0, 0, EVENTS), fold=False, cores=cores) for _ in range(2)]
    best = min(runs, key=lambda r: r.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"states": best.states, "moves": best.moves, "seconds": best.seconds, "bytes": peak, "verdict": best.verdict}


def in_own_process(tasks: int, cores: int) -> dict[str, Any]:
    """Run `search` in a new process."""
    words = [sys.executable, __file__, "--search", str(tasks), str(cores)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def spin(tasks: int) -> dict[str, Any] | None:
    """Build and run the Promela model; None without SPIN or gcc."""
    if not shutil.which("spin") or not shutil.which("gcc"):
        return None
    model = Path(__file__).with_name("deferred.pml")
    with tempfile.TemporaryDirectory() as folder:

        def run(*words: str) -> str:
            return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout

        run("spin", "-a", f"-DNTASK={tasks}", str(model))
        run("gcc", "-O2", "-DSAFETY", "-o", "pan", "pan.c")
        texts = [run("./pan", "-m30000000", "-w24") for _ in range(2)]
    assert all("errors: 0" in text for text in texts)
    seconds = min(float(_number(text, r"elapsed time ([\d.]+)")) for text in texts)
    moves = int(float(_number(texts[0], r"([\d.e+]+) transitions")))
    states = int(float(_number(texts[0], r"([\d.e+]+) states, stored")))
    peak = float(_number(texts[0], r"([\d.]+)\s+total actual memory")) * 2**20
    depth_first = re.search(r"([\d.]+)\s+memory used for DFS stack", texts[0])
    stack = float(depth_first[1]) * 2**20 if depth_first else 0.0
    return {"states": states, "moves": moves, "seconds": seconds, "bytes": peak, "stack": stack}


def _number(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    assert found, text
    return found[1]


def main() -> None:
    """Run both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="4 tasks instead of 5")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--search", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search:
        sys.stdout.write(json.dumps(search(*options.search)))
        return
    tasks = 4 if options.short else 5
    sides = {f"fpstate check, {c} core{'s' * (c > 1)}": in_own_process(tasks, c) for c in (1, 2)}
    peer = spin(tasks)
    if peer is not None:
        for side in sides.values():
            assert side["states"] == peer["states"] - 2, "the two models do not agree"
        sides = {"SPIN -O2 -DSAFETY, 1 core": peer} | sides
    if options.json:
        sys.stdout.write(
            json.dumps({"schema": "fpstate.bench_check/1", "tasks": tasks, "sides": sides}, indent=2) + "\n"
        )
        return
    print(f"deferred reload, 2 CPUs, {tasks} tasks, {next(iter(sides.values()))['states']:,} states")
    if peer is None:
        print("SPIN or gcc is not installed: no peer to compare with")
    for name, side in sides.items():
        rate = side["states"] / side["seconds"]
        ratio = f"{peer['seconds'] / side['seconds']:5.2f} times SPIN" if peer else ""
        tlc = f"{rate / TLC_STATES_PER_S:4.0f} times TLC" if "fpstate" in name else ""
        memory = f"{side['bytes'] / 2**20:6.0f} MiB"
        print(f"{name:28} {side['seconds']:6.2f} s {rate / 1e6:6.2f} M states/s {memory}  {ratio}  {tlc}")
    if peer is not None:
        for cores, stated in STATED[tasks].items():
            found = peer["seconds"] / sides[f"fpstate check, {cores} core{'s' * (cores > 1)}"]["seconds"]
            if found < stated / 2:
                sys.exit(f"{found:.2f} times SPIN on {cores} core(s) is under half of the {stated} stated")


if __name__ == "__main__":
    main()
