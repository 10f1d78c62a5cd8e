"""An import: from the bytes of a recording through its lines to events, as a stream in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError
from fpstate.traces import holes, notes
from fpstate.traces.dat.reader import DatReader
from fpstate.traces.events import known, path
from fpstate.traces.events.contexts import Found, found_contexts, in_order, moved, not_happened
from fpstate.traces.events.known import Known, Rows, new_known
from fpstate.traces.events.meaning import finish, interpret
from fpstate.traces.events.rules import new_rules
from fpstate.traces.lines import codes, scan
from fpstate.traces.lines.names import MEANING, SEEN, strings
from fpstate.traces.lines.problems import bad_line
from fpstate.traces.lines.scan import Raw, ScanState, cut, new_raw, new_scan_state
from fpstate.traces.lines.sniff import X86, Beginning, may_be_event, shorten, sniff
from fpstate.traces.lines.source import DAT, Source, kind_of, open_source
from fpstate.traces.trace import IF_SILENT, Header, Trace, version_of

Progress = Callable[[int, int], None]
"""Called with (bytes of the file read, size of the file)."""

CHUNK = 16 << 20
_STEP = 2 << 20  # after the first chunk, which is looked at as a whole: what is at hand stays in the CPU's cache
_RAW_ROWS = 1 << 17
_EVENT_ROWS = 1 << 18
PREEMPTIBLE_SECTIONS = (6, 8)
"""The version of Linux since which sections of kernel NEON can be preempted (9b19700e623f)."""


class OutOfOrderError(Exception):
    """Times run backwards across CPUs: a streaming import must start again with `whole`."""


class Import:
    """One import: iterate over `chunks()`, then ask for `contexts()` and `header()`.

    With `whole` the lines are kept and put in order of time first; without, lines out of order raise OutOfOrderError.
    """

    def __init__(
        self,
        path: Path,
        *,
        whole: bool = False,
        allow_lost: bool = True,
        progress: Progress | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.path = path
        self._whole = whole
        self._allow_lost = allow_lost
        self._progress = progress
        self._chunk = chunk
        self._scan: ScanState = new_scan_state()
        self._known: Known = new_known(rows=_EVENT_ROWS)
        self._begin: Beginning | None = None
        self._found: Found | None = None
        self._cut = False
        self._lost: list[dict[str, Any]] = []
        self._before = self._continued = 0  # lines that are no event, passed over

    def chunks(self) -> Iterator[Rows]:
        """Yield events in order; subjects and objects are numbers in the order contexts are met."""
        if self._whole:
            raw = [copied(part) for part in self._raw()]
            yield from self._meant(_sorted(raw))
        else:
            for part in self._raw():
                if self._scan.facts[scan.UNSORTED]:
                    raise OutOfOrderError
                yield from self._meant(part)
        yield from self._finished()

    def _raw(self) -> Iterator[Raw]:
        if kind_of(self.path) == DAT:
            yield from self._decoded()
        else:
            with open_source(self.path) as source:
                yield from self._scanned(source)
        if not self._scan.facts[scan.EVENTS]:
            raise FpstateError("holds no events", expected="at least one event line", where=str(self.path))
        if self._scan.facts[scan.TICKS] and self._scan.facts[scan.FRACTIONS]:
            raise FpstateError("mixes times in seconds and in ticks", expected="one clock", where=str(self.path))

    def _decoded(self) -> Iterator[Raw]:
        """Yield raw rows of a trace.dat. The columns are used again for the next ones."""
        with DatReader(self.path) as reader:
            for raw in reader.rows():
                self._scan = reader.state
                if self._begin is None:
                    self._start(reader.beginning)
                self._note_losses(raw)
                yield raw
                if self._progress:
                    self._progress(reader.position(), reader.size)
            self._add_losses(reader.unflagged())

    def _scanned(self, source: Source) -> Iterator[Raw]:
        """Yield raw rows of all chunks. The columns are used again for the next ones."""
        buffer = np.empty(2 * self._chunk, np.uint8)
        view = memoryview(buffer)  # type: ignore[arg-type]
        have = 0
        step = self._chunk
        final = False
        raw = new_raw(_RAW_ROWS)
        while not final:
            got = _fill(source, view[have : have + step])
            have += got
            final = got < step
            step = min(step, _STEP)
            if self._begin is None:
                self._start(sniff(self.path, bytes(view[:have])))
            at = 0
            while True:
                at, n, status = self._step(buffer, at, have, final, raw)
                if n:
                    part = cut(raw, 0, n)
                    self._note_losses(part)
                    yield part
                if status == scan.DONE:
                    break
            have = self._keep_rest(buffer, at, have)
            if final:
                self._say(source.said())
            if self._progress:
                self._progress(source.position() or int(self._scan.facts[scan.LINES]), source.size)

    def _start(self, begin: Beginning) -> None:
        self._begin = begin
        self._lost = list(begin.lost)
        facts = self._known.facts
        facts[known.SYSCALLS] = self._begin.syscalls
        facts[known.MARKS] = self._begin.marks
        facts[known.BINDS_TRACED] = self._begin.binds
        facts[known.X86] = self._begin.arch in X86
        self._scan.facts[scan.BY_NUMBER] = self._begin.by_number
        seen = self._begin.facts.get("observed", "").split()
        facts[known.USER_RUNS], facts[known.GUEST_RUNS] = "user" in seen, "guest" in seen
        facts[known.LOADS], facts[known.UPDATES] = "load" in seen, "sigreturn" in seen
        if version_of(self._begin.facts.get("kernel", "")) >= PREEMPTIBLE_SECTIONS:
            facts[known.SECTIONS] = 1
            facts[known.THREADED] = self._begin.facts.get("preempt") == "rt"
            self._known = self._known.but(rules=new_rules(preempt_neon=True))

    def _step(self, buffer: NDArray[np.uint8], at: int, have: int, final: bool, raw: Raw) -> tuple[int, int, int]:
        assert self._begin is not None
        at, n, status = scan.scan(buffer, at, have, final, self._begin.layout, self._scan, raw)
        if status == scan.NAMES_FULL:
            self._scan = scan.with_room(self._scan)
        elif status not in (scan.DONE, scan.FULL):
            line = _line_at(buffer[at:have])
            if not line.endswith(b"\n") and final and status in (scan.BAD_LINE, scan.BAD_CLOCK):
                self._cut = True
                return have, n, scan.DONE
            if status != scan.BAD_LINE or not self._passes_over(line):
                number = int(self._scan.facts[scan.LINES]) + 1
                raise bad_line(self.path, number, line.rstrip(b"\n"), status, self._begin.format)
            self._scan.facts[scan.LINES] += 1
            return at + len(line), n, scan.FULL
        return at, n, status

    def _passes_over(self, line: bytes) -> bool:
        """Return whether a line that cannot be read is no event: it stands before all, or goes on with a print."""
        if may_be_event(line):
            return False
        facts = self._scan.facts
        if not facts[scan.EVENTS]:
            self._before += 1
        elif not facts[scan.MEANT]:
            self._continued += 1
        else:
            return False
        return True

    def _say(self, sentences: list[str]) -> None:
        assert self._begin is not None
        self._begin.said += sentences
        if self._before:
            n = "line that is no event comes" if self._before == 1 else "lines that are no events come"
            self._begin.said.append(f"{self._before:,} {n} before the first event: passed over.")
        if self._continued:
            n = "line goes" if self._continued == 1 else "lines go"
            self._begin.said.append(f"{self._continued:,} {n} on with the text of the event before: passed over.")

    def _keep_rest(self, buffer: NDArray[np.uint8], at: int, have: int) -> int:
        rest = have - at
        if rest > self._chunk:
            number = int(self._scan.facts[scan.LINES]) + 1
            raise FpstateError(
                f"a line is longer than {self._chunk} bytes: `{shorten(buffer[at : at + 200].tobytes())}`",
                expected="lines of a trace",
                where=f"{self.path}:{number}",
            )
        buffer[:rest] = buffer[at:have].copy()
        return rest

    def _note_losses(self, raw: Raw) -> None:
        for r in np.flatnonzero(raw.fields[:, scan.CODE] == codes.LOST).tolist():
            loss = {"cpu": int(raw.fields[r, scan.CPU]), "events": int(raw.fields[r, scan.A]), "line": int(raw.line[r])}
            self._lost.append(loss)
        self._add_losses([])

    def _add_losses(self, more: list[dict[str, int]]) -> None:
        self._lost += more
        if self._lost and not self._allow_lost:
            first = self._lost[0]
            raise FpstateError(
                "the recorder lost events here",
                expected="a recording without loss",
                where=f"{self.path}:{first['line']}",
                hint="record again with larger buffers",
            )

    def _meant(self, raw: Raw) -> Iterator[Rows]:
        at = 0
        while at < len(raw.time):
            self._known = known.with_room(self._known)
            at = interpret(raw, at, len(raw.time), self._known)
            yield from self._followed()

    def _followed(self) -> Iterator[Rows]:
        """Yield the path that the events found make."""
        at, done = 0, False
        while not done:
            self._known = known.with_room(self._known)
            at, done = path.follow(self._known, at)
            yield known.take_steps(self._known)

    def _finished(self) -> Iterator[Rows]:
        cpu = 0
        while cpu <= codes.MAX_CPU:
            cpu = finish(self._known, cpu)
            yield from self._followed()

    def cpus(self) -> int:
        """Return the number of CPUs: that of the header, or more when lines show more."""
        assert self._begin is not None
        met = np.flatnonzero((self._known.cpu[:, [known.IDLE, known.CURRENT]] >= 0).any(axis=1))
        highest = max(int(self._scan.facts[scan.HIGHEST_CPU]), int(met[-1]) if len(met) else 0)
        return max(self._begin.cpus, highest + 1)

    def contexts(self) -> Found:
        """Return all contexts, after the last chunk."""
        if self._found is None:
            syscalls = bool(self._known.facts[known.SYSCALLS])
            self._found = found_contexts(self._known, strings(self._scan.comms), self.cpus(), syscalls)
        return self._found

    def end(self) -> tuple[Found, Header]:
        """Return contexts and header, after the last chunk."""
        return self.contexts(), self.header()

    def header(self) -> Header:
        """Return the header, after the last chunk."""
        assert self._begin is not None
        events = self._scan.events
        names = strings(events)
        counts = {name: seen for name, seen in zip(names, events.entries[:, SEEN].tolist(), strict=False) if seen}
        read = {name for name, meaning in zip(names, events.entries[:, MEANING].tolist(), strict=False) if meaning}
        if self._scan.facts[scan.BY_NUMBER]:
            read = {name for name in read if name in codes.KNOWN}
        read &= counts.keys()
        facts = self._begin.facts
        return Header(
            source=str(self.path),
            format=self._begin.format,
            kernel=facts.get("kernel", ""),
            mode=facts.get("mode", ""),
            clock=facts.get("clock", ""),
            cpus=self.cpus(),
            lines=int(self._scan.facts[scan.LINES]) + self._cut,
            arch=self._begin.arch,
            observed=sorted(read),
            unobserved=notes.unobserved(
                self._begin, counts, self._known.facts, self._scan.facts, self._lost, self._cut, self.contexts().told
            ),
            ignored={name: counts[name] for name in sorted(counts) if name not in read},
            lost=self._lost,
            sorted=bool(self._scan.facts[scan.UNSORTED]),
            holes=holes.listed(self._known.holes.tolist()),
            missing=facts.get("missing", "").split(),
        )


def _fill(source: Source, view: memoryview) -> int:
    """Fill `view` as far as the source has bytes; return how many."""
    have = 0
    while have < len(view):
        got = source.readinto(view[have:])
        if not got:
            break
        have += got
    return have


def _line_at(rest: NDArray[np.uint8]) -> bytes:
    """Return the first line, with its end if it has one."""
    size = 1 << 12
    while True:
        line, end, _ = rest[:size].tobytes().partition(b"\n")
        if end or size >= len(rest):
            return line + end
        size *= 16


def copied(raw: Raw) -> Raw:
    """Return the columns with memory of their own."""
    return Raw(raw.time.copy(), raw.line.copy(), raw.fields.copy())


def _sorted(parts: list[Raw]) -> Raw:
    """Return all rows in order of time, rows of equal time in the order of the file."""
    parts = [new_raw(0), *parts]
    order = np.argsort(np.concatenate([part.time for part in parts]), kind="stable")
    time, line, fields = (np.concatenate([getattr(p, c) for p in parts])[order] for c in ("time", "line", "fields"))
    return Raw(time, line, fields)


def joined(chunks: list[Rows]) -> Rows:
    """Return chunks of events as one."""
    return Rows(*(np.concatenate(column) for column in zip(*chunks, strict=True)))


def as_trace(rows: Rows, found: Found, header: Header) -> Trace:
    """Return a trace of events that refer to contexts as met: contexts in order, and without what did not happen."""
    drop = not_happened(found, rows.event, rows.subject, rows.object)
    if drop.any():
        kept: list[Any] = [column[~drop] for column in rows]
        rows = Rows(*kept)
    subject = moved(found, rows.subject)
    obj = moved(found, rows.object)
    obj[obj == IF_SILENT] = -1
    return Trace(rows.time, rows.cpu, rows.event, subject, obj, rows.line, contexts=in_order(found), header=header)


def iter_events(
    path: Path | str, *, whole: bool = False, allow_lost: bool = True, progress: Progress | None = None
) -> tuple[Import, Iterator[Rows]]:
    """Return an import and its stream of event columns, for reading in bounded memory.

    The columns refer to contexts as `Import.contexts()` numbers them at the end. Raise OutOfOrderError
    from the stream when lines are not in order of time and `whole` is not set, FpstateError for bad input.
    """
    job = Import(Path(path), whole=whole, allow_lost=allow_lost, progress=progress)
    return job, job.chunks()
