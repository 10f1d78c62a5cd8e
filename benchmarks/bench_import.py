"""How fast text is imported: lines per second of this package, of a plain parser with `re`, and of trace-cmd.

All run on the same events in one run, each the best of three.
Run: python benchmarks/bench_import.py [--lines N] [--json]
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fpstate.traces.read import read_trace
from fpstate.traces.samples import sample_names, sample_path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.unit.make_dat import make_dat

_TIME = re.compile(r"^(.*\[\d+\] \S+ +)(\d+)\.(\d{6})(: .*)$")
_HEAD = re.compile(r"^ *(.+)-(\d+) +\[(\d+)\] (\S+) +(\d+)\.(\d{6}): (\w+)(?::| <-)(.*)$")
_SWITCH = re.compile(
    r" prev_comm=(.*) prev_pid=(\d+) prev_prio=(\d+) prev_state=(\S+) ==> next_comm=(.*) next_pid=(\d+) next_prio=(\d+)"
)
_SYSCALL = re.compile(r" NR (-?\d+) (?:\((.*)\)|= (.*))")


def sample_lines() -> list[list[tuple[str, int, str]]]:
    """Return the lines of each bundled recording as (before the time, microseconds from its start, after)."""
    recordings = []
    for name in sample_names():
        text = gzip.decompress(sample_path(name).read_bytes()).decode()
        parts = [m.groups() for m in map(_TIME.match, text.splitlines()) if m]
        times = [int(seconds) * 10**6 + int(micros) for _, seconds, micros, _ in parts]
        recordings.append([(p[0], t - times[0], p[3]) for p, t in zip(parts, times, strict=True)])
    return recordings


def write_text(path: Path, wanted: int) -> int:
    """Write at least `wanted` lines of repeated recordings, one after the other; return how many."""
    recordings = sample_lines()
    start, lines = 0, 0
    with path.open("w") as file:
        file.write("# tracer: function\n#\n")
        while lines < wanted:
            for recording in recordings:
                for before, micros, after in recording:
                    at = start + micros
                    file.write(f"{before}{at // 10**6}.{at % 10**6:06d}{after}\n")
                start += recording[-1][1] + 1000
                lines += len(recording)
    return lines


def plain_python(path: Path) -> int:
    """Parse with `re` into lists: head columns, and the fields of switches and system calls."""
    columns: list[list[Any]] = [[] for _ in range(9)]
    with path.open() as file:
        for line in file:
            m = _HEAD.match(line)
            if not m:
                continue
            comm, tid, cpu, flags, seconds, micros, event, rest = m.groups()
            a, b, more = 0, 0, None
            if event == "sched_switch" and (s := _SWITCH.match(rest)):
                a, b, more = int(s[2]), int(s[6]), s[4]
            elif event in ("sys_enter", "sys_exit") and (s := _SYSCALL.match(rest)):
                a, more = int(s[1]), s[2]
            row = (comm, int(tid), int(cpu), flags, int(seconds) * 10**9 + int(micros) * 1000, event, a, b, more)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    return len(columns[0])


def best_of(times: int, work: Callable[[], Any]) -> float:
    """Return the shortest time of several runs, in seconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def measure_trace_cmd(folder: Path, repeat: int) -> dict[str, Any]:
    """Return the speed of `trace-cmd report` on a trace.dat written from the same events, or why there is none."""
    program = shutil.which("trace-cmd")
    if program is None:
        return {"skipped": "trace-cmd is not installed"}
    text = (folder / "part.txt").read_text()
    lines = len(make_dat(text, folder / "part.dat"))

    def report() -> None:
        command = [program, "report", "-i", str(folder / "part.dat")]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)

    return {"lines": lines, "seconds": best_of(repeat, report), "input": "a trace.dat written from the same lines"}


def measure(wanted: int) -> dict[str, Any]:
    """Return lines per second of each way, and the peak memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "all.txt"
        lines = write_text(path, wanted)
        write_text(folder / "part.txt", min(wanted, 300_000))
        read_trace(sample_path(sample_names()[0]))  # compile
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ours = best_of(3, lambda: read_trace(path))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = path.stat().st_size
        plain = best_of(3, lambda: plain_python(path))
        tool = measure_trace_cmd(folder, 3)
    ways: dict[str, Any] = {
        "fpstate read_trace": {"lines": lines, "seconds": ours},
        "plain Python re": {"lines": lines, "seconds": plain},
        "trace-cmd report": tool,
    }
    for way in ways.values():
        if "seconds" in way:
            way["lines_per_second"] = way["lines"] / way["seconds"]
    return {
        "schema": "fpstate.bench_import/1",
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "text_bytes": size,
        "ways": ways,
        "peak_memory_mb": {"before": before / 1024, "after_read_trace": peak / 1024},
    }


def report(result: dict[str, Any]) -> None:
    """Print the result as a table."""
    ours = result["ways"]["fpstate read_trace"]["lines_per_second"]
    print(f"{result['text_bytes'] / 1e6:.0f} MB of text, best of 3, one core")
    for name, way in result["ways"].items():
        if "skipped" in way:
            print(f"{name:20s} skipped: {way['skipped']}")
            continue
        rate = way["lines_per_second"]
        print(f"{name:20s} {rate / 1e6:7.2f} M lines/s   fpstate is {ours / rate:6.1f} times as fast")
    memory = result["peak_memory_mb"]
    print(f"peak memory {memory['after_read_trace']:.0f} MB, of which {memory['before']:.0f} MB before the first line")


def run(
    about: str | None,
    measure: Callable[[int], dict[str, Any]],
    report: Callable[[dict[str, Any]], None],
    lines: int,
) -> None:
    """Measure and print, as the command line says: with so many lines, or 300,000 for a quick look."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--lines", type=int, default=lines)
    parser.add_argument("--short", action="store_const", dest="lines", const=300_000, help="300,000 lines")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.lines)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        report(result)


if __name__ == "__main__":
    run(__doc__, measure, report, 1_500_000)
