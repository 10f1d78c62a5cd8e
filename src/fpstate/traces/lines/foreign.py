"""Files that are no trace, or no longer one: what each is, and the command that makes it readable."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

from fpstate.errors import FpstateError

ACCEPTED = (
    "text of ftrace, `trace-cmd report` or `perf script`, plain or in gzip, zstd, xz, bz2, lz4 or zip; "
    "a trace.dat; a perf.data; or a .parquet"
)
_TAR_AT, _TAR = 257, b"ustar"
_MAGIC = {
    b"\x7fELF": ("is an ELF program", ""),
    b"\x17\x08\x44tracing": ("is a compressed trace.dat", "decompress {file} and give the trace.dat"),
    b"PERFILE2": ("is a compressed perf.data", "decompress {file} and give the perf.data"),
    b"2ELIFREP": ("is a compressed perf.data", "decompress {file} and give the perf.data"),
    b"PAR1": ("is a compressed .parquet", "decompress {file} and give the .parquet"),
    b"\x1f\x8b": ("is compressed twice", "decompress {file} once"),
    b"\x28\xb5\x2f\xfd": ("is compressed twice", "decompress {file} once"),
    b"\xfd7zXZ\0": ("is compressed twice", "decompress {file} once"),
    b"BZh": ("is compressed twice", "decompress {file} once"),
    b"PK\x03\x04": ("is a zip archive in a compressed file", "unpack {file} and give the trace in it"),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", "7z x {file}"),
    b"Rar!": ("is a rar archive", "unrar x {file}"),
    b"\x1f\x9d": ("is compressed with compress", "uncompress {file}"),
    b"SQLite format 3\0": ("is an SQLite database", "give the recording it was made from"),
    b"\xc1\x1f\xfc\xc1": (
        "is a stream of CTF, as LTTng writes",
        "no tool makes ftrace text of it: record with trace-cmd",
    ),
    b"\xff\xfe": ("is text in UTF-16", "iconv -f UTF-16 -t UTF-8 {file} > trace.txt"),
    b"\xfe\xff": ("is text in UTF-16", "iconv -f UTF-16 -t UTF-8 {file} > trace.txt"),
}
_START = 8192  # bytes
_ATRACE = re.compile(rb"(?:^|\n)TRACE:\n\x78[\x01\x5e\x9c\xda]")
_JSON = re.compile(rb"\s*(?:\{\s*\"|\[\s*\{)")
_MAIL = re.compile(rb"Content-Transfer-Encoding: (?:base64|quoted-printable)\s*$", re.M | re.I)


def tar_of(path: Path, head: bytes) -> FpstateError | None:
    """Return the error for a tar archive, plain or as it comes out of a compressed file."""
    if head[_TAR_AT : _TAR_AT + len(_TAR)] != _TAR:
        return None
    return _error(path, "is a tar archive", "tar -xf {file}, and give the trace in it")


def refuse(path: Path, head: bytes) -> None:
    """Raise FpstateError when the first bytes, decompressed, are those of something that is no trace."""
    if error := tar_of(path, head):
        raise error
    for magic, (given, hint) in _MAGIC.items():
        if head.startswith(magic):
            raise _error(path, given, hint)
    if _ATRACE.search(head[:_START]):
        raise _error(path, "is what `atrace -z` writes, compressed with zlib", "record with atrace, without -z")
    if _JSON.match(head):
        hint = "give the text of ftrace that it was made from; of a Perfetto trace: `traceconv systrace`"
        raise _error(path, "is JSON, as trace viewers of the browser read", hint)
    if b"\0" in head[:_START]:
        hint = "of a Perfetto trace: `traceconv systrace {file} trace.txt`" if head.startswith(b"\n") else ""
        raise _error(path, "is a binary file, not a trace", hint)
    if found := _MAIL.search(head[:_START]):
        word = found[0].split(b":")[1].strip().decode().lower()
        raise _error(path, f"is a mail whose text is encoded as {word}", "save its text from the mail program")


def _error(path: Path, given: str, hint: str) -> FpstateError:
    return FpstateError(given, expected=ACCEPTED, where=str(path), hint=hint.replace("{file}", quote(str(path))))
