"""What the beginning of a trace says: its format, and what its header tells about the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fpstate.errors import FpstateError
from fpstate.traces.lines import columns
from fpstate.traces.lines.codes import MAX_CPU
from fpstate.traces.lines.foreign import ACCEPTED
from fpstate.traces.lines.head import DASH, LATENCY, PERF, parse_head

FTRACE, TRACE_CMD, PERF_SCRIPT = "ftrace", "trace-cmd report", "perf script"
_HEAD_BYTES = 1 << 18
_OTHER_LINE = re.compile(rb"\s*$|#|version = |cpus=|CPU|\s*=>|trace-cmd:|\t")
_HEAD_LIKE = re.compile(rb"[- ]\d+ +(?:\(.{7}\) +)?\[\d{3,}\]|-\d+ +\d+[a-zA-Z.]{2,}|\[LOST|EVENTS\b")
_CPUS_OF_FILE = re.compile(rb": cpus=\d")
_KEY = re.compile(rb"^# fpstate: (kernel|mode|clock|observed|missing|preempt)=(.*?)\s*$", re.M)
_SAYS = (b"#", b"cpus=", b"version = ")  # how a line begins that tells of the machine
_ENTRIES = re.compile(rb"^# entries-in-buffer/entries-written: (\d+)/(\d+)\s+#P:(\d+)", re.M)
_CPUS = re.compile(rb"^(?:cpus=|# nrcpus online : )(\d+)", re.M)
_ARCH = re.compile(rb"^# arch : (\w+)", re.M)
_RELEASE = re.compile(rb"^# os release : (\S+)", re.M)
_MARKS = {
    "arm64": (b"fpsimd_", b"ESR_EC: 0x", b"HSR_EC: 0x", b"esr_ec=0x", b"kvm_entry: PC: 0x", b"__arm64_sys_"),
    "x86_64": (b", rip 0x", b" rip 0x", b"kernel_fpu_begin", b"x86_fpu_"),
}
_BY_NUMBER = re.compile(rb"sys_(?:enter|exit): +(?:NR |id=)")
_BY_NAME = re.compile(rb"sys_(?:enter|exit)_\w+: |: sys_\w+(?:\(| -> )")
_NO_FORMATS = (b"CANT FIND FIELD", b"[FAILED TO PARSE]")


X86 = ("x86_64", "i686")


@dataclass
class Beginning:
    """What is known before the scan."""

    layout: int
    format: str
    cpus: int = 0
    facts: dict[str, str] = field(default_factory=dict)  # kernel, mode, clock, observed, missing
    lost: list[dict[str, Any]] = field(default_factory=list)
    syscalls: bool = False  # the first chunk has sys_enter or sys_exit
    marks: bool = False  # fpsimd_preserve_current_state is recorded
    binds: bool = False  # fpsimd_bind_state_to_cpu would have been recorded
    by_number: bool = False  # system calls are recorded with their numbers
    arch: str = ""  # as uname says it, or arm64; empty when nothing tells
    said: list[str] = field(default_factory=list)  # sentences for the header


def layout_of(line: bytes) -> int | None:
    """Return the layout of a line's head, or None when it has none."""
    b = np.frombuffer(line, np.uint8)
    for layout in (DASH, PERF, LATENCY):
        if len(b) and parse_head(b, 0, len(b), layout).end >= 0:
            return layout
    return None


def may_be_event(line: bytes) -> bool:
    """Return whether a line looks like that of an event, in any layout, or of a file's head."""
    if line.startswith((b"version = ", b"cpus=", b"# tracer: ")) or _CPUS_OF_FILE.search(line):
        return True
    return _HEAD_LIKE.search(line) is not None


def format_of(line: bytes) -> str | None:
    """Return the name of the format a line surely comes from, or None."""
    if line.startswith(b"# tracer: "):
        return FTRACE
    if line.startswith((b"version = ", b"cpus=")):
        return TRACE_CMD
    layout = layout_of(line)
    return {None: None, DASH: FTRACE, PERF: PERF_SCRIPT, LATENCY: TRACE_CMD}[layout]


def sniff(path: Path, chunk: bytes) -> Beginning:
    """Return what the first `chunk` of a trace says. Raise FpstateError when it is no trace that can be read."""
    head = chunk[:_HEAD_BYTES]
    _refuse_other_forms(path, head)
    layout = _first_layout(path, head)
    columns.refuse(path, head, layout)
    said = b"\n".join(line for line in head.split(b"\n") if line.startswith(_SAYS))
    found = Beginning(layout, _format_name(layout, said))
    found.facts = {key.decode(): value.decode("utf-8", "replace") for key, value in _KEY.findall(said)}
    if release := _RELEASE.search(said):
        found.facts.setdefault("kernel", release[1].decode("utf-8", "replace"))
    for cpus in _CPUS.findall(said):
        found.cpus = min(int(cpus), MAX_CPU + 1)
    if arch := _ARCH.search(said):
        found.arch = arch_of(arch[1].decode())
    if entries := _ENTRIES.search(said):
        kept, written, cpus = (int(group) for group in entries.groups())
        found.cpus = min(cpus, MAX_CPU + 1)
        if written > kept:
            line = head[: head.index(entries[0])].count(b"\n") + 1
            found.lost.append({"cpu": -1, "events": written - kept, "line": line})
    _look_for_recorded(found, chunk)
    return found


def _look_for_recorded(found: Beginning, chunk: bytes) -> None:
    found.by_number = _BY_NUMBER.search(chunk) is not None
    found.syscalls = found.by_number or (b"sys_" in chunk and _BY_NAME.search(chunk) is not None)
    found.marks = b"fpsimd_preserve_current_state <-" in chunk
    found.binds = b"fpsimd_bind_state_to_cpu" in chunk or (
        b"kvm_arch_vcpu_ctxsync_fp" in chunk and b"fpsimd_thread_switch" in chunk
    )
    if not found.arch:
        found.arch = next((arch for arch, marks in _MARKS.items() if any(mark in chunk for mark in marks)), "")
    if any(words in chunk[:_HEAD_BYTES] for words in _NO_FORMATS):
        found.said.append("Fields are missing: the report was printed without the formats of these events.")


def arch_of(machine: str) -> str:
    """Return the name used here for what uname calls a machine."""
    return {"aarch64": "arm64", "aarch64_be": "arm64"}.get(machine, machine)


def _format_name(layout: int, said: bytes) -> str:
    if layout == PERF:
        return PERF_SCRIPT
    if layout == LATENCY or re.search(rb"^(?:version = |cpus=)", said, re.M):
        return TRACE_CMD
    return FTRACE


def _refuse_other_forms(path: Path, head: bytes) -> None:
    if head.startswith(b"# tracer: function_graph"):
        raise FpstateError(
            "was recorded with the function_graph tracer",
            expected="the function tracer or events only",
            where=f"{path}:1",
            hint="echo function > current_tracer",
        )
    if b" latency trace v" in head[:400]:
        raise FpstateError(
            "is in the latency format, whose times are relative",
            expected="the default format",
            where=f"{path}:1",
            hint="echo 0 > options/latency-format",
        )


def _first_layout(path: Path, head: bytes) -> int:
    lines = head.split(b"\n")
    tried = 0
    first = ""
    for number, line in enumerate(lines, 1):
        if not line.strip() or _OTHER_LINE.match(line):
            continue
        layout = layout_of(line)
        if layout is not None:
            return layout
        first = first or f"line {number} is `{shorten(line)}`"
        tried += 1
        if tried == 200:
            break
    if not tried:
        raise FpstateError("holds no events", expected="at least one event line", where=str(path))
    columns.refuse_missing(path, head)
    raise FpstateError(f"is not a trace: {first}", expected=ACCEPTED, where=str(path))


def shorten(line: bytes, length: int = 80) -> str:
    """Return a line as printable text of at most `length` characters."""
    text = line.decode("utf-8", "replace").strip()
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= length else text[: length - 3] + "..."
