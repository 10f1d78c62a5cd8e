"""Where the bytes of a trace come from: a plain, gzip or zstd file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from fpstate.errors import FpstateError

GZIP, ZSTD, DAT, PARQUET, TEXT = "gzip", "zstd", "trace.dat", "parquet", "text"
_MAGIC = {
    b"\x1f\x8b": GZIP,
    b"\x28\xb5\x2f\xfd": ZSTD,
    b"\x17\x08\x44tracing": DAT,
    b"PAR1": PARQUET,
}


class _Bytes(Protocol):
    def readinto(self, buffer: Any, /) -> int | None: ...


class Source:
    """The text of a trace, and how far into the file it has been read."""

    def __init__(self, path: Path, kind: str, text: _Bytes, file: Any) -> None:
        self.path = path
        self.kind = kind
        self.size = path.stat().st_size
        self._text = text
        self._file = file

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from the front; return the bytes read, 0 at the end. Raise FpstateError when damaged."""
        try:
            return self._text.readinto(buffer) or 0
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
            raise _damaged(self.path, self.kind, error) from None

    def position(self) -> int:
        """Return how many bytes of the file itself have been read."""
        return int(self._file.tell()) if self._file is not None else 0


def _damaged(path: Path, kind: str, error: Exception) -> FpstateError:
    if kind == TEXT:
        return FpstateError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path))
    cut = isinstance(error, EOFError) or "runcated" in str(error)
    given = f"the {kind} file is cut short" if cut else f"the {kind} file is damaged"
    return FpstateError(given, expected=f"a whole {kind} file", where=str(path), hint="copy or record it again")


def kind_of(path: Path) -> str:
    """Return what the first bytes of a file say it is. Raise FpstateError when it cannot be opened."""
    try:
        if path.is_dir():
            raise FpstateError("is a folder", expected="a trace file", where=str(path))
        if path.exists() and not path.is_file() and not path.is_char_device():
            hint = "write it to a file first: it is read more than once"
            raise FpstateError("is a pipe or socket", expected="a trace file", where=str(path), hint=hint)
        with path.open("rb") as file:
            first = file.read(16)
    except OSError as error:
        raise FpstateError(
            f"cannot be opened: {error.strerror or error}", expected="a trace file", where=str(path)
        ) from None
    if not first:
        raise FpstateError("is empty", expected="a trace with at least one event", where=str(path))
    return next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), TEXT)


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a trace of text for reading it once."""
    kind = kind_of(path)
    with path.open("rb") as file:
        text: Any = file
        if kind == GZIP:
            text = gzip.GzipFile(fileobj=file)
        elif kind == ZSTD:
            text = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")
        yield Source(path, kind, text, file)
