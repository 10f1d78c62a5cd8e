"""How fast a trace.dat is imported: this package's reader, and `trace-cmd report` with the import of its text.

All run on the same file in one run, each the best of three; compiled before. A file zstd has compressed, if trace-cmd
can, is the same one.
Run: python benchmarks/bench_dat.py [--short] [--lines N] [--json]
"""

from __future__ import annotations

import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.unit.make_dat import make_dat

from bench_import import best_of, run, write_text
from fpstate.traces.dat.reader import DatReader
from fpstate.traces.importer import iter_events


def imported(path: Path) -> int:
    """Import a file as a stream, as `fpstate import` does; return how many events it has."""
    return sum(len(rows.time) for rows in iter_events(path)[1])


def decoded(path: Path) -> int:
    """Only read the records to raw rows."""
    with DatReader(path) as reader:
        return sum(len(raw.time) for raw in reader.rows())


def by_trace_cmd(dat: Path, text: Path) -> int:
    """Have trace-cmd print the file, and import what it prints."""
    with text.open("wb") as out:
        subprocess.run(["trace-cmd", "report", "-N", "-t", "-l", "-i", str(dat)], stdout=out, check=True)
    return imported(text)


def measure(wanted: int) -> dict[str, Any]:
    """Return seconds of each way, and the peak memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dat, packed, text = folder / "t.dat", folder / "z.dat", folder / "t.txt"
        write_text(text, wanted)
        lines = len(make_dat(text.read_text(), dat))
        small = folder / "small.dat"
        write_text(text, 1000)
        make_dat(text.read_text(), small)
        imported(small)  # compile
        imported(text)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ways = {"decode only": best_of(3, lambda: decoded(dat)), "fpstate": best_of(3, lambda: imported(dat))}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if shutil.which("trace-cmd"):
            convert = ["trace-cmd", "convert", "-i", str(dat), "-o", str(packed), "--compression", "zstd"]
            if subprocess.run(convert, capture_output=True, check=False).returncode == 0:
                ways["fpstate, zstd"] = best_of(3, lambda: imported(packed))
            ways["trace-cmd report, its text"] = best_of(3, lambda: by_trace_cmd(dat, text))
            assert imported(dat) == imported(text)
        size = dat.stat().st_size
    return {
        "schema": "fpstate.bench_dat/1",
        "machine": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "bytes": size,
        "records": lines,
        "seconds": ways,
        "peak_memory_mb": {"before": before / 1024, "after": peak / 1024},
    }


def report(result: dict[str, Any]) -> None:
    """Print the result as a table."""
    print(f"{result['records']:,} records, {result['bytes'] / 1e6:.0f} MB, best of 3, one core")
    ours = result["seconds"]["fpstate"]
    for name, seconds in result["seconds"].items():
        rate = result["records"] / seconds / 1e6
        print(f"{name:28s} {seconds:8.3f} s {rate:8.2f} M records/s   fpstate takes 1/{seconds / ours:.1f} of it")
    memory = result["peak_memory_mb"]
    print(f"peak memory {memory['after']:.0f} MB, of which {memory['before']:.0f} MB before the first record")


if __name__ == "__main__":
    run(__doc__, measure, report, 1_000_000)
