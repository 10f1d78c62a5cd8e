"""Traces as Parquet files: the event columns, with the contexts and the header in the file's metadata.

Columns refer to contexts in the order an import met them; metadata has the table to put them in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fpstate.errors import FpstateError
from fpstate.files import cannot_write, refuse_input, replacing
from fpstate.traces.checked import EXPECTED, check_columns, check_contexts, check_header
from fpstate.traces.events.contexts import Found
from fpstate.traces.events.known import Rows
from fpstate.traces.importer import Import, OutOfOrderError, Progress, as_trace
from fpstate.traces.lines.source import PARQUET, kind_of
from fpstate.traces.trace import Contexts, Header, Trace

SCHEMA_NAME = "fpstate.trace/2"
_SCHEMA_KEY, _HEADER_KEY, _CONTEXTS_KEY = b"fpstate.schema", b"fpstate.header", b"fpstate.contexts"
_SCHEMA = pa.schema(
    [
        ("time", pa.int64()),
        ("cpu", pa.uint16()),
        ("event", pa.uint8()),
        ("subject", pa.int32()),
        ("object", pa.int32()),
        ("line", pa.uint32()),
    ]
)
_CONTEXTS = pa.schema(
    [
        ("kind", pa.uint8()),
        ("tid", pa.int32()),
        ("owner", pa.int32()),
        ("name", pa.string()),
        ("place", pa.int32()),
        ("inside", pa.bool_()),
    ]
)
_ROWS_OF_GROUP = 1 << 20


def write_parquet(trace: Trace, path: Path | str) -> None:
    """Write a trace. Raise FpstateError, and leave no file behind, when that fails."""
    rows = Rows(trace.time, trace.cpu, trace.event, trace.subject, trace.object, trace.line)
    place = np.arange(len(trace.contexts), dtype=np.int32)
    inside = np.zeros(len(place), bool)
    _write(Path(path), [rows], lambda: (Found(trace.contexts, place, inside), trace.header))


def import_parquet(
    source: Path | str, path: Path | str, *, progress: Progress | None = None, allow_lost: bool = True
) -> Header:
    """Import a trace into a Parquet file in bounded memory and return its header.

    A trace whose lines are not in order of time is read a second time, whole.
    Raise FpstateError, and leave no file behind, when the trace is bad or the file cannot be written.
    """
    source, path = Path(source), Path(path)
    refuse_input(path, source)
    if kind_of(source) == PARQUET:
        trace = read_parquet(source)
        write_parquet(trace, path)
        return trace.header
    for whole in (False, True):
        job = Import(source, whole=whole, progress=progress, allow_lost=allow_lost)
        try:
            return _write(path, job.chunks(), job.end)
        except OutOfOrderError:
            continue
    raise AssertionError("a whole import is always in order")


def _write(path: Path, chunks: Iterable[Rows], end: Callable[[], tuple[Found, Header]]) -> Header:
    """Write chunks to a file that takes the name `path` when it is whole; `end` is called after the last chunk."""
    if path.is_file() and path.stat().st_size and kind_of(path) != PARQUET:
        hint = "remove it first if it is not needed any more"
        raise FpstateError(f"'{path}' is there and is no trace of ours", expected="another name", hint=hint)
    with replacing(path) as file:
        try:
            return _write_rows(file, chunks, end)
        except pa.ArrowException as error:
            raise cannot_write(path, error) from None


def _write_rows(file: Any, chunks: Iterable[Rows], end: Callable[[], tuple[Found, Header]]) -> Header:
    with pq.ParquetWriter(file, _SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for table in _grouped(chunks):
            writer.write_table(table, row_group_size=_ROWS_OF_GROUP)
        found, header = end()
        writer.add_key_value_metadata(_metadata(found, header))
    return header


def _grouped(chunks: Iterable[Rows]) -> Iterable[pa.Table]:
    """Yield tables of about a row group each."""
    waiting: list[pa.Table] = []
    rows = 0
    for chunk in chunks:
        waiting.append(pa.table([pa.array(column) for column in chunk], schema=_SCHEMA))
        rows += len(chunk.time)
        if rows >= _ROWS_OF_GROUP:
            yield pa.concat_tables(waiting)
            waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _metadata(found: Found, header: Header) -> dict[bytes, bytes | str]:
    c = found.contexts
    columns = [c.kind, c.tid, c.owner, pa.array(c.name, pa.string()), found.place, found.inside]
    table = pa.table(columns, schema=_CONTEXTS)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _CONTEXTS, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    # the metadata of Parquet is text: the blob goes in as hexadecimal digits
    return {
        _SCHEMA_KEY: SCHEMA_NAME,
        _HEADER_KEY: json.dumps(asdict(header)),
        _CONTEXTS_KEY: sink.getvalue().to_pybytes().hex(),
    }


def read_parquet(path: Path | str) -> Trace:
    """Return the trace in a Parquet file. Raise FpstateError when it is another file or damaged."""
    path = Path(path)
    kind_of(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found, header = _read_metadata(path, file.schema_arrow, file.metadata.metadata or {})
            check_contexts(str(path), found, header.cpus)
            rows = Rows(*(_column(file, name) for name in _SCHEMA.names))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError, RecursionError) as error:
        why = str(error).split("\n")[0]
        raise FpstateError(f"is a damaged Parquet file: {why}", expected=EXPECTED, where=str(path)) from None
    check_columns(str(path), rows, found, header.cpus)
    return as_trace(rows, found, header)


def _column(file: pq.ParquetFile, name: str) -> Any:
    return _numbers(file.read(columns=[name]), name)


def _numbers(table: pa.Table, name: str) -> Any:
    """Return a column as an array. ValueError if it has gaps."""
    column = table[name]
    if column.null_count:
        raise ValueError(f"column '{name}' has gaps")
    return column.to_numpy()


def _read_metadata(path: Path, schema: pa.Schema, metadata: dict[bytes, bytes]) -> tuple[Found, Header]:
    version = metadata.get(_SCHEMA_KEY, b"").decode()
    if not version:
        raise FpstateError("is a Parquet file that holds no trace", expected=EXPECTED, where=str(path))
    if version != SCHEMA_NAME or not schema.remove_metadata().equals(_SCHEMA):
        raise FpstateError(
            f"holds a trace in form {version}", expected=SCHEMA_NAME, where=str(path), hint="import the recording again"
        )
    header = Header(**check_header(str(path), json.loads(metadata[_HEADER_KEY])))
    blob = bytes.fromhex(metadata[_CONTEXTS_KEY].decode())
    table = pa.ipc.open_stream(blob).read_all().cast(_CONTEXTS)
    kind, tid, owner, place, inside = (_numbers(table, n) for n in ("kind", "tid", "owner", "place", "inside"))
    return Found(Contexts(kind, tid, owner, table["name"].to_pylist()), place, inside), header
