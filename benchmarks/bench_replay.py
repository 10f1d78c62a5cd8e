"""Replay speed beside libCacheSim's, in one run.

A CPU's register file is a cache of one context, so the peer is libCacheSim's C++ LRU of one object, given as many
requests as the trace has events. Both sides are measured best of three, one thread; compilation is not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fpstate.policies.catalogue import find_policy
from fpstate.replay.engine import replay
from fpstate.rows.learn import Rows
from fpstate.traces.generate import mixed_trace

POLICIES = ("linux-6.14", "linux-4.18", "first-class", "eager")
STATED = 3.0
"""Times libCacheSim, for every policy; a run under half of it fails."""
RECORD = np.dtype(
    {
        "names": ["time", "id", "size", "next"],
        "formats": ["<u4", "<u8", "<u4", "<i8"],
        "offsets": [0, 4, 12, 16],
        "itemsize": 24,
    }
)  # libCacheSim's oracleGeneral format


def best_of(times: int, what: Callable[[], object]) -> float:
    """Return the shortest of `times` runs, in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        what()
        taken.append(time.perf_counter() - start)
    return min(taken)


def libcachesim_seconds(requests: int, times: int) -> float:
    """Return the time libCacheSim needs for `requests` requests to a cache of one object, Zipf over 64 ids."""
    import libcachesim

    weights = 1 / np.arange(1, 65)
    records = np.zeros(requests, RECORD)
    records["time"] = np.arange(requests) // 1000
    records["id"] = np.random.default_rng(1).choice(64, requests, p=weights / weights.sum()) + 1
    records["size"], records["next"] = 1, -1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.oracleGeneral.bin"
        records.tofile(path)
        del records

        def run() -> None:
            about = libcachesim.ReaderInitParam(ignore_obj_size=True)
            reader = libcachesim.TraceReader(str(path), libcachesim.TraceType.ORACLE_GENERAL_TRACE, about)
            libcachesim.LRU(1, hashpower=16).process_trace(reader, max_req=-1)

        return best_of(times, run)


def main() -> None:
    """Run both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="5 M events instead of 50 M")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    events = 5_000_000 if options.short else 50_000_000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    trace = mixed_trace(events, seed=1)
    columns = sum(c.nbytes for c in (trace.time, trace.cpu, trace.event, trace.subject, trace.object, trace.line))
    rates: dict[str, float] = {}
    for name in POLICIES:
        rows = Rows(find_policy(name))
        replay(trace, rows, maybe=True)
        rates[name] = events / best_of(3, lambda rows=rows: replay(trace, rows, maybe=True))  # type: ignore[misc]
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    peer = events / libcachesim_seconds(events, 3)
    result = {
        "schema": "fpstate.bench_replay/1",
        "events": events,
        "libcachesim_requests_per_s": peer,
        "events_per_s": rates,
        "ratio": {name: rate / peer for name, rate in rates.items()},
        "bytes_per_event_columns": columns / events,
        "bytes_per_event_peak": peak / events,
    }
    if options.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return
    print(f"{events / 1e6:.0f} M events, integrity checked at every use, one thread, best of 3")
    print(f"{'libCacheSim, C++ LRU of 1 object':34} {peer / 1e6:7.1f} M requests/s    1.0")
    for name, rate in rates.items():
        print(f"{'fpstate replay, ' + name:34} {rate / 1e6:7.1f} M events/s   {rate / peer:5.1f} times")
    print(
        f"memory: columns {columns / events:.0f} bytes an event; peak, making the trace included, {peak / events:.0f}"
    )
    print(f"{'on average':34} {'':27} {sum(rates.values()) / len(rates) / peer:5.1f} times")
    slowest = min(rates, key=lambda name: rates[name])
    if rates[slowest] < STATED / 2 * peer:
        sys.exit(f"{rates[slowest] / peer:.1f} times libCacheSim for {slowest} is under half of the {STATED} stated")


if __name__ == "__main__":
    main()
