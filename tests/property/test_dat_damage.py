"""Damage anywhere in a trace.dat ends in a trace or in one error, compiled or not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fpstate.errors import FpstateError
from fpstate.traces.dat import reader
from fpstate.traces.dat.reader import DatReader
from fpstate.traces.dat.walk import merge

DATA = Path(__file__).parent.parent / "data" / "traces"
V6 = (DATA / "synthetic-v6.dat").read_bytes()
SAMPLES = [V6, (DATA / "synthetic-v7.dat").read_bytes(), (DATA / "recorded-6.1.dat").read_bytes()]
RECORDS = 3 * 4096
"""Where the pages of the first sample begin, about."""


def read(path: Path, raw: bytes) -> list[list[int]] | str:
    """Return the rows of a file, or the error."""
    path.write_bytes(raw)
    rows: list[list[int]] = []
    try:
        with DatReader(path) as dat:
            for part in dat.rows():
                rows += [[*fields, time] for fields, time in zip(part.fields.tolist(), part.time.tolist(), strict=True)]
    except FpstateError as caught:
        return str(caught)
    return rows


def damaged(raw: bytes, changes: list[tuple[int, int]]) -> bytes:
    out = bytearray(raw)
    for at, to in changes:
        out[at % len(out)] = to
    return bytes(out)


CHANGES = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])), min_size=1, max_size=6
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SAMPLES), CHANGES, st.integers(0, 40))
def test_damage_anywhere(tmp_path: Path, raw: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    """Bytes changed anywhere, and an end cut off: rows or one error, never anything else."""
    result = read(tmp_path / "t.dat", damaged(raw[: len(raw) - cut * 100], changes))
    assert not isinstance(result, str) or "\n" not in result


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(RECORDS, len(V6) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_records_interpreted(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Damaged records: interpreted, where no index may lie outside, the same comes out as compiled."""
    raw = damaged(V6, changes)
    with pytest.MonkeyPatch.context() as patch:
        compiled = read(tmp_path / "t.dat", raw)
        patch.setattr(reader, "merge", merge.py_func)  # type: ignore[attr-defined]
        assert read(tmp_path / "t.dat", raw) == compiled
