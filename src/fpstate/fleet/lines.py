"""Rows as lines of JSON: how workers hand them over, and how a journal keeps them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from fpstate.fleet.job import Row
from fpstate.fleet.kind import NUMBER, REAL, TEXT, YES, Kind

SCHEMA_KEY = b"fpstate.schema"
TYPES = {TEXT: pa.string(), NUMBER: pa.int64(), REAL: pa.float64(), YES: pa.bool_()}
BLOCK = 1 << 24
"""Bytes of lines that are read at once; no line is longer."""


def schema_of(kind: Kind) -> pa.Schema:
    """Return the columns of a kind's table, with name and version of its form."""
    return pa.schema([(n, TYPES[what]) for n, what in kind.columns.items()], {SCHEMA_KEY: kind.schema.encode()})


def lines_of(kind: Kind, rows: Iterable[Row]) -> bytes:
    """Return a line for each row, with all columns of its kind."""
    empty = dict.fromkeys(kind.columns)
    return "".join(json.dumps(empty | row, default=_plain) + "\n" for row in rows).encode()


def table_of(kind: Kind, lines: bytes) -> pa.Table:
    """Return what lines hold."""
    if not lines:
        return schema_of(kind).empty_table()
    options = arrow_json.ParseOptions(explicit_schema=schema_of(kind), unexpected_field_behavior="error")
    read = arrow_json.ReadOptions(block_size=BLOCK)
    return arrow_json.read_json(io.BytesIO(lines), read, options).select(list(kind.columns)).cast(schema_of(kind))


def whole(kind: Kind, lines: bytes) -> bytes:
    """Return the lines that are rows of a kind: a process that was killed may have left half of one."""
    return b"".join(line + b"\n" for line in lines.split(b"\n") if _is_row(kind, line))


def _is_row(kind: Kind, line: bytes) -> bool:
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and list(row) == list(kind.columns)


def _plain(value: Any) -> Any:
    """Return a number of NumPy as one of Python."""
    return value.item()
