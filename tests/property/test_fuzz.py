"""Damaged and hostile files end in one error or are used; compiled code indexes with nothing unchecked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fpstate.errors import FpstateError
from fpstate.traces.checked import MAX_CPUS, check_header
from fpstate.traces.parquet import read_parquet, write_parquet
from fpstate.traces.samples import open_trace, sample_names
from fpstate.traces.trace import Trace
from fpstate.world.events import Event, Truth
from tests.fuzz import KINDS, attempt, bytes_changed, cut, good, use

Change = Callable[[Trace], None]


def test_the_file_that_is_damaged_is_good(tmp_path: Path) -> None:
    path = tmp_path / "good.parquet"
    path.write_bytes(good(tmp_path))
    use(path)


@pytest.mark.parametrize("name", sample_names())
def test_the_bundled_recordings_pass(name: str, tmp_path: Path) -> None:
    trace = open_trace(name)
    write_parquet(trace, tmp_path / "it.parquet")
    again = read_parquet(tmp_path / "it.parquet")
    assert again.header == trace.header
    assert all(
        (getattr(again, c) == getattr(trace, c)).all() for c in ("time", "cpu", "event", "subject", "object", "line")
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_damaged_parquet_file_is_refused_or_used(kind: Any, tmp_path: Path) -> None:
    """`make fuzz` tries ten thousand of each; what is refused is refused by one line that names the file."""
    messages = [attempt(kind, seed, tmp_path) for seed in range(30)]
    assert sum(map(bool, messages)) >= 10
    if kind not in (cut, bytes_changed):  # checksums notice most of these
        assert "" in messages


def damaged(change: Change, folder: Path) -> str:
    """Return the error of reading a trace in which something was changed before it was written."""
    trace = open_trace("hvc-fp.vhe")
    change(trace)
    write_parquet(trace, folder / "it.parquet")
    with pytest.raises(FpstateError) as caught:
        read_parquet(folder / "it.parquet")
    assert caught.value.where == str(folder / "it.parquet")
    return caught.value.given


def put(column: str, row: int, value: int) -> Change:
    def change(trace: Trace) -> None:
        getattr(trace, column)[row] = value

    return change


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("event", 255, "'event' of row 7 is 255"),
        ("event", 0, "'event' of row 7 is 0"),
        ("event", max(Event) + 1, f"'event' of row 7 is {max(Event) + 1}"),
        ("event", max(Truth) + 1, f"'event' of row 7 is {max(Truth) + 1}"),
        ("cpu", 65535, "'cpu' of row 7 is 65535"),
        ("time", -(2**63), "'time' of row 7 is -9223372036854775808"),
        ("subject", -1, "'subject' of row 7 is -1"),
        ("subject", 2**31 - 1, "'subject' of row 7 is 2147483647"),
        ("object", -4, "'object' of row 7 is -4"),
        ("object", 2**31 - 1, "'object' of row 7 is 2147483647"),
    ],
)
def test_each_column_is_looked_at(column: str, value: int, said: str, tmp_path: Path) -> None:
    assert damaged(put(column, 7, value), tmp_path) == f"is a damaged trace: {said}"


def test_who_takes_part_must_be_able_to(tmp_path: Path) -> None:
    """A vCPU does nothing by itself, and a thread is not entered like a guest."""
    trace = open_trace("hvc-fp.vhe")
    vcpu = int(np.flatnonzero(trace.contexts.kind == 3)[0])
    enter, switch = (int(np.flatnonzero(trace.event == e)[0]) for e in (Event.GUEST_ENTER, Event.THREAD_SWITCH))
    for column, row, value in (
        ("subject", switch, vcpu),
        ("object", switch, vcpu),
        ("object", enter, 0),
        ("object", enter, -1),
    ):
        assert f"'{column}' of row {row} is {value}" in damaged(put(column, row, value), tmp_path)


@pytest.mark.parametrize(
    ("column", "row", "value", "said"),
    [
        ("kind", 0, 200, "no known kind"),
        ("kind", 0, 2, "an idle thread stands behind others"),
        ("owner", 0, 1, "a thread has an owner"),
        ("owner", -1, -1, "a vCPU has no owner"),
        ("owner", -1, 99, "a vCPU has no owner"),
    ],
)
def test_contexts_are_looked_at(column: str, row: int, value: int, said: str, tmp_path: Path) -> None:
    def change(trace: Trace) -> None:
        values = getattr(trace.contexts, column).copy()
        values[row] = value
        trace.contexts = replace(trace.contexts, **{column: values})

    assert said in damaged(change, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpus", "two"),
        ("cpus", MAX_CPUS + 1),
        ("cpus", True),
        ("unobserved", 5),
        ("kernel", 5),
        ("ignored", []),
        ("lost", [{}]),
    ],
)
def test_headers_are_looked_at(name: str, value: object) -> None:
    with pytest.raises(FpstateError, match=f"'{name}' of its header is not"):
        check_header("it", {"source": "a", "format": "b", name: value})


SCRIPT = """
import sys, tempfile
from pathlib import Path
from tests.fuzz import KINDS, attempt
with tempfile.TemporaryDirectory() as name:
    for kind in KINDS:
        for seed in range(1000, 1040):
            attempt(kind, seed, Path(name))
"""


@pytest.mark.long
def test_nothing_compiled_leaves_its_arrays(tmp_path: Path) -> None:
    """The same files with every index checked by the compiled code itself."""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "XDG_CACHE_HOME": str(tmp_path)}
    words = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
