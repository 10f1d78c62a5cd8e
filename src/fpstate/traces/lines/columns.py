"""Columns of a text that are missing or mean something else: what to ask perf or trace-cmd for instead."""

from __future__ import annotations

import re
from pathlib import Path

from fpstate.errors import FpstateError
from fpstate.traces.lines.head import PERF

_EVENT = rb"[\w-]+:[\w-]+:"
_TIME = rb"\d+\.\d{6,9}:"
_FULL = re.compile(rb"\s*\S.*? +(-?\d+)(?:/-?\d+)? +\[\d+\] +(?P<time>\d+\.\d{6,9}): +(?:\d+ +)?(?P<event>[^ ]+)")
_MISSING = {  # lines of `perf script` that lack a column
    "CPU": re.compile(rb"\s*\S.*? +\d+(?:/\d+)? +%s +(?:\d+ +)?%s" % (_TIME, _EVENT)),
    "time": re.compile(rb"\s*\S.*? +\d+(?:/\d+)? +\[\d{3,}\] +(?:\d+ +)?%s" % _EVENT),
    "thread": re.compile(rb"\s*\S*[^\s\d]\S* +\[\d{3,}\] +%s +(?:\d+ +)?%s" % (_TIME, _EVENT)),
    "name": re.compile(rb"\s*\d+(?:/\d+)? +\[\d{3,}\] +%s +(?:\d+ +)?%s" % (_TIME, _EVENT)),
    "event": re.compile(rb"\s*\S.*? +\d+(?:/\d+)? +\[\d{3,}\] +%s +\w+=" % _TIME),
}
_FIELD = {"CPU": "cpu", "time": "time", "thread": "tid", "name": "comm", "event": "event"}
_IN_COLUMNS = re.compile(rb".*\[\d{3,}\] +%s" % _TIME)
_OF_FILE = re.compile(rb"\s*([^\s:]+): +(?:cpus=\d|version = |\S.*-\d+ +(?:\(.{7}\) +)?(?:\[\d{3,}\]|\d+[.a-zA-Z]))")
_HEAD_OF_FILE = re.compile(rb"\s*[^\s:]+: +(?:cpus=\d|version = )")
_SAMPLE, _LENGTH = 500, 160  # lines looked at, and how much of each


def refuse(path: Path, head: bytes, layout: int) -> None:
    """Raise FpstateError for a text whose lines can be read, but would be misread."""
    lines = _sample(head)
    _refuse_two_files(path, [line for line in lines if line.strip() and not line.startswith(b"#")])
    if layout == PERF:
        if any(map(_MISSING["event"].match, lines)):
            raise _without(path, "event", lines)
        nameless = list(filter(_MISSING["name"].match, lines))
        if nameless and len(nameless) == sum(map(bool, map(_IN_COLUMNS.match, lines))):
            raise _without(path, "name", lines)
        _refuse_deltas(path, lines)


def refuse_missing(path: Path, head: bytes) -> None:
    """Raise FpstateError for the text of `perf script` that lacks a column; return if it is no such text."""
    lines = _sample(head)
    for column in ("CPU", "time", "name", "thread"):
        if any(map(_MISSING[column].match, lines)):
            raise _without(path, column, lines)


def _sample(head: bytes) -> list[bytes]:
    """Return the first lines, cut to a length at which no pattern here takes long."""
    return [line[:_LENGTH] for line in head.split(b"\n", _SAMPLE)[:_SAMPLE]]


def _without(path: Path, column: str, lines: list[bytes]) -> FpstateError:
    number = next(i for i, line in enumerate(lines, 1) if _MISSING[column].match(line))
    also = "; if perf says it has none, record with perf record -a" if column == "CPU" else ""
    return FpstateError(
        f"was printed by `perf script` without the column of the {column}",
        expected="thread, CPU, time, event and its fields in each line",
        where=f"{path}:{number}",
        hint=f"perf script -F +{_FIELD[column]}{also}",
    )


def _refuse_two_files(path: Path, lines: list[bytes]) -> None:
    found = [m[1] for m in map(_OF_FILE.match, lines) if m]
    names = list(dict.fromkeys(found))
    are_files = any(b"." in name or b"/" in name for name in names) or any(map(_HEAD_OF_FILE.match, lines))
    if len(names) < 2 or not are_files or 2 * len(found) < len(lines):
        return  # else buffers of one file
    shown = ", ".join(name.decode("utf-8", "replace") for name in names[:4])
    raise FpstateError(
        f"holds lines of {len(names)} recordings ({shown})"[:300],
        expected="one machine's recording",
        where=f"{path}:1",
        hint="report each alone: trace-cmd report -i trace.dat, or give the trace.dat",
    )


def _refuse_deltas(path: Path, lines: list[bytes]) -> None:
    """Refuse what --deltatime prints: each time is the time since the line before, the first is 0."""
    times = [float(m["time"]) for m in map(_FULL.match, lines) if m]
    if times and times[0] == 0 and times != sorted(times):
        raise FpstateError(
            "was printed by `perf script --deltatime`: times are those since the line before",
            expected="times of one clock",
            where=f"{path}:1",
            hint="perf script --ns, without --deltatime",
        )
