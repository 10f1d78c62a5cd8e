"""A trace.dat as raw rows: the tables the walk needs, and the file's bytes handed to it window by window."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError
from fpstate.traces.dat import formats, state
from fpstate.traces.dat.cursor import LARGEST_CHUNK, Cursor, damaged
from fpstate.traces.dat.formats import Field, Format, parse_fields, parse_format, row_of, states
from fpstate.traces.dat.layout import Layout, Part, read_layout
from fpstate.traces.dat.state import Walk
from fpstate.traces.dat.walk import merge
from fpstate.traces.lines import codes, scan
from fpstate.traces.lines.head import DASH, RAW_RESCHED
from fpstate.traces.lines.names import MEANING, SEEN, add, grown, has_room, intern_all, new_names, strings
from fpstate.traces.lines.scan import Raw, ScanState, cut, new_raw, new_scan_state
from fpstate.traces.lines.sniff import Beginning, arch_of

ROWS = 1 << 17
_WINDOWS = 32 << 20  # bytes of all windows together, if each can hold a page
_LARGEST_WINDOW = 1 << 20
_MOST_WINDOWS = 1 << 30
_LONGEST_COMM = 32
_TICKS = ("counter", "x86-tsc", "ppc-tb")
_SYMBOL = re.compile(rb"^([0-9a-fA-F]{1,16}) \S ([^\s$]\S*)", re.M)
_STEPS = {
    "fpsimd_cpu_dead": codes.STEP_DEAD, "takedown_cpu": codes.STEP_TAKEDOWN, "bringup_cpu": codes.STEP_BRINGUP
}  # fmt: skip
_CALLERS = {
    "arch_dup_task_struct": codes.CALLER_FORK,
    "fpsimd_signal_preserve_current_state": codes.CALLER_SIGNAL,
    "do_sve_acc": codes.CALLER_SVE_TRAP,
    "restore_sigframe": codes.CALLER_SIGRETURN,
    "__arm64_sys_rt_sigreturn": codes.CALLER_SIGRETURN,
}
_NOT_RECORDED = (codes.LOST, codes.USER_RUN, codes.GUEST_RUN, codes.ALMOST_USER)
"""Lines that only text has: of perf, and of an emulator."""
_SYSCALL = re.compile(r"sys_(enter|exit)_")
_RESCHED_LAZY = 0x02
"""Since 6.13 TRACE_FLAG_NEED_RESCHED_LAZY, which meant something else before: include/linux/trace_events.h."""

_ERRORS = {
    state.BAD_PAGE: "says it holds more than fits into it",
    state.BAD_RECORD: "has a record that does not fit into it",
    state.BAD_TIME: "has a record whose time makes no sense",
    state.BAD_FIELD: "has a record that does not have its event's fields",
    state.BAD_TID: f"has a record of a thread whose id is not 0 to {codes.MAX_TID}",
}


class DatReader:
    """The records of a trace.dat: iterate over `rows()`; `beginning` is there with the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state: ScanState = new_scan_state()
        self.beginning = Beginning(DASH, "trace.dat")

    def __enter__(self) -> Self:
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise FpstateError(f"cannot be opened: {error.strerror or error}", where=str(self.path)) from None
        try:
            self.size = self.path.stat().st_size
            self._layout = read_layout(self.path, self._file, self.size)
            self._walk = self._new_walk()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def position(self) -> int:
        """Return how many bytes of records have been read."""
        return sum(pages.read for pages in self._pages)

    def unflagged(self) -> list[dict[str, int]]:
        """Return what the statistics of CPUs say was lost where no page says so: before the first line, or anywhere."""
        flagged = self._walk.streams[self._walk.streams[:, state.LOSSES] > 0, state.CPU].tolist()
        overrun = sorted(self._layout.overrun.items())
        return [{"cpu": cpu, "events": events, "line": 1} for cpu, events in overrun if cpu not in flagged]

    def rows(self) -> Iterator[Raw]:
        """Yield raw rows in order of time. The columns are used again for the next ones."""
        raw = new_raw(ROWS)
        n = 0
        status = state.FULL
        first = True
        while status != state.DONE:
            n, status, stream = merge(self._walk, self.state, raw, n)
            if status == state.REFILL:
                self._refill(stream)
            elif status == state.NAMES_FULL:
                self.state = scan.with_room(self.state)
            elif status in (state.FULL, state.DONE):
                self._count_functions()
                if first:
                    self._begin()
                yield _without_doubles(cut(raw, 0, n)) if first and self.beginning.by_number else cut(raw, 0, n)
                first = False
                n = 0
            else:
                raise self._error(stream, status)
        self._end()

    def _new_walk(self) -> Walk:
        found = self._layout
        parsed = [parse_format(self.path, text) for text in found.formats]
        streams = [(b, part) for b, buffer in enumerate(found.buffers) for part in buffer.parts]
        if not streams:
            raise FpstateError("holds no events", expected="at least one event", where=str(self.path))
        self._pages = [_Pages(found, b, part) for b, part in streams]
        addresses, symbols = self._symbols()
        self.x86 = any(name in ("kernel_fpu_begin",) for name in self._names) or any("rip" in f.fields for f in parsed)
        kind_of, kinds, places = self._kinds(parsed)
        facts = self._facts(parsed)
        data, table = self._windows([found.buffers[b].page_size for b, _ in streams])
        for row, (b, part) in zip(table, streams, strict=True):
            row[state.BUFFER], row[state.CPU] = b, part.cpu
        facts[state.STREAMS] = len(streams)
        self.state.facts[scan.LINES] = 1  # that of `trace-cmd report` with the number of CPUs
        self.state.facts[scan.HIGHEST_CPU] = max(part.cpu for _, part in streams)
        comms = self._comms(facts)
        return Walk(
            data, table, np.arange(len(streams)), facts, kind_of, kinds, places, comms, addresses, symbols
        )  # fmt: skip

    def _windows(self, page_sizes: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        largest = max(page_sizes)
        window = min(_LARGEST_WINDOW, _WINDOWS // len(page_sizes)) // largest * largest or largest
        if window * len(page_sizes) > _MOST_WINDOWS:
            raise damaged(self.path, f"pages of {largest} bytes for {len(page_sizes)} CPUs")
        self._window = window
        table = np.zeros((len(page_sizes), state.STREAM_COLUMNS), np.int64)
        table[:, state.PAGE_SIZE] = page_sizes
        table[:, state.START] = table[:, state.FILLED] = np.arange(len(page_sizes)) * window
        table[:, state.PAGE] = table[:, state.START] - table[:, state.PAGE_SIZE]
        table[:, state.MORE] = 1
        table[:, state.SHOWN] = -1
        table[:, state.LOST] = state.NO_LOSS
        return np.empty(window * len(page_sizes), np.uint8), table

    def _refill(self, stream: int) -> None:
        row = self._walk.streams[stream]
        start = int(row[state.START])
        view = memoryview(self._walk.bytes)[start : start + self._window]  # type: ignore[arg-type]
        got = self._pages[stream].fill(view)
        row[state.FILLED] = start + got
        row[state.PAGE] = start - row[state.PAGE_SIZE]
        row[state.PLACE] = row[state.END] = start
        row[state.MORE] = self._pages[stream].more()
        if got % row[state.PAGE_SIZE]:
            raise damaged(self.path, f"the records of CPU {row[state.CPU]} are not whole pages")

    def _error(self, stream: int, status: int) -> FpstateError:
        row = self._walk.streams[stream]
        name = self._layout.buffers[row[state.BUFFER]].name
        where = f"page {row[state.PAGES]} of CPU {row[state.CPU]}" + (f" in buffer {name!r}"[:60] if name else "")
        if status == state.BACKWARDS:
            return FpstateError(
                f"time runs backwards in {where}",
                expected="records of each CPU in order of time",
                where=str(self.path),
                hint="record it again with one trace clock such as mono",
            )
        return damaged(self.path, f"{where} {_ERRORS[status]}")

    def _facts(self, parsed: list[Format]) -> NDArray[np.int64]:
        found = self._layout
        facts = np.zeros(state.FACTS, np.int64)
        page = parse_fields(self.path, found.header_page)
        time, commit = self._known(page, "timestamp", 8), self._known(page, "commit", 4, 8)
        data = self._known(page, "data")
        smallest = min(buffer.page_size for buffer in found.buffers)
        if max(time.offset + 8, commit.offset + commit.size, data.offset) > smallest:
            raise damaged(self.path, "the form of its pages does not fit into one")
        facts[state.TIME_AT], facts[state.DATA_AT] = time.offset, data.offset
        facts[state.COMMIT_AT], facts[state.COMMIT_SIZE] = commit.offset, commit.size
        common = parsed[0].fields
        kind, pid = self._known(common, "common_type", 1, 2, 4), self._known(common, "common_pid", 4)
        flags = self._known(common, "common_flags", 1)
        facts[state.TYPE_AT], facts[state.TYPE_SIZE] = kind.offset, kind.size
        facts[state.FLAGS_AT], facts[state.PID_AT] = flags.offset, pid.offset
        facts[state.LEAST] = max(kind.offset + kind.size, flags.offset + 1, pid.offset + 4)
        facts[state.BIG] = found.cursor.order == "big"
        facts[state.RESCHED] = RAW_RESCHED | (_RESCHED_LAZY if _version(self._release()) >= (6, 13) else 0)
        switch = next((form for form in parsed if form.name == "sched_switch"), None)
        if switch:
            facts[state.STATES], facts[state.DEAD], facts[state.IDLE_STATE] = states(switch)
        facts[state.SHIFT] = found.shift
        facts[state.TSC_MULTIPLIER], facts[state.TSC_SHIFT] = found.tsc[:2]
        facts[state.TSC_OFFSET] = np.uint64(found.tsc[2]).astype(np.int64)
        facts[state.IS_TICKS] = found.clock in _TICKS and not found.tsc[0]
        return facts

    def _known(self, fields: dict[str, Field], name: str, *sizes: int) -> Field:
        field = fields.get(name)
        if field is None or (sizes and field.size not in sizes):
            raise damaged(self.path, f"its formats have no {name}, or a strange one")
        return field

    def _kinds(self, parsed: list[Format]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        kind_of = np.full(1 << 16, -1, np.int32)
        kinds = np.zeros((len(parsed), 3), np.int64)
        places = np.zeros((len(parsed), formats.COLUMNS), np.int64)
        for i, form in enumerate(parsed):
            code = codes.KNOWN.get(form.name, codes.IGNORED)
            code = codes.IGNORED if code in _NOT_RECORDED else code
            name = self._event(form.name)
            if found := _SYSCALL.match(form.name):
                code = codes.NAMED.get(form.name, codes.ENTER_BY_NAME if found[1] == "enter" else codes.EXIT_BY_NAME)
                self.state.events.entries[name, MEANING] = codes.BY_NAME
            kinds[i, state.CODE] = code
            kinds[i, state.NAME] = name
            places[i] = row_of(self.path, form, code)
            kind_of[form.number] = i
        return kind_of, kinds, places

    def _event(self, name: str) -> int:
        if not has_room(self.state.events):
            self.state = self.state.but(events=grown(self.state.events))
        return add(self.state.events, name)

    def _symbols(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the symbols by address; of several at one address, one that has a meaning."""
        found = _SYMBOL.findall(self._layout.kallsyms)
        names = [name.decode("utf-8", "backslashreplace") for _, name in found]
        address = np.array([int(text, 16) for text, _ in found], np.uint64).astype(np.int64)
        meant = np.array([_means(name) for name in names], np.int64).reshape(-1, 2)
        order = np.lexsort((~meant.any(axis=1), address))
        first = np.ones(len(order), bool)
        first[1:] = address[order][1:] != address[order][:-1]
        chosen = order[first]
        self._names = [names[i] for i in chosen.tolist()]
        return address[chosen], np.column_stack([meant[chosen], np.zeros(len(chosen), np.int64)])

    def _comms(self, facts: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the name of each thread that the file names."""
        named: dict[int, bytes] = {}
        for line in self._layout.cmdlines.split(b"\n"):
            tid, _, comm = line.partition(b" ")
            if tid.isdigit() and len(tid) < 8 and int(tid) <= codes.MAX_TID and comm:
                named[int(tid)] = comm[:_LONGEST_COMM]
        texts = [b"<...>", b"<idle>", *named.values()]
        room = 1 << (len(texts) + 64).bit_length()
        self.state = self.state.but(comms=new_names(max(1024, room)))
        numbers = np.zeros(len(texts), np.int32)
        ends = np.cumsum([len(text) for text in texts])
        intern_all(self.state.comms, np.frombuffer(b"".join(texts), np.uint8), ends, numbers)
        facts[state.UNNAMED], facts[state.IDLE_NAME] = numbers[:2]
        comms = np.full(max(named, default=-1) + 1, -1, np.int32)
        comms[list(named)] = numbers[2:]
        return comms

    def _release(self) -> str:
        words = self._layout.uname.split()
        return words[2] if len(words) > 2 else ""

    def _count_functions(self) -> None:
        """Count the lines of functions as those of events by these names."""
        seen = self._walk.symbols[:, state.SYMBOL_SEEN]
        for symbol in np.flatnonzero(seen).tolist():
            name = self._event(self._names[symbol])
            self.state.events.entries[name, SEEN] += seen[symbol]
        seen[:] = 0

    def _begin(self) -> None:
        """Say what the first rows and the file's head tell, as `sniff` does of text."""
        found, begin = self._layout, self.beginning
        entries = self.state.events.entries
        counts = entries[: len(strings(self.state.events)), [SEEN, MEANING]].tolist()
        names = dict(zip(strings(self.state.events), (seen for seen, _ in counts), strict=True))
        begin.cpus = found.cpus
        begin.facts = {"kernel": self._release(), "clock": found.clock}
        begin.by_number = bool(names.get("sys_enter") or names.get("sys_exit"))
        begin.syscalls = begin.by_number or any(map(_SYSCALL.match, names))
        begin.marks = bool(names.get("fpsimd_preserve_current_state"))
        begin.binds = bool(
            names.get("fpsimd_bind_state_to_cpu")
            or (names.get("kvm_arch_vcpu_ctxsync_fp") and names.get("fpsimd_thread_switch"))
        )
        words = found.uname.split()
        begin.arch = "x86_64" if self.x86 else arch_of(words[-1]) if words else ""

    def _end(self) -> None:
        """Say what only the whole file tells."""
        said = self.beginning.said
        facts, found = self._walk.facts, self._layout
        if facts[state.UNKNOWN_TYPES]:
            said.append(f"{facts[state.UNKNOWN_TYPES]} records are of events whose format the file lacks: left out.")
        if facts[state.UNKNOWN_SYMBOLS]:
            said.append(f"{facts[state.UNKNOWN_SYMBOLS]} function records have an address without a symbol: left out.")
        kinds = self._walk.kinds
        several = (kinds[:, state.CODE] != codes.IGNORED) & (
            kinds[:, state.BUFFERS] & (kinds[:, state.BUFFERS] - 1) != 0
        )
        if several.any():
            names = strings(self.state.events)
            which = sorted({names[i] for i in kinds[several, state.NAME].tolist()})
            said.append(f"In more than one of the file's buffers, and counted in each: {', '.join(which)}.")
        if found.in_guest:
            said.append("Recorded in a guest beside its host: times are the guest's own.")
        if found.guests:
            said.append(f"Recorded beside guests, each in a file of its own: {', '.join(found.guests)}."[:200])


class _Pages:
    """The pages of one CPU in one buffer, decompressed."""

    def __init__(self, found: Layout, buffer: int, part: Part) -> None:
        self._cursor: Cursor = found.cursor
        self._what = f"records of CPU {part.cpu}"
        self._compression = found.compression if found.buffers[buffer].compressed else ""
        self._at = part.offset
        self._end = part.offset + part.size
        self._chunks = -1  # left; not known yet
        self._pending = b""
        self.read = 0

    def more(self) -> bool:
        """Return whether there are more pages."""
        if not self._compression:
            return self._at < self._end
        return bool(self._pending or self._chunks)

    def fill(self, view: memoryview) -> int:
        """Fill `view` as far as there are pages; return the bytes written."""
        if self._compression:
            return self._fill_decompressed(view)
        n = min(len(view), self._end - self._at)
        self._cursor.seek(self._at, self._what)
        self._cursor.fill(view[:n], self._what)
        self._at += n
        self.read += n
        return n

    def _fill_decompressed(self, view: memoryview) -> int:
        cursor = self._cursor
        cursor.seek(self._at, self._what)
        if self._chunks < 0:
            self._chunks = cursor.number(4, self._what)
        have = 0
        while have < len(view) and self.more():
            if not self._pending:
                self._pending = cursor.decompressed(self._compression, LARGEST_CHUNK, self._what)
                self._chunks -= 1
            n = min(len(view) - have, len(self._pending))
            view[have : have + n] = self._pending[:n]
            self._pending = self._pending[n:]
            have += n
        self.read += cursor.tell() - self._at
        self._at = cursor.tell()
        return have


def _without_doubles(raw: Raw) -> Raw:
    """Return rows without system calls by name, of which the same records have the numbers too."""
    code = raw.fields[:, scan.CODE]
    keep = ((code != codes.SYS_ENTER) & (code != codes.SYS_EXIT)) | (raw.fields[:, scan.A] <= codes.MOST_NUMBER)
    return Raw(raw.time[keep], raw.line[keep], raw.fields[keep])


def _means(name: str) -> tuple[int, int]:
    """Return what a function's line means, and what it is as a caller or a step of hotplug."""
    code = codes.FUNCTIONS.get(name) or codes.TRUTHS.get(name, codes.IGNORED)
    if name in _STEPS:
        return code, state.IS_STEP + _STEPS[name]
    return code, next((number for caller, number in _CALLERS.items() if name.startswith(caller)), 0)


def _version(release: str) -> tuple[int, ...]:
    found = re.match(r"(\d{1,3})\.(\d{1,4})", release)
    return tuple(int(part) for part in found.groups()) if found else ()
