"""What stands around the lines of a trace in files that people send, taken off before they are read.

Lines keep their numbers: one that is no line of the trace becomes an empty one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

_SYSLOG = rb"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*) (?:\S+ )?\S+: ?"
_DMESG = rb"(?:<\d{1,3}>)?\[ *\d+\.\d{3,9}\](?:\[ *[TC]\d+\])? ?"
_PREFIX = re.compile(rb"(?m)^(?:(?:> ?)|(?:%s)|(?:%s))+" % (_SYSLOG, _DMESG))
_LOG = re.compile(rb"(?:> ?)*(?:%s|%s)" % (_SYSLOG, _DMESG))
_EVENT = re.compile(
    rb"[ \t]*\S.{0,60}?(?:-\d+[ \t]+(?:\( *[-\d]+\)[ \t]+)?(?:\[\d{3,}\]|\d+[.a-zA-Z])|\d+[ \t]+\[\d{3,}\])"
    rb"[^:\n]{0,40}?\d(?:us.)?: *\S"
)
"""Roughly what a line of an event looks like."""
_DUMP = re.compile(rb"[ \t]*\S.{0,60}?-\d+ +\d+[.a-zA-Z]\S* +\d+us.:")
_KEPT = re.compile(rb"[ \t]*#|CPU:?\d+ |\s*CPU:?\d+ \[")
_FENCE = re.compile(rb"(?m)^[ \t]*(?:```|~~~)")
_PAGE = re.compile(rb"\s*(?:<!doctype html|<html|<!--)", re.I)
_SCRIPT_TRACE = re.compile(rb"# tracer: \S+")
_SCRIPT_END = b"</script"
_JS_END = re.compile(rb"\\n\\$")
_JS_ESCAPE = re.compile(rb"\\(.)")
_SAMPLE = 400  # lines looked at
_BLOCK = 1 << 20
_LONGEST = 1 << 24


class _Bytes(Protocol):
    def readinto(self, buffer: Any, /) -> int | None: ...


@dataclass
class Dress:
    """What stands around the lines: kinds that may come together."""

    what: str  # for people
    prefix: bool = False  # quoting, a log's time, host and program
    others: bool = False  # lines of others stand between
    tabs: bool = False
    fenced: bool = False
    page: bool = False  # a page of systrace or atrace, the trace inside


def dress_of(head: bytes) -> Dress | None:
    """Return what stands around the lines of a file that begins with `head`; None if nothing does, as mostly."""
    if _PAGE.match(head):
        return Dress("a page of a trace viewer", page=True)
    lines = [line for line in head[: 1 << 17].split(b"\n")[:_SAMPLE] if line.strip() and not line.startswith(b"#")]
    events = [line for line in lines if _EVENT.match(_PREFIX.sub(b"", line))]
    if not events:
        return None
    prefix = all(_PREFIX.match(line) for line in events)
    dump = sum(_DUMP.match(_PREFIX.sub(b"", line)) is not None for line in events) * 2 > len(events)
    log = dump or (prefix and any(_LOG.match(line) for line in events))
    tabs = sum(b"\t" in line.rstrip()[1:].split(b":", 1)[0] for line in events) * 2 > len(events)
    fenced = _FENCE.search(head[: head.index(events[0])]) is not None
    if not (prefix or log or tabs or fenced):
        return None
    what = "a log" if log else "quoted text" if prefix else "text between fences" if fenced else "text with tabs"
    return Dress(what, prefix, log, tabs, fenced)


class Undressed:
    """The text of a trace without its dress. `others` counts the lines of others that were left out."""

    def __init__(self, text: _Bytes, dress: Dress) -> None:
        self._text = text
        self._dress = dress
        self._block = bytearray(_BLOCK)
        self._rest = b""  # the beginning of a line
        self._ready = b""
        self._inside = False
        self._ended = False
        self._found = False
        self.others = 0

    def is_page_without_trace(self) -> bool:
        """Return whether it is a page in which no trace began."""
        return self._dress.page and not self._found

    def readinto(self, buffer: memoryview) -> int:
        """Fill `buffer` from the front; return the bytes read, 0 at the end."""
        while not self._ready and not self._ended:
            self._more()
        n = min(len(buffer), len(self._ready))
        buffer[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def _more(self) -> None:
        got = self._text.readinto(self._block) or 0
        data = self._rest + bytes(self._block[:got])
        self._ended = not got
        cut = len(data) if self._ended or len(data) > _LONGEST else data.rfind(b"\n") + 1
        self._rest, data = data[cut:], data[:cut]
        self._ready = self._undress(data)

    def _undress(self, text: bytes) -> bytes:
        dress = self._dress
        if dress.page:
            return self._lines(text, self._of_page)
        if dress.prefix:
            text = _PREFIX.sub(b"", text)
        if dress.tabs:
            text = re.sub(rb"(?m)(?<=.)\t", b" ", text)
        if dress.fenced:
            text = self._lines(text, self._of_fenced)
        if dress.others:
            text = self._lines(text, self._of_log)
        return text

    def _lines(self, text: bytes, one: Any) -> bytes:
        return b"\n".join([one(line) for line in text.split(b"\n")])

    def _of_log(self, line: bytes) -> bytes:
        if not line or _EVENT.match(line) or _KEPT.match(line):
            return line
        self.others += 1
        return b""

    def _of_fenced(self, line: bytes) -> bytes:
        if _FENCE.match(line):
            self._inside = not self._inside
            return b""
        if self._inside:
            return line
        self.others += bool(line.strip())
        return b""

    def _of_page(self, line: bytes) -> bytes:
        if not self._inside:
            start = _SCRIPT_TRACE.search(line)
            if not start:
                return b""
            self._inside = self._found = True
            line = line[start.start() :]
        if _SCRIPT_END in line:
            line = line[: line.index(_SCRIPT_END)]
            self._inside = False
        if _JS_END.search(line):
            line = _JS_ESCAPE.sub(rb"\1", _JS_END.sub(b"", line))
        return self._of_log(line)
