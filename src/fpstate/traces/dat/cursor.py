"""Reading numbers and strings one after the other, from a file or from a part of one that was compressed."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa

from fpstate.errors import FpstateError

LONGEST_STRING = 4096
LARGEST_SECTION = 1 << 30
LARGEST_CHUNK = 64 << 20
COMPRESSIONS = ("none", "zlib", "zstd")


def damaged(path: Path, given: str) -> FpstateError:
    """Return the error for a trace.dat of which something is not as it has to be."""
    return FpstateError(
        f"the trace.dat is damaged: {given}",
        expected="a trace.dat of version 6 or 7 as trace-cmd writes it",
        where=str(path),
        hint="copy or record it again",
    )


def printable(text: bytes) -> str:
    """Return text of a file as it may be shown."""
    return "".join(c if c.isprintable() else "?" for c in text.decode("utf-8", "backslashreplace"))


class Cursor:
    """A place in a file. Every read says what it reads, for the error where the file ends before."""

    def __init__(self, path: Path, file: IO[bytes], size: int) -> None:
        self.path = path
        self.size = size
        self.order: Literal["little", "big"] = "little"
        self._file = file

    def seek(self, to: int, what: str) -> None:
        """Go on at byte `to`, where `what` is said to be."""
        if to > self.size:
            raise self._short(what)
        self._file.seek(to)

    def tell(self) -> int:
        """Return the place."""
        return self._file.tell()

    def take(self, n: int, what: str) -> bytes:
        """Return the next `n` bytes."""
        if n > self.size - self._file.tell():
            raise self._short(what)
        return self._file.read(n)

    def fill(self, view: memoryview, what: str) -> None:
        """Fill `view` with the next bytes."""
        if self._file.readinto(view) != len(view):  # type: ignore[attr-defined]
            raise self._short(what)

    def number(self, n: int, what: str) -> int:
        """Return the next number, of `n` bytes."""
        return int.from_bytes(self.take(n, what), self.order)

    def string(self, what: str) -> str:
        """Return the text up to the next zero byte."""
        start = self._file.tell()
        text, zero, _ = self._file.read(LONGEST_STRING).partition(b"\0")
        if not zero:
            raise self._short(what)
        self._file.seek(start + len(text) + 1)
        return printable(text)

    def within(self, data: bytes) -> Cursor:
        """Return a cursor for a part that was read or decompressed."""
        part = Cursor(self.path, BytesIO(data), len(data))
        part.order = self.order
        return part

    def decompressed(self, compression: str, largest: int, what: str) -> bytes:
        """Return what the compressed piece here holds: two sizes of 4 bytes, then the bytes."""
        if compression == "none":
            raise damaged(self.path, f"{what} is compressed, and nothing else is")
        packed, size = self.number(4, what), self.number(4, what)
        if size > largest:
            raise damaged(self.path, f"{what} would be {size} bytes")
        data = self.take(packed, what)
        try:
            if compression == "zlib":
                result = zlib.decompressobj().decompress(data, size + 1)
            else:
                result = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read(size + 1)
        except (zlib.error, OSError):
            raise damaged(self.path, f"{what} cannot be decompressed") from None
        if len(result) != size:
            raise damaged(self.path, f"{what} has {len(result)} bytes and should have {size}")
        return bytes(result)

    def _short(self, what: str) -> FpstateError:
        return FpstateError(
            f"the trace.dat file is cut short: {what} is not in it",
            expected="a whole trace.dat file",
            where=str(self.path),
            hint="copy or record it again",
        )
