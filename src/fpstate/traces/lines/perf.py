"""A perf.data by way of `perf script`, with the columns that are read and what was lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from fpstate.errors import FpstateError

OPTIONS = ("--ns", "--show-lost-events", "--header", "-F", "comm,tid,cpu,time,event,trace")
_LOST = re.compile(r"lost (\d+) chunks", re.I)
_NO_FIELD = re.compile(r"Samples for '(.*)' event do not have (\w+) attribute set")
_PATIENCE = 5  # seconds to wait for perf's end after its output's


class PerfText:
    """What `perf script` prints of a file."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes], complaints: Any) -> None:
        self._path = path
        self._process = process
        self._complaints = complaints
        self._ended = False
        self.said: list[str] = []  # sentences for the header

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the front; return the bytes read, 0 at the end. Raise FpstateError when perf fails."""
        assert self._process.stdout is not None
        got = self._process.stdout.readinto(buffer)  # type: ignore[attr-defined]
        if not got and not self._ended:
            self._ended = True
            self._end()
        return int(got or 0)

    def _end(self) -> None:
        code = self._process.wait(_PATIENCE)
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").splitlines()
        if field := next(filter(None, map(_NO_FIELD.search, lines)), None):
            raise FpstateError(
                f"{field[2].lower()} was not recorded for event '{field[1]}'"[:200],
                expected="events recorded with thread, CPU and time",
                where=str(self._path),
                hint="perf record -a, or --sample-cpu, with tracepoints such as sched:sched_switch",
            )
        said = [line.strip() for line in lines if line.strip() and "not valid for" not in line]
        if code:
            raise FpstateError(
                f"perf cannot read it: {said[0] if said else f'perf script ended with {code}'}"[:300],
                expected="a whole perf.data",
                where=str(self._path),
                hint="perf has to be as new as the one that recorded it",
            )
        chunks = sum(int(m[1]) for m in map(_LOST.search, lines) if m)
        if chunks:
            self.said.append(f"perf lost {chunks} chunks of events: what happened there is missing.")


@contextmanager
def perf_script(path: Path) -> Iterator[PerfText]:
    """Run `perf script` on a perf.data. Raise FpstateError when perf is not installed."""
    program = shutil.which("perf")
    if program is None:
        raise FpstateError(
            "is a perf.data, and perf, which reads it, is not installed",
            expected="perf (in Debian: linux-perf), or the text of `perf script`",
            where=str(path),
            hint=f"where perf is: perf script {' '.join(OPTIONS)} -i {quote(str(path))} > trace.txt",
        )
    command = [program, "script", "-f", *OPTIONS, "-i", str(path)]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603 - a file is all that is given to it
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, bufsize=0
        )
        try:
            yield PerfText(path, process, complaints)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
