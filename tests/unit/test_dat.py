"""Reading a trace.dat: the same as the text of the same events, in every form there is, and one error when damaged."""

from __future__ import annotations

import gzip
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fpstate.errors import FpstateError
from fpstate.traces.dat import reader
from fpstate.traces.dat.formats import parse_format, states
from fpstate.traces.dat.layout import MAGIC
from fpstate.traces.dat.walk import merge
from fpstate.traces.read import read_trace
from fpstate.traces.samples import sample_path
from fpstate.traces.trace import Trace
from tests.unit.make_dat import Form, make_dat

DATA = Path(__file__).parent.parent / "data" / "traces"
MOST_LINES = 700
LOSS = "CPU:1 [LOST 12 EVENTS]"
COLUMNS = ("time", "cpu", "event", "subject", "object", "line")


def functions_apart(line: str) -> str:
    """Return the buffer for a line: functions have their own."""
    return "functions" if "<-" in line else ""


FORMS = {
    "6": Form(),
    "6, big-endian": Form(big=True),
    "6, two buffers": Form(buffer_of=functions_apart),
    "6, time extends": Form(stamps="extend"),
    "6, absolute times": Form(stamps="absolute"),
    "6, discarded records": Form(discarded=True),
    "7": Form(7),
    "7, zstd": Form(7, "zstd"),
    "7, zlib": Form(7, "zlib"),
    "7, zstd, big-endian, two buffers": Form(7, "zstd", big=True, stamps="extend", buffer_of=functions_apart),
}
WITHOUT_ZLIB = [name for name in FORMS if "zlib" not in name]
needs_trace_cmd = pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")


@cache
def lines(name: str) -> list[str]:
    """Return some lines of a bundled recording, with a loss among them."""
    text = gzip.decompress(sample_path(name).read_bytes()).decode().splitlines()
    text = [line for line in text if not line.startswith("#")]
    text = text[:MOST_LINES] if name != "hotplug.vhe" else text[-3 * MOST_LINES :]
    return [*text[:500], LOSS, *text[500:]]


def both(tmp_path: Path, form: Form, name: str = "hotplug.vhe", *, loss: bool = True) -> tuple[Path, Path]:
    """Return a trace.dat, and the text of the same lines."""
    dat, text = tmp_path / "t.dat", tmp_path / "t.txt"
    chosen = [line for line in lines(name) if loss or line != LOSS]
    text.write_text("\n".join(make_dat("\n".join(chosen), dat, form)) + "\n")
    return dat, text


def rows(trace: Trace, columns: tuple[str, ...] = COLUMNS) -> list[tuple[int, ...]]:
    return list(zip(*(getattr(trace, column).tolist() for column in columns), strict=True))


def people(trace: Trace) -> list[tuple[str, int, int]]:
    c = trace.contexts
    return list(zip(c.name, c.tid.tolist(), c.kind.tolist(), strict=True))


def unguessed(trace: Trace) -> list[str]:
    """Return what could not be seen, without what was guessed: a file says more than its text."""
    return [sentence for sentence in trace.header.unobserved if not sentence.startswith("Not said by")]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_as_text(tmp_path: Path, form: Form) -> None:
    """Every form gives the events, contexts and losses that the same lines as text give."""
    dat, text = both(tmp_path, form)
    one, two = read_trace(dat), read_trace(text)
    assert one.header.format == "trace.dat"
    assert rows(one, COLUMNS[:-1]) == rows(two, COLUMNS[:-1])
    assert people(one) == people(two)
    assert [loss["events"] for loss in one.header.lost] == [12]
    assert (one.header.observed, one.header.ignored) == (two.header.observed, two.header.ignored)
    assert unguessed(one) == unguessed(two)


@needs_trace_cmd
@pytest.mark.parametrize("name", ["contended.vhe", "signals.vhe", "hotplug.vhe"])
@pytest.mark.parametrize("form", WITHOUT_ZLIB)
def test_as_trace_cmd_reports(tmp_path: Path, form: str, name: str) -> None:
    """Every row has the line, the time and all else that an import of `trace-cmd report` gives.

    Its version 3.1.6 says nothing of a loss before a page that begins with a time stamp.
    """
    dat, text = both(tmp_path, FORMS[form], name, loss=FORMS[form].stamps == "delta")
    compare_with_report(dat, text)


def compare_with_report(dat: Path, text: Path) -> None:
    report = ["trace-cmd", "report", "-N", "-t", "-l", "-i", str(dat)]
    text.write_bytes(subprocess.run(report, capture_output=True, check=True).stdout)
    one, two = read_trace(dat), read_trace(text)
    assert rows(one) == rows(two)
    assert people(one) == people(two)
    assert one.header.lost == two.header.lost
    assert one.header.lines == two.header.lines
    assert (one.header.observed, one.header.ignored) == (two.header.observed, two.header.ignored)


@needs_trace_cmd
@pytest.mark.parametrize("name", ["synthetic-v6.dat", "synthetic-v7.dat", "recorded-6.1.dat"])
def test_samples_as_trace_cmd_reports(tmp_path: Path, name: str) -> None:
    """So does every row of the samples: two written, one recorded by trace-cmd on a real arm64 Linux 6.1 with KVM."""
    compare_with_report(DATA / name, tmp_path / "t.txt")


def test_samples() -> None:
    """The samples hold what they always held."""
    trace = read_trace(DATA / "recorded-6.1.dat")
    assert (trace.header.kernel, trace.header.clock, trace.header.cpus) == ("6.1.0-56-arm64", "mono", 2)
    assert trace.header.lost == [{"cpu": 1, "events": 0, "line": 268}]
    assert (len(trace), trace.header.lines) == (1510, 1478)
    for name in ("synthetic-v6.dat", "synthetic-v7.dat"):
        trace = read_trace(DATA / name)
        assert (len(trace), trace.header.lines, len(trace.header.lost)) == (184, 152, 1)


def option(number: int, raw: bytes, form: Form | None = None) -> Form:
    given = form or Form()
    return Form(given.version, given.compression, options=((number, raw),), buffer_of=given.buffer_of)


def made(tmp_path: Path, form: Form, text: str | None = None) -> Path:
    path = tmp_path / "t.dat"
    make_dat(text or "\n".join(lines("contended.vhe")[:50]), path, form)
    return path


def test_what_the_file_says_of_the_machine(tmp_path: Path) -> None:
    """Kernel and clock come from the file; a host names its guests, and a guest that there is a host."""
    header = read_trace(made(tmp_path, option(5, b"Linux box 6.12.1-arm64 aarch64\0"))).header
    assert header.kernel == "6.12.1-arm64"
    assert read_trace(made(tmp_path, option(4, b"local [mono_raw] boot\0"))).header.clock == "mono_raw"
    host = read_trace(made(tmp_path, option(13, b"web\x1b1\0" + bytes(12))))
    assert any("beside guests, each in a file of its own: web?1." in said for said in host.header.unobserved)
    guest = read_trace(made(tmp_path, option(12, bytes(16))))
    assert any("Recorded in a guest" in said for said in guest.header.unobserved)


def test_times(tmp_path: Path) -> None:
    """Times are shifted as the file says; ticks become nanoseconds if it says how, else they are told to be ticks."""
    plain = read_trace(made(tmp_path, Form())).time
    assert (read_trace(made(tmp_path, option(7, b"-1000\0"))).time == plain - 1000).all()
    assert (read_trace(made(tmp_path, option(1, b"0x10\0"))).time == plain + 16_000).all()
    scaled = read_trace(made(tmp_path, option(14, struct.pack("<IIQ", 3, 1, 500))))
    assert (scaled.time == plain * 3 // 2 - 500).all()
    ticks = read_trace(made(tmp_path, option(4, b"x86-tsc\0")))
    assert any("ticks" in said for said in ticks.header.unobserved)


def test_losses_only_in_statistics(tmp_path: Path) -> None:
    """What a CPU's statistics say was overrun is a loss, unless a page says so where it happened."""
    stat = b"CPU: 0\nentries: 5\noverrun: 7\ndropped events: 2\n\0"
    assert read_trace(made(tmp_path, option(2, stat))).header.lost == [{"cpu": 0, "events": 9, "line": 1}]
    with pytest.raises(FpstateError, match="lost events"):
        read_trace(made(tmp_path, option(2, stat)), allow_lost=False)
    text = "\n".join(["CPU:0 [LOST 3 EVENTS]", *lines("contended.vhe")[:50]])
    assert [loss["events"] for loss in read_trace(made(tmp_path, option(2, stat), text)).header.lost] == [3]


def test_one_event_in_two_buffers_is_said(tmp_path: Path) -> None:
    """An event that two buffers have is counted in both, and the header says which."""
    form = Form(buffer_of=lambda line: "more" if line.split()[0].endswith("7") else "")
    said = read_trace(made(tmp_path, form)).header.unobserved
    assert any("more than one of the file's buffers" in sentence and "sys_enter" in sentence for sentence in said)


def test_unknown_types_and_symbols_are_said(tmp_path: Path) -> None:
    """Records without a format, and functions without a symbol, are counted and said."""
    path = made(tmp_path, Form())
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"name: sys_exit\nID: 102", b"name: sys_exit\nID: 902"))
    assert any("events whose format the file lacks" in said for said in read_trace(path).header.unobserved)
    path.write_bytes(re.sub(rb"([0-9a-f]{16} T )\w", rb"\1$", raw))
    assert any("address without a symbol" in said for said in read_trace(path).header.unobserved)


_OLD_SWITCH = """name: sched_switch
ID: 9
format:
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;

print fmt: "%s", REC->prev_state & (1024-1) ? __print_flags(REC->prev_state & (1024-1), "|", { 1, "S"} , { 2, "D" }, \
{ 16, "Z" }, { 32, "X" }, { 64, "x" }, { 128, "K" }) : "R", REC->prev_state & 1024 ? "+" : ""
"""
_NEW_SWITCH = """name: sched_switch
ID: 9
print fmt: "%s", (REC->prev_state & ((((0x00000000 | 0x00000001 | 0x00000040) + 1) << 1) - 1)) ? __print_flags(\
REC->prev_state, "|", { 0x00000001, "S" }, { 0x00000010, "X" }, { 0x00000020, "Z" }, { 0x00000040, "P" }) : "R", \
REC->prev_state & (((0x00000000 | 0x00000001 | 0x00000002 | 0x0000007d) + 1) << 1) ? "+" : "", REC->next_comm
"""


def test_states_by_format() -> None:
    """Which bits of a state mean that a task sleeps, is dead or idle, is what its kernel's format says."""
    path = Path("x")
    idle = _NEW_SWITCH.replace("{ 0x00000040,", '{ 0x00000080, "I" }, { 0x00000040,')
    assert states(parse_format(path, idle)) == (0xF1 | 0x100, 0x30, 0x80)
    assert states(parse_format(path, _OLD_SWITCH)) == (0x1 | 0x2 | 0x10 | 0x20 | 0x40 | 0x80 | 0x400, 0x70, 0)
    assert states(parse_format(path, _NEW_SWITCH)) == (0x71 | 0x100, 0x30, 0)
    assert states(parse_format(path, "name: x\nID: 1\nprint fmt: 1")) == (0x1FF, 0x30, 0)


def refused(path: Path, raw: bytes) -> FpstateError:
    path.write_bytes(raw)
    with pytest.raises(FpstateError) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)
    assert str(path) in caught.value.where
    return caught.value


def changed(at: int, to: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw[:at] + to + raw[at + len(to) :]


def at_page(offset: int, to: bytes) -> Callable[[bytes], bytes]:
    """Return what changes the second page of the first CPU of a file of version 6."""
    return lambda raw: changed(raw.index(b"flyrecord\0") // 4096 * 4096 + 2 * 4096 + offset, to)(raw)


def swapped(one: bytes, two: bytes) -> Callable[[bytes], bytes]:
    return lambda raw: raw.replace(one, two)


DAMAGE: dict[str, tuple[Form, Callable[[bytes], bytes], str]] = {
    "cut in its head": (Form(), lambda raw: raw[:200], "cut short"),
    "cut in its records": (Form(), lambda raw: raw[:-4096], "part of the records of CPU"),
    "half a page": (Form(), lambda raw: raw[:-10], "part of the records of CPU"),
    "version": (Form(), changed(10, b"8"), "version '8'"),
    "page size": (Form(), changed(14, b"\1"), "page size is"),
    "no header": (Form(), changed(18, b"x"), "form of its pages"),
    "header without commit": (Form(), swapped(b"local_t commit", b"local_t xommit"), "no commit"),
    "sizes beyond the file": (Form(), changed(30, b"\xff" * 7), "cut short"),
    "no field": (Form(), swapped(b"int next_pid", b"int next_xxx"), "has no field next_pid"),
    "field outside": (Form(), swapped(b"int next_pid;\toffset:56", b"int next_pid;\toffset:96"), "does not have"),
    "odd field": (Form(), swapped(b"next_pid;\toffset:56;\tsize:4", b"next_pid;\toffset:56;\tsize:3"), "has 3 bytes"),
    "format without a number": (Form(), swapped(b"ID: 103", b"ID: x03"), "no number"),
    "no records": (Form(), swapped(b"flyrecord\0", b"flyrxcord\0"), "where its records are"),
    "latency": (Form(), swapped(b"flyrecord\0", b"latency  \0"), "latency tracer"),
    "page too full": (Form(), at_page(8, b"\xff\xff"), "more than fits"),
    "page in the past": (Form(), at_page(0, bytes(8)), "backwards"),
    "page far in the future": (Form(), at_page(7, b"\xff"), "time makes no sense"),
    "record too long": (Form(), at_page(16, b"\0" * 4 + b"\xff\xff\xff\xff"), "does not fit"),
    "record of length 0": (Form(), at_page(16, bytes(8)), "does not fit"),
    "thread": (Form(), at_page(16 + 4 + 4, b"\xff\xff\xff\x7f"), "thread whose id"),
    "options in a circle": (Form(7), lambda raw: raw[:-8] + raw[25:33], "circle"),
    "no options": (Form(7), changed(25, b"\xff" * 8), "cut short: options"),
    "options elsewhere": (Form(7), changed(25, b"\x21" + bytes(7)), "not where the file says"),
    "compression": (Form(7), changed(18, b"lzma"), "compressed with 'lzma'"),
    "compressed badly": (Form(7, "zstd"), swapped(b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfe"), "decompressed"),
    "compressed elsewise": (Form(7, "zlib"), swapped(b"zlib", b"zstd"), "decompressed"),
    "compressed, not said": (Form(7, "zstd"), swapped(b"zstd", b"none"), "is compressed"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage(tmp_path: Path, kind: str) -> None:
    """Each kind of damage is one error that says what is wrong."""
    form, damage, said = DAMAGE[kind]
    path = tmp_path / "t.dat"
    make_dat("\n".join(lines("contended.vhe")), path, form)
    raw = path.read_bytes()
    assert damage(raw) != raw
    assert said in refused(path, damage(raw)).given


def test_only_magic(tmp_path: Path) -> None:
    """A file of nothing but its first bytes is cut short."""
    assert "cut short" in refused(tmp_path / "t.dat", MAGIC).given


@pytest.mark.parametrize("form", ["6", "7, zstd", "6, big-endian"])
def test_every_cut(tmp_path: Path, form: str) -> None:
    """Wherever a file ends too early, that is an error."""
    path = made(tmp_path, FORMS[form])
    raw = path.read_bytes()
    for end in np.linspace(10, len(raw) - 1, 150).astype(int).tolist():
        refused(path, raw[:end])


def test_interpreted_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpreted, where every index is checked, the walk gives the same rows."""
    path, _ = both(tmp_path, Form(stamps="extend", discarded=True))
    expected = rows(read_trace(path))
    monkeypatch.setattr(reader, "merge", merge.py_func)  # type: ignore[attr-defined]
    assert rows(read_trace(path)) == expected
