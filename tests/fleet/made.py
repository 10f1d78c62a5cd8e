"""Traces for fleets."""

from __future__ import annotations

from pathlib import Path

from fpstate.traces.generate import mixed_trace
from fpstate.traces.parquet import write_parquet


def traces_in(folder: Path, count: int) -> Path:
    """Make a folder of so many made-up traces, and return it."""
    folder.mkdir()
    for seed in range(count):
        write_parquet(mixed_trace(2000, seed=seed, cpus=2), folder / f"t{seed}.parquet")
    return folder
