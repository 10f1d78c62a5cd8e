"""Where the text of a trace comes from: a plain file, a compressed one, a member of a zip, or `perf script`."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shlex import quote
from typing import Any, Protocol

import pyarrow as pa

from fpstate.errors import FpstateError
from fpstate.traces.lines import foreign
from fpstate.traces.lines.dress import Undressed, dress_of
from fpstate.traces.lines.perf import PerfText, perf_script

GZIP, ZSTD, XZ, BZ2, LZ4, ZIP = "gzip", "zstd", "xz", "bz2", "lz4", "zip"
DAT, PERF_DATA, PARQUET, TEXT = "trace.dat", "perf.data", "parquet", "text"
_MAGIC = {
    b"\x1f\x8b": GZIP,
    b"\x28\xb5\x2f\xfd": ZSTD,
    b"\xfd7zXZ\0": XZ,
    b"BZh": BZ2,
    b"\x04\x22\x4d\x18": LZ4,
    b"PK\x03\x04": ZIP,
    b"\x17\x08\x44tracing": DAT,
    b"PERFILE2": PERF_DATA,
    b"2ELIFREP": PERF_DATA,
    b"PAR1": PARQUET,
}
_HEAD = 1 << 18  # bytes looked at to tell what a text is
_BOM = b"\xef\xbb\xbf"
_UNREADABLE = (
    EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, OSError,
)  # fmt: skip


class _Bytes(Protocol):
    def readinto(self, buffer: Any, /) -> int | None: ...


class _Ahead:
    """A stream whose first bytes were read already."""

    def __init__(self, first: bytes, rest: _Bytes) -> None:
        self._first = first
        self._rest = rest

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from the front; return the bytes read, 0 at the end."""
        if not self._first:
            return self._rest.readinto(buffer) or 0
        n = min(len(buffer), len(self._first))
        buffer[:n] = self._first[:n]
        self._first = self._first[n:]
        return n


class Source:
    """The text of a trace, and how far into the file it has been read."""

    def __init__(self, path: Path, kind: str, text: _Bytes, file: Any) -> None:
        self.path = path
        self.kind = kind
        self.size = path.stat().st_size
        self._text = text
        self._file = file
        self._perf = text if isinstance(text, PerfText) else None
        self._undressed: Undressed | None = None

    def look(self) -> None:
        """Look at the beginning: refuse what is no text of a trace, and take off what stands around its lines."""
        first = self._first()
        foreign.refuse(self.path, first)
        plain = first.removeprefix(_BOM)
        self._text = _Ahead(plain, self._text)
        if self._perf is None and (dress := dress_of(plain)):
            self._text = self._undressed = Undressed(self._text, dress)

    def _first(self) -> bytes:
        first = bytearray(_HEAD)
        have, got = 0, 1
        while have < _HEAD and got:
            got = self.readinto(memoryview(first)[have:])
            have += got
        return bytes(first[:have])

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from the front; return the bytes read, 0 at the end. Raise FpstateError when damaged."""
        try:
            got = self._text.readinto(buffer) or 0
        except _UNREADABLE as error:
            raise _damaged(self.path, self.kind, error) from None
        if not got and self._undressed and self._undressed.is_page_without_trace():
            raise FpstateError(
                "is a web page without a trace in it",
                expected=foreign.ACCEPTED,
                where=str(self.path),
                hint="save the trace that it shows as text",
            )
        return got

    def position(self) -> int:
        """Return how many bytes of the file itself have been read."""
        return int(self._file.tell()) if self._file is not None else 0

    def said(self) -> list[str]:
        """Return sentences about what was left out on the way, at the end."""
        found = list(self._perf.said) if self._perf else []
        if self._undressed and self._undressed.others:
            n = self._undressed.others
            found.append(
                f"{n:,} {'line' if n == 1 else 'lines'} between those of the trace left out: not the tracer's."
            )
        return found


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


def _member(path: Path, file: Any) -> Any:
    """Return the one file in a zip. Raise FpstateError when there are several, or it has a password."""
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(path, ZIP, error) from None
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        names = ", ".join(repr(member.filename) for member in members[:5]) + (", ..." if len(members) > 5 else "")
        raise FpstateError(
            f"the zip holds {len(members)} files" + (f": {names}" if members else ""),
            expected="a zip with one trace in it",
            where=str(path),
            hint=f"unzip {quote(str(path))}, and give the trace",
        )
    if members[0].flag_bits & 1:
        hint = f"unzip {quote(str(path))}, and give the trace"
        raise FpstateError("the zip has a password", expected="a zip without one", where=str(path), hint=hint)
    try:
        return archive.open(members[0])
    except (NotImplementedError, zipfile.BadZipFile, OSError) as error:
        raise _damaged(path, ZIP, error) from None


def _decompressed(path: Path, kind: str, file: Any) -> Any:
    if kind == GZIP:
        return gzip.GzipFile(fileobj=file)
    if kind in (ZSTD, LZ4):
        return pa.CompressedInputStream(pa.PythonFile(file, "r"), kind)
    if kind == XZ:
        return lzma.LZMAFile(file)
    if kind == BZ2:
        return bz2.BZ2File(file)
    return _member(path, file) if kind == ZIP else file


@contextmanager
def open_source(path: Path) -> Iterator[Source]:
    """Open a trace of text for reading it once. Raise FpstateError when it is something else."""
    kind = kind_of(path)
    with ExitStack() as stack:
        file: Any = None
        if kind == PERF_DATA:
            text: Any = stack.enter_context(perf_script(path))
        else:
            file = stack.enter_context(path.open("rb"))
            text = _decompressed(path, kind, file)
        source = Source(path, kind, text, file)
        source.look()
        yield source
