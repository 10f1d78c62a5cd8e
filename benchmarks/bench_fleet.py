"""A fleet in this process, on two workers, and on a hundred: how much faster, and what limits it.

    python benchmarks/bench_fleet.py [--short] [--json]

Made-up traces as Parquet are compared under all policies: in this process, by two workers, and by a pool of two plain
processes that keep nothing, by turns in one run. Then the parts: what a job costs the scheduler and the client beside
its work, and with that at how many workers they have no more time. That is held against a hundred simulated workers,
which take as long as real ones took for each job, and return what real ones returned; they share one process, beside
that of their scheduler and the client, so that what they show is less than a hundred machines would.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import logging
import multiprocessing
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import distributed

from fpstate.fleet.cluster import SILENT, TASK_SECONDS, dask, spread
from fpstate.fleet.comparing import KIND, jobs
from fpstate.fleet.go import Asked, go
from fpstate.fleet.job import Job
from fpstate.fleet.table import Table
from fpstate.fleet.where import Where
from fpstate.fleet.work import Handed, answered, work
from fpstate.policies.catalogue import policies
from fpstate.traces.generate import mixed_trace
from fpstate.traces.parquet import write_parquet

EVENTS = 20_000
SIMULATED = (10, 30, 100)
TAKES = 10.0
"""Seconds that each simulation would take if nothing but the work took time; a third of it for a quick look."""


def made(folder: Path, traces: int) -> list[Job]:
    """Write traces and return a job for each."""
    folder.mkdir()
    for seed in range(traces):
        write_parquet(mixed_trace(EVENTS, seed=seed), folder / f"t{seed:04d}.parquet")
    return jobs([str(path) for path in sorted(folder.iterdir())], list(policies()), "altra-vhe", 64)


def timed(what: Callable[[], Any]) -> float:
    """Return the seconds something takes."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def fleet(every: list[Job], output: Path, workers: int) -> float:
    """Return the seconds of a fleet from its start to its table."""
    output.unlink(missing_ok=True)
    return timed(lambda: go(Asked("compare", every, output, Where(workers))))


def pool(every: list[Job]) -> float:
    """Return the seconds of a pool of two processes that keep nothing."""

    def run() -> None:
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
            for _ in executor.map(work, every):
                pass

    return timed(run)


def by_hand(job: Job) -> float:
    """Return the seconds of `fpstate compare` on one trace, a process of its own."""
    words = [sys.executable, "-m", "fpstate", "compare", job.name, "--json"]
    return timed(lambda: subprocess.run(words, check=False, stdout=subprocess.DEVNULL))


def nothing(seconds: float, several: Sequence[Job]) -> list[Handed]:
    """Answer nothing, and say it took so long: what is left is what Dask takes for a task."""
    return [(b"", seconds) for _ in several]


def pretended(seconds: float, lines: bytes, several: Sequence[Job]) -> list[Handed]:
    """Take as long as jobs do, and return rows like those they return."""
    time.sleep(seconds * len(several))
    return [(lines, seconds) for _ in several]


async def be_workers(address: str, count: int) -> None:
    """Be so many workers of a scheduler, each with one thread, until it is gone."""
    workers = [distributed.Worker(address, nthreads=1, memory_limit=0, dashboard=False) for _ in range(count)]
    await asyncio.gather(*workers)
    await asyncio.gather(*(worker.finished() for worker in workers))


def simulated(every: list[Job], workers: int, answer: Callable[[Sequence[Job]], list[Handed]], output: Path) -> float:
    """Return the seconds that jobs take on workers that share a process of their own, once these are there."""
    dask()
    cluster = distributed.LocalCluster(n_workers=0, dashboard_address=None, silence_logs=SILENT)
    words = [sys.executable, __file__, "--be-workers", str(workers), "--scheduler", cluster.scheduler_address]
    with cluster, distributed.Client(cluster, set_as_default=False) as client, Table(output, KIND) as table:
        quiet = subprocess.DEVNULL
        with subprocess.Popen(words, stdout=quiet, stderr=quiet) as process:
            client.wait_for_workers(workers, timeout=120)

            def run() -> None:
                for _, lines in spread(client, every, lambda _: None, answer):
                    if lines:
                        table.add(lines)

            took = timed(run)
            process.kill()
    return took


def repeated(every: list[Job], count: int) -> list[Job]:
    """Return so many jobs."""
    return [every[i % len(every)] for i in range(count)]


def parts(every: list[Job], lines: bytes, folder: Path, count: int) -> dict[str, float]:
    """Return milliseconds of Dask for each task, and of keeping the rows of each job."""
    one_each = functools.partial(nothing, TASK_SECONDS)  # as if each took as long as a task of several should
    empty = simulated(repeated(every, count), 16, one_each, folder / "empty.parquet")
    with Table(folder / "kept.parquet", KIND) as table:
        keeping = timed(lambda: [table.add(lines) for _ in range(200)])  # type: ignore[func-returns-value]
        keeping += timed(table.write)
    return {"dask": 1000 * empty / count, "keeping": 1000 * keeping / 200}


def measure(traces: int, repeat: int) -> dict[str, Any]:
    """Return all that is measured."""
    logging.getLogger("distributed").setLevel(SILENT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = made(folder / "traces", traces)
        lines = answered(every[0])[0]  # compiled, and rows of policies learned
        one, two, plain = [], [], []
        for _ in range(repeat):
            one.append(fleet(every, folder / "one.parquet", 0))
            two.append(fleet(every, folder / "two.parquet", 2))
            plain.append(pool(every))
        few = fleet(every[:2], folder / "few.parquet", 2)
        hand = statistics.median(by_hand(job) for job in every[:3])
        again = timed(lambda: go(Asked("compare", every, folder / "one.parquet")))
        job = min(one) / traces
        cost = parts(every, lines, folder, 1000 if traces > 100 else 300)
        largest = {}
        for workers in SIMULATED:
            count = int((TAKES if traces > 100 else TAKES / 3) * workers / job)
            took = simulated(
                repeated(every, count), workers, functools.partial(pretended, job, lines), folder / "s.parquet"
            )
            largest[workers] = {"jobs": count, "seconds": took, "times_as_fast": count * job / took}
    return {
        "schema": "fpstate.bench_fleet/1",
        "machine": platform.processor() or platform.machine(),
        "traces": traces,
        "events": EVENTS,
        "policies": len(policies()),
        "seconds": {"here": one, "two_workers": two, "pool": plain, "two_traces_two_workers": few, "again": again},
        "by_hand": hand,
        "job_ms": 1000 * job,
        "beside_ms": cost,
        "most_workers": 1 / (cost["dask"] / 1000 / max(job, TASK_SECONDS) + cost["keeping"] / 1000 / job),
        "simulated": largest,
    }


def report(r: dict[str, Any]) -> None:
    """Print the result."""
    s, traces = r["seconds"], r["traces"]
    here = min(s["here"])
    print(f"{traces:,} traces of {r['events']:,} events under {r['policies']} policies, best of {len(s['here'])}")
    print(f"in this process          {here:7.1f} s")
    for name, seconds in (("two workers", min(s["two_workers"])), ("a pool of two, none kept", min(s["pool"]))):
        print(f"{name:24s} {seconds:7.1f} s   {here / seconds:5.2f} times as fast")
    hand = r["by_hand"] * traces
    print(f"fpstate compare on each  {hand:7.1f} s   {here / hand:5.2f} times as fast (from three of them)")
    print(f"two workers, two traces  {s['two_traces_two_workers']:7.1f} s   starting them, and their end")
    print(f"started again            {s['again']:7.1f} s   nothing is left to do")
    b = r["beside_ms"]
    print(f"a job takes {r['job_ms']:.1f} ms, and {b['keeping']:.2f} ms to keep its rows;")
    print(f"a task, about {TASK_SECONDS:g} s of jobs, {b['dask']:.2f} ms of Dask:")
    print(f"one scheduler and client have time for {r['most_workers']:.0f} workers")
    for workers, x in r["simulated"].items():
        print(f"{workers:4d} simulated workers   {x['times_as_fast']:5.1f} times as fast as one ({x['jobs']:,} jobs)")


def main() -> None:
    """Measure and print, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="40 traces, once")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be-workers", type=int, metavar="N", help=argparse.SUPPRESS)
    parser.add_argument("--scheduler", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_workers:
        asyncio.run(be_workers(options.scheduler, options.be_workers))
        return
    result = measure(40, 1) if options.short else measure(1000, 2)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        report(result)


if __name__ == "__main__":
    main()
