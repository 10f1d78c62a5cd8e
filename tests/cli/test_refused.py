"""What is no trace, or no longer one, is named for what it is, with the command that makes it readable."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from fpstate.cli.main import main
from fpstate.traces.lines.foreign import ACCEPTED

SWITCH = "prev_comm=a prev_pid=7 prev_prio=120 prev_state=S ==> next_comm=b next_pid=8 next_prio=120"
LINES = (
    f"  a-7 [000] d..2. 1.000000: sched_switch: {SWITCH}\n"
    f"  b-8 [000] d..2. 2.000000: sched_switch: {SWITCH.replace('a', 'b', 1)}\n"
)
TEXT = "# tracer: nop\n" + LINES


def refusal(command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command in this process; it has to end with code 2 and one line, which is returned."""
    monkeypatch.setattr(sys, "argv", ["fpstate", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    out, error = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert error.count("\n") == 1
    return error.removeprefix("fpstate: ").rstrip("\n")


def tar() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo("trace.txt")
        info.size = len(TEXT)
        archive.addfile(info, io.BytesIO(TEXT.encode()))
    return data.getvalue()


def zipped(*names: str, password: bool = False) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, TEXT)
    raw = bytearray(data.getvalue())
    if password:  # the flag in the file's central directory
        raw[raw.index(b"PK\x01\x02") + 8] |= 1
    return bytes(raw)


A = f"; expected {ACCEPTED}"
DAT = b"\x17\x08\x44tracing6\0" + bytes(50)
WHOLE: list[tuple[str, bytes, str]] = [
    ("tar", tar(), f"is a tar archive{A}; tar -xf FILE, and give the trace in it"),
    ("tar.gz", gzip.compress(tar()), f"is a tar archive{A}; tar -xf FILE, and give the trace in it"),
    ("tar.xz", lzma.compress(tar()), f"is a tar archive{A}; tar -xf FILE, and give the trace in it"),
    ("dat.gz", gzip.compress(DAT), f"is a compressed trace.dat{A}; decompress FILE and give the trace.dat"),
    ("perf.xz", lzma.compress(b"PERFILE2" + bytes(99)), f"is a compressed perf.data{A}; decompress FILE and give the perf.data"),
    ("perf.be", lzma.compress(b"2ELIFREP" + bytes(99)), f"is a compressed perf.data{A}; decompress FILE and give the perf.data"),
    ("parquet.bz2", bz2.compress(b"PAR1" + bytes(99)), f"is a compressed .parquet{A}; decompress FILE and give the .parquet"),
    ("gz.gz", gzip.compress(gzip.compress(TEXT.encode())), f"is compressed twice{A}; decompress FILE once"),
    ("zst.gz", gzip.compress(b"\x28\xb5\x2f\xfd" + bytes(9)), f"is compressed twice{A}; decompress FILE once"),
    ("xz.gz", gzip.compress(lzma.compress(TEXT.encode())), f"is compressed twice{A}; decompress FILE once"),
    ("bz2.gz", gzip.compress(bz2.compress(TEXT.encode())), f"is compressed twice{A}; decompress FILE once"),
    ("zip.gz", gzip.compress(zipped("a")), f"is a zip archive in a compressed file{A}; unpack FILE and give the trace in it"),
    ("7z", b"7z\xbc\xaf\x27\x1c" + bytes(99), f"is a 7z archive{A}; 7z x FILE"),
    ("rar", b"Rar!\x1a\x07" + bytes(99), f"is a rar archive{A}; unrar x FILE"),
    ("Z", b"\x1f\x9d\x90" + bytes(99), f"is compressed with compress{A}; uncompress FILE"),
    ("db", b"SQLite format 3\0" + bytes(99), f"is an SQLite database{A}; give the recording it was made from"),
    ("ctf", b"\xc1\x1f\xfc\xc1" + bytes(99), f"is a stream of CTF, as LTTng writes{A}; no tool makes ftrace text of it: record with trace-cmd"),
    ("elf", b"\x7fELF\x02\x01" + bytes(99), f"is an ELF program{A}"),
    ("utf16", TEXT.encode("utf-16"), f"is text in UTF-16{A}; iconv -f UTF-16 -t UTF-8 FILE > trace.txt"),
    ("utf16be", b"\xfe\xff" + TEXT.encode("utf-16-be"), f"is text in UTF-16{A}; iconv -f UTF-16 -t UTF-8 FILE > trace.txt"),
    ("atrace", b"capturing trace... done\nTRACE:\n" + zlib.compress(TEXT.encode()), f"is what `atrace -z` writes, compressed with zlib{A}; record with atrace, without -z"),
    ("json", b'{"traceEvents": [{"ph": "X"}]}', f"is JSON, as trace viewers of the browser read{A}; give the text of ftrace that it was made from; of a Perfetto trace: `traceconv systrace`"),
    ("perfetto", b"\n\x12\x18\x00\x01" + bytes(99), f"is a binary file, not a trace{A}; of a Perfetto trace: `traceconv systrace FILE trace.txt`"),
    ("binary", b"\xff\xd8\xff\xe0\0" + bytes(99), f"is a binary file, not a trace{A}"),
    ("mail", b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(TEXT.encode()), f"is a mail whose text is encoded as base64{A}; save its text from the mail program"),
    ("html", b"<!DOCTYPE html>\n<html><pre>a-7 [000] 1.0: x: y</pre></html>\n", f"is a web page without a trace in it{A}; save the trace that it shows as text"),
    ("zip", zipped("a.txt", "b.txt"), "the zip holds 2 files: 'a.txt', 'b.txt'; expected a zip with one trace in it; unzip FILE, and give the trace"),
    ("zip0", zipped(), "is text"),
    ("zipp", zipped("a.txt", password=True), "the zip has a password; expected a zip without one; unzip FILE, and give the trace"),
    ("zipcut", zipped("a.txt")[:60], "the zip file is damaged; expected a whole zip file; copy or record it again"),
    ("xzcut", lzma.compress(TEXT.encode())[:60], "the xz file is cut short; expected a whole xz file; copy or record it again"),
    ("bz2cut", bz2.compress(TEXT.encode())[:60], "the bz2 file is cut short; expected a whole bz2 file; copy or record it again"),
    ("xzbad", lzma.compress(TEXT.encode() * 9)[:-40] + bytes(40), "the xz file is damaged; expected a whole xz file; copy or record it again"),
]  # fmt: skip
WHOLE = [case for case in WHOLE if case[0] != "zip0"]


@pytest.mark.parametrize(("name", "content", "said"), WHOLE, ids=[case[0] for case in WHOLE])
def test_files_that_are_no_trace(
    name: str,
    content: bytes,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is named, with what to do."""
    path = tmp_path / f"t.{name}"
    path.write_bytes(content)
    expected = f"{path}: {said.replace('FILE', str(path))}"
    assert refusal(["import", str(path)], monkeypatch, capsys) == expected


FIELDS = "sched:sched_switch: " + SWITCH
PERF = "  a     7 [000]     1.000000: " + FIELDS + "\n"
COLUMNS = "; expected thread, CPU, time, event and its fields in each line; perf script -F +"
FORM = "; expected `comm-tid [cpu] flags seconds: event` with the fields as the kernel prints them; "
CUT = f":4: lines were left out here: `...`{FORM}give the whole recording"
TEXTS: list[tuple[str, str, str]] = [
    ("no-cpu", f"a 7 1.000000: {FIELDS}\n", f":1: was printed by `perf script` without the column of the CPU{COLUMNS}cpu; if perf says it has none, record with perf record -a"),
    ("no-cpu-period", f"a 7/7 1.000000:     1 {FIELDS}\n", f":1: was printed by `perf script` without the column of the CPU{COLUMNS}cpu; if perf says it has none, record with perf record -a"),
    ("no-time", f"# x\n  a     7 [000] {FIELDS}\n", f":2: was printed by `perf script` without the column of the time{COLUMNS}time"),
    ("no-comm", f"    7 [000]     1.000000: {FIELDS}\n", f":1: was printed by `perf script` without the column of the name{COLUMNS}comm"),
    ("no-tid", f"  a [000]     1.000000: {FIELDS}\n", f":1: was printed by `perf script` without the column of the thread{COLUMNS}tid"),
    ("no-event", f"# x\n  a     7 [000]     1.000000: {SWITCH}\n", f":2: was printed by `perf script` without the column of the event{COLUMNS}event"),
    (
        "deltas",
        "".join(PERF.replace("1.000000", t) for t in ("0.000000", "0.000500", "0.000100")),
        ":1: was printed by `perf script --deltatime`: times are those since the line before; expected times of one clock; perf script --ns, without --deltatime",
    ),
    (
        "two-files",
        "cpus=2\n trace.dat:   CPU 0/KVM-2553  [000]     2.190290: kvm_entry:   vcpu 0\n guest.dat:       sshd-100    [000]     2.190300: sched_switch:  x\n",
        ":1: holds lines of 2 recordings (trace.dat, guest.dat); expected one machine's recording; report each alone: trace-cmd report -i trace.dat, or give the trace.dat",
    ),
    (
        "two-files-heads",
        "a.dat: cpus=6\nb.dat: cpus=1\n a.dat:  x-1  [000]     2.190290: kvm_entry:   vcpu 0\n b.dat:  y-2  [000]     2.190300: kvm_entry: vcpu 0\n",
        ":1: holds lines of 2 recordings (a.dat, b.dat); expected one machine's recording; report each alone: trace-cmd report -i trace.dat, or give the trace.dat",
    ),
    ("cut-out", TEXT + "...\n" + LINES, CUT),
    ("cut-out-grep", TEXT + "--\n" + LINES, CUT.replace("`...`", "`--`")),
    ("signature", TEXT + "-- \nme\n", f":4: a mail's text goes on here: `--`{FORM}take out what the tracer did not print"),
    ("prose", TEXT + "and then it hung\n", f":4: cannot read this line: `and then it hung`{FORM}take out the line if the tracer did not print it"),
    ("two-reports", TEXT + "a.dat: cpus=6\n", f":4: another report begins here: `a.dat: cpus=6`{FORM}give each report alone"),
    (
        "raw-hotplug",
        "cpus=2\n a-7 [000] 1.000000: cpuhp_enter: cpu=1 target=0 idx=19 fun=0xffff800008001000\n" + LINES,
        ":2: raw fields do not name the step of hotplug: `a-7 [000] 1.000000: cpuhp_enter: cpu=1 target=0 idx=19 fun=0xffff800008001000`; expected `comm-tid [cpu] seconds: event: fields` with the fields as the kernel prints them; report it without -R",
    ),
    ("prose-only", "Dear reader,\nthis is a letter.\n", f": is not a trace: line 1 is `Dear reader,`{A}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), TEXTS, ids=[case[0] for case in TEXTS])
def test_texts_that_cannot_be_read(
    name: str,
    content: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is named, with the line and what to do."""
    path = tmp_path / f"t.{name}"
    path.write_text(content)
    assert refusal(["import", str(path)], monkeypatch, capsys) == f"{path}{said}"


def test_perf_data_without_perf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A perf.data needs perf, here or elsewhere."""
    path = tmp_path / "perf.data"
    path.write_bytes(b"PERFILE2" + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(["import", str(path)], monkeypatch, capsys) == (
        f"{path}: is a perf.data, and perf, which reads it, is not installed; expected perf (in Debian: linux-perf), or "
        "the text of `perf script`; where perf is: perf script --ns --show-lost-events --header -F "
        f"comm,tid,cpu,time,event,trace -i {path} > trace.txt"
    )


STAND_IN = """#!/bin/sh
echo '  a     7 [000]     1.000000: sched:sched_switch: {switch}'
echo "{complaint}" >&2
exit {code}
"""
COMPLAINTS = [
    (
        "Samples for 'cycles' event do not have CPU attribute set. Cannot print 'cpu' field.",
        255,
        "cpu was not recorded for event 'cycles'; expected events recorded with thread, CPU and time; perf record -a, or --sample-cpu, with tracepoints such as sched:sched_switch",
    ),
    (
        "incompatible file format (rerun with -v to learn more)",
        255,
        "perf cannot read it: incompatible file format (rerun with -v to learn more); expected a whole perf.data; perf has to be as new as the one that recorded it",
    ),
]


def stand_in(folder: Path, complaint: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program in perf's place that complains."""
    program = folder / "perf"
    program.write_text(STAND_IN.format(switch=SWITCH, complaint=complaint, code=code))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.mark.parametrize(("complaint", "code", "said"), COMPLAINTS, ids=["no-cpu", "format"])
def test_what_perf_complains_of(
    complaint: str,
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Perf's reason is passed on, with what to do."""
    path = tmp_path / "perf.data"
    path.write_bytes(b"PERFILE2" + bytes(100))
    stand_in(tmp_path, complaint, code, monkeypatch)
    assert refusal(["import", str(path)], monkeypatch, capsys) == f"{path}: {said}"


def test_what_perf_lost_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Perf tells of chunks it lost on stderr alone."""
    from fpstate.traces.read import read_trace

    path = tmp_path / "perf.data"
    path.write_bytes(b"PERFILE2" + bytes(100))
    stand_in(tmp_path, "Processed 99 events and lost 3 chunks!\n\nCheck IO/CPU overload!\n", 0, monkeypatch)
    assert "perf lost 3 chunks of events: what happened there is missing." in read_trace(path).header.unobserved


IDLE = (
    "; expected lines of sched_switch, kvm_entry or the like; record it with sched:sched_switch, raw_syscalls and kvm"
)


@pytest.mark.parametrize(
    "content",
    [
        " app-1 [000] ..... 1.000000: cpu_idle: state=0 cpu_id=0\n",
        " app-1 [000] ..... 1.000000: sys_enter: NR 1 (0)\n app-2 [000] ..... 2.000000: sys_enter: NR 1 (0)\n",
    ],
    ids=["nothing", "system-calls"],
)
def test_nothing_to_compare(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trace in which no policy has anything to do has no table."""
    path = tmp_path / "t.txt"
    path.write_text(content)
    said = f"{path}: shows no thread switch and no guest run: there is nothing to compare{IDLE}"
    assert refusal(["compare", str(path)], monkeypatch, capsys) == said


def test_another_machine_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An x86 trace is compared, and said not to be what the policies are of."""
    path = tmp_path / "t.txt"
    path.write_text("# tracer: nop\n" + LINES + "  b-8 [000] d..2. 3.000000: kvm_entry: vcpu 0, rip 0xfff0\n")
    monkeypatch.setattr(sys, "argv", ["fpstate", "compare", "-p", "eager", str(path)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert (
        "The trace is of x86_64, the policies are of arm64: the table shows what these would do with its events, not what "
        "its kernel did."
    ) in said
    assert "Not said by the recording, and guessed: the number of CPUs (the highest that a line names)." in said
