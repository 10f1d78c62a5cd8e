"""Damaged and hostile files: each is read and used, or refused by one error; nothing else may happen.

Run: python -m tests.fuzz [--count N] [--seed S] tries N files of each kind. The suite tries a few of each.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fpstate.errors import FpstateError
from fpstate.policies.catalogue import find_policy
from fpstate.replay.engine import replay
from fpstate.replay.validate import validate
from fpstate.rows.learn import Rows
from fpstate.traces import parquet
from fpstate.traces.describe import describe
from fpstate.traces.read import read_trace
from fpstate.traces.samples import open_trace

Dice = np.random.Generator

ROWS = 3000  # of a bundled recording that is damaged


@cache
def good(folder: Path) -> bytes:
    """Return a Parquet file of the beginning of a bundled recording."""
    whole = open_trace("hvc-fp.vhe")
    columns = ("time", "cpu", "event", "subject", "object", "line")
    path = folder / "good.parquet"
    parquet.write_parquet(replace(whole, **{name: getattr(whole, name)[:ROWS] for name in columns}), path)
    return path.read_bytes()


def bytes_changed(data: bytes, dice: Dice) -> bytes:
    """Change single bytes anywhere."""
    changed = bytearray(data)
    for at in dice.integers(0, len(changed), dice.integers(1, 20)):
        changed[at] = dice.integers(0, 256)
    return bytes(changed)


def cut(data: bytes, dice: Dice) -> bytes:
    """Lose the end, or a part in the middle."""
    a, b = sorted(dice.integers(0, len(data), 2))
    return data[:a] if dice.random() < 0.5 else data[:a] + data[b:]


def _again(data: bytes, change: Callable[[pa.Table], pa.Table]) -> bytes:
    """Write the file again with its table changed, header and all."""
    out = io.BytesIO()
    file = pq.ParquetFile(io.BytesIO(data))
    kept = {key: value for key, value in file.metadata.metadata.items() if key.startswith(b"fpstate.")}
    pq.write_table(change(file.read().replace_schema_metadata(kept)), out)
    return out.getvalue()


def values_changed(data: bytes, dice: Dice) -> bytes:
    """Put other numbers into one column."""

    def change(table: pa.Table) -> pa.Table:
        name = table.schema.names[dice.integers(table.num_columns)]
        column = table[name].to_numpy().copy()
        limits = np.iinfo(column.dtype)
        count = int(dice.choice([1, 5, 200]))
        high = int(dice.choice([64, 1000, int(limits.max)]))
        low = int(dice.choice([0, max(-5, int(limits.min)), int(limits.min)]))
        column[dice.integers(0, len(column), count)] = dice.integers(low, min(high, int(limits.max)), count)
        return table.set_column(table.schema.names.index(name), table.schema.field(name), [column])

    return _again(data, change)


def columns_swapped(data: bytes, dice: Dice) -> bytes:
    """Let two columns of the same type trade places, or shuffle the rows of one."""

    def change(table: pa.Table) -> pa.Table:
        subject, other = table["subject"], table["object"]
        if dice.random() < 0.5:
            table = table.set_column(3, "subject", other)
            return table.set_column(4, "object", subject)
        i = int(dice.integers(table.num_columns))
        return table.set_column(i, table.schema.field(i), [dice.permutation(table.column(i).to_numpy())])

    return _again(data, change)


HOSTILE: tuple[Any, ...] = (None, True, -1, 5, 10**9, 1 << 70, 1e300, "two", "[/b]\x1b[2J", [], [[]], {}, {"a": None})


def header_changed(data: bytes, dice: Dice) -> bytes:
    """Put something else into the header."""

    def change(table: pa.Table) -> pa.Table:
        metadata = dict(table.schema.metadata)
        header = json.loads(metadata[b"fpstate.header"])
        value = HOSTILE[dice.integers(len(HOSTILE))]
        if dice.random() < 0.1:
            header = value
        else:
            header[str(dice.choice(sorted(header)))] = value
        metadata[b"fpstate.header"] = json.dumps(header).encode()
        return table.replace_schema_metadata(metadata)

    return _again(data, change)


def contexts_changed(data: bytes, dice: Dice) -> bytes:
    """Put other numbers into the table of contexts."""

    def change(table: pa.Table) -> pa.Table:
        metadata = dict(table.schema.metadata)
        contexts = pa.ipc.open_stream(bytes.fromhex(metadata[b"fpstate.contexts"].decode())).read_all()
        i = int(dice.integers(contexts.num_columns))
        field = contexts.schema.field(i)
        values = contexts.column(i).to_pylist()
        wrong: dict[Any, list[Any]] = {pa.string(): [None, "", "[/b]\x1b[2J"], pa.bool_(): [None, True, False]}
        low = 0 if pa.types.is_unsigned_integer(field.type) else -3
        for at in dice.integers(0, len(values), int(dice.choice([1, 3]))):
            choices = wrong.get(field.type, [None, *range(low, 5), 2**8 - 1 if low == 0 else 2**31 - 1])
            values[at] = choices[dice.integers(len(choices))]
        if dice.random() < 0.1:
            values = values[:-1]
            contexts = contexts.slice(0, len(values))
        contexts = contexts.set_column(i, field, [pa.array(values, field.type)])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, contexts.schema) as stream:
            stream.write_table(contexts)
        metadata[b"fpstate.contexts"] = sink.getvalue().to_pybytes().hex().encode()
        return table.replace_schema_metadata(metadata)

    return _again(data, change)


KINDS = (bytes_changed, cut, values_changed, columns_swapped, header_changed, contexts_changed)


def use(path: Path) -> None:
    """Do with a trace what commands do; raise FpstateError if it is none."""
    trace = read_trace(path)
    describe(trace)
    for name in ("linux-6.14", "defer-to-put"):
        policy = find_policy(name)
        for maybe in (False, True):
            replay(trace, Rows(policy), maybe=maybe)
        validate(trace, policy)


def attempt(kind: Callable[[bytes, Dice], bytes], seed: int, folder: Path) -> str:
    """Make one damaged file and use it; return the error's message, "" if it was taken."""
    path = folder / "damaged.parquet"
    path.write_bytes(kind(good(folder), np.random.default_rng(seed)))
    try:
        use(path)
    except FpstateError as error:
        message = str(error)
        assert str(path) in message
        assert "\n" not in message
        return message
    return ""


def main() -> None:
    """Try many files of each kind, and say how many were refused."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many files of each kind (default: 10000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first of them (default: 1)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS:
            refused = sum(bool(attempt(kind, args.seed + i, Path(name))) for i in range(args.count))
            sys.stdout.write(f"{kind.__name__}: {args.count} files from seed {args.seed}, {refused} refused\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
