"""The table of a fleet: one Parquet file that is always whole, and beside it what has come since it was written.

Each row that comes is first a line of a journal, `NAME.journal`, so that nothing is lost with this process; now and
then all of it is written as the table anew, which takes the old one's place at once. At the end there is no journal.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from fpstate.errors import FpstateError
from fpstate.files import cannot_write, refuse_foreign, replacing
from fpstate.fleet.job import Ask, Row
from fpstate.fleet.kind import Kind
from fpstate.fleet.lines import SCHEMA_KEY, schema_of, table_of, whole

REST = 10.0
"""Seconds at least between two writings of the whole table, and at least so many times as long as the last one took."""


class Table:
    """The rows of one kind in one file. A row is told from others by its label; a later one replaces an earlier."""

    def __init__(self, path: Path, kind: Kind) -> None:
        """Open the table, an empty one if there is no file.

        Raise FpstateError if another kind of file is there, if it cannot be written, or if another process writes it.
        """
        self.path, self.kind = path, kind
        self.journal = path.with_name(f"{path.name}.journal")
        self.schema = schema_of(kind)
        self._kept = self._read()
        self._file = self._opened()
        self._fresh = self._left_in_journal()
        self._changed = bool(self._fresh)
        self._fold()
        names = [*kind.label, "key", "error"]
        self._known = {self._place(row): row for row in self._kept.select(names).to_pylist()}
        self._next = time.monotonic() + REST

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def answered(self, ask: Ask) -> bool:
        """Return whether the answer was there at the start, from the same code and input; an error is none."""
        known = self._known.get(ask.place)
        return known is not None and known["key"] == ask.key and known["error"] is None

    def add(self, lines: bytes) -> None:
        """Keep rows that came, as `lines_of` has them; FpstateError if they cannot be written."""
        try:
            self._file.write(lines)
        except OSError as error:
            raise cannot_write(self.journal, error) from None
        self._fresh.append(lines)
        self._changed = True
        if time.monotonic() > self._next:
            self.write()

    def write(self, order: Sequence[Ask] = ()) -> None:
        """Write the whole table, rows of `order` first; what was in the journal is then in it."""
        began = time.monotonic()
        self._fold()
        if order:
            self._kept = _taken(self._kept, self._sorted(order))
        with replacing(self.path) as file:
            pq.write_table(self._kept, file, compression="zstd", write_page_checksum=True)
        self._file.truncate(0)
        self._changed = False
        now = time.monotonic()
        self._next = now + max(REST, REST * (now - began))

    def rows_of(self, asks: Sequence[Ask]) -> pa.Table:
        """Return the rows of these, in their order, as far as they are there."""
        self._fold()
        places = self._numbers(self._kept)
        return _taken(self._kept, [places[ask.place] for ask in asks if ask.place in places])

    def close(self) -> None:
        """Write what is not written, and leave no journal."""
        if self._file.closed:
            return
        try:
            if self._changed:
                self.write()
            self.journal.unlink()
        finally:
            self._file.close()

    def _opened(self) -> BinaryIO:
        try:
            file = self.journal.open("a+b", buffering=0)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise FpstateError(
                f"'{self.path}' is being written by another process", expected="another name, or to wait for it"
            ) from None
        return file

    def _read(self) -> pa.Table:
        path = self.path
        if path.is_dir() or not path.name:
            raise FpstateError(f"'{path}' is a folder", expected="the name of a file to write, like results.parquet")
        if not path.exists() or not path.stat().st_size:
            return self.schema.empty_table()
        hint = "remove it first if it is not needed any more"
        refuse_foreign(path, b"PAR1")
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                found = (file.metadata.metadata or {}).get(SCHEMA_KEY, b"").decode()
                if found != self.kind.schema or not file.schema_arrow.equals(self.schema):
                    what = f"holds {found or 'other data'}"
                    expected = f"a table of {self.kind.schema}, or another name"
                    raise FpstateError(what, expected=expected, where=str(path), hint=hint)
                return file.read()
        except (OSError, pa.ArrowException) as error:
            why = f"cannot be read as a table: {str(error).splitlines()[0]}"
            raise FpstateError(why, expected="another name", where=str(path), hint=hint) from None

    def _left_in_journal(self) -> list[bytes]:
        """Return what a process had written that did not come to its end."""
        self._file.seek(0)
        content = self._file.read()
        if content and not content.endswith(b"\n"):
            self._file.write(b"\n")
        lines = whole(self.kind, content)
        return [lines] if lines else []

    def _place(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self.kind.label)

    def _numbers(self, table: pa.Table) -> dict[tuple[Any, ...], int]:
        return {self._place(row): i for i, row in enumerate(table.select(list(self.kind.label)).to_pylist())}

    def _fold(self) -> None:
        """Take what came into the table in memory, in place of what it replaces; of two the later counts."""
        if not self._fresh:
            return
        came = table_of(self.kind, b"".join(self._fresh))
        fresh = self._numbers(came)
        left = [i for place, i in self._numbers(self._kept).items() if place not in fresh]
        self._kept = pa.concat_tables([_taken(self._kept, left), _taken(came, list(fresh.values()))]).combine_chunks()
        self._fresh = []

    def _sorted(self, order: Sequence[Ask]) -> list[int]:
        places = self._numbers(self._kept)
        first = [places.pop(ask.place) for ask in order if ask.place in places]
        return [*first, *places.values()]


def _taken(table: pa.Table, numbers: list[int]) -> pa.Table:
    return table.take(pa.array(numbers, pa.int64()))
