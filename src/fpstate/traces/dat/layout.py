"""The parts of a trace.dat: what it says about the machine, and where the records of each CPU are.

Versions 6 and 7, after trace-cmd.dat.v6(5) and trace-cmd.dat.v7(5). What those leave out was seen in files that
trace-cmd 3.1.6 wrote: that a buffer of version 6 other than the first has a table of its own at the place its option
gives, beginning with the word `flyrecord`; and that a CPU's compressed records begin with their number of chunks.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fpstate.errors import FpstateError
from fpstate.traces.dat.cursor import COMPRESSIONS, LARGEST_SECTION, Cursor, damaged, printable
from fpstate.traces.lines.codes import MAX_CPU

MAGIC = b"\x17\x08\x44tracing"
MOST_BUFFERS = 63
_SMALLEST_PAGE, _LARGEST_PAGE = 256, 16 << 20
_MOST_FORMATS = 1 << 16

(
    _DONE, _DATE, _CPUSTAT, _BUFFER, _CLOCK, _UNAME, _HOOK, _OFFSET, _CPUCOUNT, _VERSION, _MAPS, _TRACE_ID, _SHIFT,
    _GUEST, _TSC, _, _HEADERS, _FTRACE, _EVENTS, _KALLSYMS, _PRINTK, _CMDLINES, _TEXT,
) = range(23)  # fmt: skip
"""Options, and sections of version 7 by the same numbers."""


@dataclass(frozen=True)
class Part:
    """Where the records of one CPU in one buffer are: `size` bytes at `offset`."""

    cpu: int
    offset: int
    size: int


@dataclass
class Buffer:
    """One buffer: the first, whose name is empty, or an instance."""

    name: str
    page_size: int
    parts: list[Part]
    compressed: bool = False


@dataclass
class Layout:
    """All that a file says but for the records."""

    path: Path
    cursor: Cursor
    page_size: int = 0
    compression: str = "none"
    header_page: str = ""
    formats: list[str] = field(default_factory=list)
    kallsyms: bytes = b""
    cmdlines: bytes = b""
    cpus: int = 0
    buffers: list[Buffer] = field(default_factory=list)
    uname: str = ""
    clock: str = ""
    shift: int = 0  # nanoseconds to add to each time
    tsc: tuple[int, int, int] = (0, 0, 0)  # multiplier, shift, offset
    overrun: dict[int, int] = field(default_factory=dict)  # CPU -> events that its statistics say were lost
    guests: list[str] = field(default_factory=list)  # that the file of a host names
    in_guest: bool = False  # the file names the host of the machine it is from


def read_layout(path: Path, file: IO[bytes], size: int) -> Layout:
    """Return what the file says. Raise FpstateError when it is damaged, or of another version."""
    cursor = Cursor(path, file, size)
    found = Layout(path, cursor)
    cursor.take(len(MAGIC), "its beginning")
    version = cursor.string("its version")
    if version not in ("6", "7"):
        raise FpstateError(
            f"is a trace.dat of version '{version[:20]}'",
            expected="version 6 or 7",
            where=str(path),
            hint="`trace-cmd report -N -t -l` prints it as text, which can be imported",
        )
    cursor.order = "big" if cursor.number(1, "its byte order") else "little"
    cursor.number(1, "its size of a long")
    found.page_size = _page_size(path, cursor.number(4, "its page size"))
    if version == "7":
        _read_sections(found)
    else:
        _read_stream(found)
    if not found.formats or not found.header_page:
        raise damaged(path, "it has no event formats")
    return found


def _page_size(path: Path, size: int) -> int:
    if not _SMALLEST_PAGE <= size <= _LARGEST_PAGE or size & (size - 1):
        raise damaged(path, f"its page size is {size}")
    return size


def _read_stream(found: Layout) -> None:
    """Read version 6, one part after the other."""
    cursor = found.cursor
    _headers(found, cursor)
    _ftrace_formats(found, cursor)
    _event_formats(found, cursor)
    found.kallsyms = _sized(cursor, 4, "kallsyms")
    _sized(cursor, 4, "printk formats")
    found.cmdlines = _sized(cursor, 8, "saved command lines")
    found.cpus = _cpu_count(found, cursor.number(4, "the number of CPUs"))
    kind = cursor.take(10, "options")
    instances: list[tuple[str, int]] = []
    if kind.startswith(b"options"):
        while (option := cursor.number(2, "options")) != _DONE:
            body = cursor.within(_sized(cursor, 4, "options"))
            if option == _BUFFER:
                offset = body.number(8, "a buffer's place")
                instances.append((body.string("a buffer's name"), offset))
            else:
                _option(found, option, body)
        kind = cursor.take(10, "the kind of records")
    _table(found, "", kind)
    for name, offset in instances:
        cursor.seek(offset, "a buffer")
        _table(found, name, cursor.take(10, "the kind of records"))


def _table(found: Layout, name: str, kind: bytes) -> None:
    """Read where the records of each CPU are, in version 6."""
    if kind.startswith(b"latency"):
        raise _is_text(found.path)
    if not kind.startswith(b"flyrecord"):
        raise damaged(found.path, "it does not say where its records are")
    table = found.cursor.within(found.cursor.take(16 * found.cpus, "the table of CPUs"))
    parts = [Part(cpu, table.number(8, ""), table.number(8, "")) for cpu in range(found.cpus)]
    _add_buffer(found, Buffer(name, found.page_size, parts))


def _add_buffer(found: Layout, buffer: Buffer) -> None:
    whole = found.cursor.size
    if len(found.buffers) == MOST_BUFFERS:
        raise damaged(found.path, f"it has more than {MOST_BUFFERS} buffers")
    for part in buffer.parts:
        if part.cpu > MAX_CPU:
            raise damaged(found.path, f"it has records of CPU {part.cpu}, more than {MAX_CPU}")
        if part.offset + part.size > whole:
            found.cursor.seek(whole + 1, f"part of the records of CPU {part.cpu}")
        if not buffer.compressed and part.size % buffer.page_size:
            raise damaged(found.path, f"the records of CPU {part.cpu} are not whole pages")
    if len({part.cpu for part in buffer.parts}) < len(buffer.parts):
        raise damaged(found.path, "a buffer has a CPU twice")
    found.cpus = max([found.cpus, *(part.cpu + 1 for part in buffer.parts)])
    buffer.parts = [part for part in buffer.parts if part.size]
    found.buffers.append(buffer)


def _is_text(path: Path) -> FpstateError:
    return FpstateError(
        "is a trace.dat that holds the text of a latency tracer, and no records",
        expected="events or the function tracer",
        where=str(path),
    )


def _cpu_count(found: Layout, count: int) -> int:
    if not 0 < count <= MAX_CPU + 1:
        raise damaged(found.path, f"it says it has {count} CPUs")
    return count


def _sized(cursor: Cursor, n: int, what: str) -> bytes:
    return cursor.take(cursor.number(n, what), what)


def _headers(found: Layout, cursor: Cursor) -> None:
    for name in (b"header_page\0", b"header_event\0"):
        if cursor.take(len(name), "the form of pages") != name:
            raise damaged(found.path, "the form of its pages is missing")
        text = _sized(cursor, 8, "the form of pages")
        found.header_page = found.header_page or text.decode("utf-8", "backslashreplace")


def _ftrace_formats(found: Layout, cursor: Cursor) -> None:
    count = cursor.number(4, "the formats of ftrace's events")
    for _ in range(count):
        text = _sized(cursor, 8, "the formats of ftrace's events")
        found.formats.append(text.decode("utf-8", "backslashreplace"))


def _event_formats(found: Layout, cursor: Cursor) -> None:
    what = "the formats of events"
    for _ in range(cursor.number(4, what)):
        cursor.string(what)
        for _ in range(cursor.number(4, what)):
            found.formats.append(_sized(cursor, 8, what).decode("utf-8", "backslashreplace"))
            if len(found.formats) > _MOST_FORMATS:
                raise damaged(found.path, f"it has more than {_MOST_FORMATS} event formats")


def _read_sections(found: Layout) -> None:
    """Read version 7: options, which say where all else is."""
    cursor = found.cursor
    found.compression = cursor.string("its compression")
    cursor.string("its compression's version")
    if found.compression not in COMPRESSIONS:
        raise FpstateError(
            f"is compressed with '{found.compression[:20]}'",
            expected="one of " + ", ".join(COMPRESSIONS),
            where=str(found.path),
        )
    at = cursor.number(8, "the place of its options")
    been = set()
    while at:
        if at in been:
            raise damaged(found.path, "its options go in a circle")
        been.add(at)
        at = _options(found, _section(found, at, _DONE, "options"))


def _section(found: Layout, at: int, kind: int, what: str) -> Cursor:
    cursor = found.cursor
    cursor.seek(at, what)
    number, flags = cursor.number(2, what), cursor.number(2, what)
    cursor.number(4, what)
    size = cursor.number(8, what)
    if number != kind:
        raise damaged(found.path, f"{what} is not where the file says")
    if not flags & 1:
        return cursor.within(cursor.take(size, what))
    return cursor.within(cursor.decompressed(found.compression, LARGEST_SECTION, what))


def _options(found: Layout, options: Cursor) -> int:
    """Read options; return where more of them are, or 0."""
    while options.tell() < options.size:
        option = options.number(2, "options")
        body = options.within(_sized(options, 4, "options"))
        if option == _DONE:
            return body.number(8, "the place of more options")
        if option == _TEXT:
            raise _is_text(found.path)
        if option == _BUFFER:
            _buffer(found, body)
        elif option in _SECTIONS:
            _read_section(found, option, body.number(8, "a section's place"))
        else:
            _option(found, option, body)
    return 0


_SECTIONS = {
    _HEADERS: "the form of pages",
    _FTRACE: "the formats of ftrace's events",
    _EVENTS: "the formats of events",
    _KALLSYMS: "kallsyms",
    _CMDLINES: "saved command lines",
}


def _read_section(found: Layout, kind: int, at: int) -> None:
    cursor = _section(found, at, kind, _SECTIONS[kind])
    if kind == _HEADERS:
        _headers(found, cursor)
    elif kind == _FTRACE:
        _ftrace_formats(found, cursor)
    elif kind == _EVENTS:
        _event_formats(found, cursor)
    elif kind == _KALLSYMS:
        found.kallsyms = _sized(cursor, 4, "kallsyms")
    else:
        found.cmdlines = _sized(cursor, 8, "saved command lines")


def _buffer(found: Layout, body: Cursor) -> None:
    what = "the table of CPUs"
    at = body.number(8, what)
    name = body.string(what)
    clock = body.string(what)
    found.clock = found.clock or clock
    page_size = _page_size(found.path, body.number(4, what))
    count = body.number(4, what)
    if count > MAX_CPU + 1:
        raise damaged(found.path, f"it says it has {count} CPUs")
    parts = [Part(body.number(4, what), body.number(8, what), body.number(8, what)) for _ in range(count)]
    found.cursor.seek(at, "a buffer")
    if found.cursor.number(2, "a buffer") != _BUFFER:
        raise damaged(found.path, "a buffer is not where the file says")
    _add_buffer(found, Buffer(name, page_size, parts, bool(found.cursor.number(2, "a buffer") & 1)))


def _option(found: Layout, option: int, body: Cursor) -> None:
    """Take in an option that is the same in both versions; others are left alone."""
    if option == _UNAME:
        found.uname = _text(body)
    elif option == _CLOCK:
        found.clock = _chosen(_text(body)) or found.clock
    elif option == _DATE:
        found.shift += 1000 * _signed(body)
    elif option == _OFFSET:
        found.shift += _signed(body)
    elif option == _CPUCOUNT:
        found.cpus = _cpu_count(found, body.number(4, "the number of CPUs"))
    elif option == _CPUSTAT:
        _statistics(found, body.take(body.size, ""))
    elif option == _TSC:
        found.tsc = (body.number(4, "TSC"), body.number(4, "TSC"), body.number(8, "TSC"))
        if found.tsc[1] > 31:
            raise damaged(found.path, f"its clock is shifted by {found.tsc[1]} bits")
    elif option == _GUEST:
        found.guests.append(body.string("a guest's name"))
    elif option == _SHIFT:
        found.in_guest = True


def _text(body: Cursor) -> str:
    return printable(body.take(body.size, "").split(b"\0")[0])


def _signed(body: Cursor) -> int:
    text = _text(body).strip()
    try:
        value = int(text, 0)
    except ValueError:
        raise damaged(body.path, "its shift of time is no number") from None
    if abs(value) >= 1 << 62:
        raise damaged(body.path, "its shift of time is too large")
    return value


def _chosen(text: str) -> str:
    """Return the clock in brackets of `local [mono] boot`, or the only one there is."""
    words = text.split()
    return next((word[1:-1] for word in words if word[:1] == "[" and word[-1:] == "]"), words[0] if words else "")


def _statistics(found: Layout, text: bytes) -> None:
    """Note what `per_cpu/cpuN/stats` says of events lost."""
    values: dict[bytes, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        with contextlib.suppress(ValueError):
            values[name.strip()] = int(value)
    lost = values.get(b"overrun", 0) + values.get(b"dropped events", 0)
    cpu = values.get(b"CPU", -1)
    if lost > 0 and 0 <= cpu <= MAX_CPU:
        found.overrun[cpu] = found.overrun.get(cpu, 0) + min(lost, 2_000_000_000)
