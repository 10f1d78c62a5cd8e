"""Reading a trace of any accepted form, as a whole or as a stream of event columns in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError
from fpstate.traces import codes, machine, notes, scan
from fpstate.traces.contexts import Found, found_contexts, in_order, moved, of_kernel_threads
from fpstate.traces.machine import Machine, Rows, new_machine
from fpstate.traces.meaning import finish, interpret
from fpstate.traces.names import SEEN, strings
from fpstate.traces.problems import bad_line
from fpstate.traces.scan import Raw, ScanState, cut, new_raw, new_scan_state
from fpstate.traces.sniff import Beginning, shorten, sniff
from fpstate.traces.source import DAT, PARQUET, Source, kind_of, open_source
from fpstate.traces.trace import Header, Trace

Progress = Callable[[int, int], None]
"""Called with (bytes of the file read, size of the file)."""

CHUNK = 16 << 20
_RAW_ROWS = 1 << 17
_EVENT_ROWS = 1 << 18


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
        self._machine: Machine = new_machine(rows=_EVENT_ROWS)
        self._begin: Beginning | None = None
        self._cut = False
        self._lost: list[dict[str, Any]] = []
        self._is_dat = False

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
        with open_source(self.path) as source:
            self._is_dat = source.kind == DAT
            yield from self._scanned(source)
        if not self._scan.facts[scan.EVENTS]:
            raise FpstateError("holds no events", expected="at least one event line", where=str(self.path))
        if self._scan.facts[scan.TICKS] and self._scan.facts[scan.FRACTIONS]:
            raise FpstateError("mixes times in seconds and in ticks", expected="one clock", where=str(self.path))

    def _scanned(self, source: Source) -> Iterator[Raw]:
        """Yield raw rows of all chunks. The columns are used again for the next ones."""
        buffer = np.empty(2 * self._chunk, np.uint8)
        view = memoryview(buffer)  # type: ignore[arg-type]
        have = 0
        final = False
        raw = new_raw(_RAW_ROWS)
        while not final:
            got = _fill(source, view[have : have + self._chunk])
            have += got
            final = got < self._chunk
            if self._begin is None:
                self._start(bytes(view[:have]))
            at = 0
            while True:
                at, n, status = self._step(buffer, at, have, final, raw)
                if n:
                    self._note_losses(cut(raw, 0, n))
                    yield cut(raw, 0, n)
                if status == scan.DONE:
                    break
            have = self._keep_rest(buffer, at, have)
            if self._progress:
                self._progress(source.position() or int(self._scan.facts[scan.LINES]), source.size)

    def _start(self, chunk: bytes) -> None:
        self._begin = sniff(self.path, chunk)
        self._lost = list(self._begin.lost)
        facts = self._machine.facts
        facts[machine.SYSCALLS] = self._begin.syscalls
        facts[machine.MARKS] = self._begin.marks
        facts[machine.BINDS_TRACED] = self._begin.binds
        facts[machine.X86] = self._begin.x86
        seen = self._begin.facts.get("observed", "").split()
        facts[machine.USER_RUNS], facts[machine.GUEST_RUNS] = "user" in seen, "guest" in seen

    def _step(self, buffer: NDArray[np.uint8], at: int, have: int, final: bool, raw: Raw) -> tuple[int, int, int]:
        assert self._begin is not None
        at, n, status = scan.scan(buffer, at, have, final, self._begin.layout, self._scan, raw)
        if status == scan.NAMES_FULL:
            self._scan = scan.with_room(self._scan)
        elif status not in (scan.DONE, scan.FULL):
            line = buffer[at:have].tobytes().split(b"\n", 1)
            if not (final and len(line) == 1 and status in (scan.BAD_LINE, scan.BAD_CLOCK)):
                form = "trace-cmd report" if self._is_dat else self._begin.format
                raise bad_line(self.path, int(self._scan.facts[scan.LINES]) + 1, line[0], status, form)
            self._cut = True
            return have, n, scan.DONE
        return at, n, status

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
            self._machine = machine.with_room(self._machine)
            at = interpret(raw, at, len(raw.time), self._machine)
            yield machine.take_rows(self._machine)

    def _finished(self) -> Iterator[Rows]:
        cpu = 0
        while cpu <= codes.MAX_CPU:
            cpu = finish(self._machine, cpu)
            yield machine.take_rows(self._machine)

    def cpus(self) -> int:
        """Return the number of CPUs: that of the header, or more when lines show more."""
        assert self._begin is not None
        met = np.flatnonzero((self._machine.cpu[:, [machine.IDLE, machine.CURRENT]] >= 0).any(axis=1))
        highest = max(int(self._scan.facts[scan.HIGHEST_CPU]), int(met[-1]) if len(met) else 0)
        return max(self._begin.cpus, highest + 1)

    def contexts(self) -> Found:
        """Return all contexts, after the last chunk."""
        syscalls = bool(self._machine.facts[machine.SYSCALLS])
        return found_contexts(self._machine, strings(self._scan.comms), self.cpus(), syscalls)

    def end(self) -> tuple[Found, Header]:
        """Return contexts and header, after the last chunk."""
        return self.contexts(), self.header()

    def header(self) -> Header:
        """Return the header, after the last chunk."""
        assert self._begin is not None
        events = self._scan.events
        names = strings(events)
        counts = {name: seen for name, seen in zip(names, events.entries[:, SEEN].tolist(), strict=False) if seen}
        facts = self._begin.facts
        return Header(
            source=str(self.path),
            format="trace.dat" if self._is_dat else self._begin.format,
            kernel=facts.get("kernel", ""),
            mode=facts.get("mode", ""),
            clock=facts.get("clock", ""),
            cpus=self.cpus(),
            lines=int(self._scan.facts[scan.LINES]) + self._cut,
            observed=sorted(name for name in counts if name in codes.KNOWN),
            unobserved=notes.unobserved(
                self._begin, counts, self._machine.facts, self._scan.facts, self._lost, self._cut
            ),
            ignored={name: counts[name] for name in sorted(counts) if name not in codes.KNOWN},
            lost=self._lost,
            sorted=bool(self._scan.facts[scan.UNSORTED]),
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


def copied(raw: Raw) -> Raw:
    """Return the columns with memory of their own."""
    columns: list[Any] = [column.copy() for column in raw]
    return Raw(*columns)


def _sorted(parts: list[Raw]) -> Raw:
    """Return all rows in order of time, rows of equal time in the order of the file."""
    columns: list[Any] = [np.concatenate(column) for column in zip(*[new_raw(0), *parts], strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return Raw(*(column[order] for column in columns))


def joined(chunks: list[Rows]) -> Rows:
    """Return chunks of events as one."""
    return Rows(*(np.concatenate(column) for column in zip(*chunks, strict=True)))


def as_trace(rows: Rows, found: Found, header: Header) -> Trace:
    """Return a trace of events that refer to contexts as met: contexts in order, kernel threads never in user mode."""
    contexts = in_order(found)
    subject = moved(found, rows.subject)
    obj = moved(found, rows.object)
    drop = of_kernel_threads(contexts.kind, rows.event, subject)
    columns = (rows.time, rows.cpu, rows.event, subject, obj, rows.line)
    if drop.any():
        columns = tuple(column[~drop] for column in columns)  # type: ignore[assignment]
    return Trace(*columns, contexts=contexts, header=header)


def iter_events(
    path: Path | str, *, whole: bool = False, allow_lost: bool = True, progress: Progress | None = None
) -> tuple[Import, Iterator[Rows]]:
    """Return an import and its stream of event columns, for reading in bounded memory.

    The columns refer to contexts as `Import.contexts()` numbers them at the end. Raise OutOfOrderError
    from the stream when lines are not in order of time and `whole` is not set, FpstateError for bad input.
    """
    job = Import(Path(path), whole=whole, allow_lost=allow_lost, progress=progress)
    return job, job.chunks()


def read_trace(path: Path | str, *, progress: Progress | None = None, allow_lost: bool = True) -> Trace:
    """Return the trace in a file: text (plain, gzip, zstd), a trace.dat, or Parquet.

    Recorders lose events when their buffers are full; with `allow_lost` off that is an error.
    Raise FpstateError for anything that is not a trace, with the line where it stops being one.
    """
    path = Path(path)
    if kind_of(path) == PARQUET:
        from fpstate.traces.parquet import read_parquet

        return read_parquet(path)
    for whole in (False, True):
        job = Import(path, whole=whole, allow_lost=allow_lost, progress=progress)
        try:
            rows = joined(list(job.chunks()))
        except OutOfOrderError:
            continue
        return as_trace(rows, job.contexts(), job.header())
    raise AssertionError("a whole import is always in order")
