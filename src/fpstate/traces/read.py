"""Reading a trace of any accepted form."""

from __future__ import annotations

from pathlib import Path

from fpstate.traces.importer import Import, OutOfOrderError, Progress, as_trace, joined
from fpstate.traces.lines.source import PARQUET, kind_of
from fpstate.traces.parquet import read_parquet
from fpstate.traces.trace import Trace


def read_trace(path: Path | str, *, progress: Progress | None = None, allow_lost: bool = True) -> Trace:
    """Return the trace in a file: text (docs/traces.md says in what forms), a trace.dat, a perf.data, or Parquet.

    Recorders lose events when their buffers are full; with `allow_lost` off that is an error.
    Raise FpstateError for anything that is not a trace, with the line where it stops being one.
    """
    path = Path(path)
    if kind_of(path) == PARQUET:
        return read_parquet(path)
    for whole in (False, True):
        job = Import(path, whole=whole, allow_lost=allow_lost, progress=progress)
        try:
            rows = joined(list(job.chunks()))
        except OutOfOrderError:
            continue
        return as_trace(rows, *job.end())
    raise AssertionError("a whole import is always in order")
