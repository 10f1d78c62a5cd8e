"""The error messages for lines the scanner stops at."""

from __future__ import annotations

import re
from pathlib import Path

from fpstate.errors import FpstateError
from fpstate.traces.lines import scan
from fpstate.traces.lines.codes import MAX_CPU, MAX_TID
from fpstate.traces.lines.sniff import FTRACE, TRACE_CMD, format_of, shorten

_LINE_FORM = {
    "ftrace": "`comm-tid [cpu] flags seconds: event`",
    "trace-cmd report": "`comm-tid [cpu] seconds: event: fields`",
    "perf script": "`comm tid [cpu] seconds: event: fields`",
}


def bad_line(path: Path, number: int, line: bytes, status: int, form: str) -> FpstateError:
    """Return the error for line `number` of a trace in format `form`, at which `scan` stopped with `status`."""
    where = f"{path}:{number}"
    other = format_of(line)
    if status in (scan.BAD_LINE, scan.OTHER_FORMAT) and other and not _same(other, form):
        return FpstateError(
            f"a line of {other} in a file of {form}",
            expected="one format in a file",
            where=where,
            hint="import the parts one by one",
        )
    given, expected, hint = _TEXTS.get(status, _TEXTS[scan.BAD_LINE])
    if status == scan.BAD_LINE:
        expected = f"{_LINE_FORM[form]} with the fields as the kernel prints them"
        given, hint = next(((g or given, h) for pattern, g, h in _KNOWN if pattern.search(line)), (given, hint))
    return FpstateError(f"{given}: `{shorten(line)}`", expected=expected, where=where, hint=hint)


def _same(one: str, two: str) -> bool:
    return one == two or {one, two} == {FTRACE, TRACE_CMD}


_KNOWN = (
    (re.compile(rb"^-- \r?$"), "a mail's text goes on here", "take out what the tracer did not print"),
    (
        re.compile(rb"^\s*(?:\[?\.\.\.+\]?|\xe2\x80\xa6|--+|<?snip>?)\s*$"),
        "lines were left out here",
        "give the whole recording",
    ),
    (re.compile(rb"cpus=\d"), "another report begins here", "give each report alone"),
    (re.compile(rb"cpuhp_enter: +cpu=\d+"), "raw fields do not name the step of hotplug", "report it without -R"),
    (re.compile(rb"\d+\) .*\|"), "a line of the function_graph tracer", "echo function > current_tracer"),
)
"""Lines that cannot be read for a known reason: what it is, and what to do."""
_TEXTS = {
    scan.BAD_LINE: ("cannot read this line", "", "take out the line if the tracer did not print it"),
    scan.BAD_CPU: ("the CPU number is too large", f"0 to {MAX_CPU}", ""),
    scan.BAD_TID: ("the thread id is too large", f"0 to {MAX_TID}", ""),
    scan.BAD_CLOCK: ("the time makes no sense", "seconds below 9000000000 with at most 9 decimals", ""),
    scan.BACKWARDS: (
        "time runs backwards on this CPU",
        "lines of each CPU in order of time",
        "import each recording on its own, recorded with one trace clock such as mono",
    ),
}
