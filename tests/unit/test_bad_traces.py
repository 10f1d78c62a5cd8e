"""Every way a trace can be bad ends in one clear error, or is accepted and said in the header."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import zstandard

from fpstate.errors import FpstateError
from fpstate.traces.parquet import import_parquet, read_parquet
from fpstate.traces.read import read_trace
from fpstate.traces.samples import sample_path
from fpstate.world.events import Event

GOOD = """# tracer: nop
            init-1       [000] .....     1.000000: sys_exit: NR 64 = 2
            init-1       [000] .....     1.000100: sys_enter: NR 24 (b, 1, 0, 1, 0, 7)
"""


def refused(path: Path) -> FpstateError:
    with pytest.raises(FpstateError) as caught:
        read_trace(path)
    assert str(path) in caught.value.where
    assert "\n" not in str(caught.value)
    return caught.value


def made(folder: Path, content: str | bytes) -> Path:
    path = folder / "t.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_empty_file(tmp_path: Path) -> None:
    """An empty file is refused as such."""
    assert "empty" in refused(made(tmp_path, "")).given


def test_no_events(tmp_path: Path) -> None:
    """A header without events is refused as such."""
    assert "no events" in refused(made(tmp_path, "# tracer: nop\n#\n")).given


@pytest.mark.parametrize("keep", [20, 5000, -9])
def test_truncated_gzip(tmp_path: Path, keep: int) -> None:
    """A gzip file cut anywhere is refused as cut short."""
    assert "cut short" in refused(made(tmp_path, sample_path("hvc-fp.vhe").read_bytes()[:keep])).given


def test_damaged_gzip(tmp_path: Path) -> None:
    """A gzip file with changed bytes is refused as damaged."""
    raw = bytearray(sample_path("hvc-fp.vhe").read_bytes())
    raw[3000:3040] = bytes(40)
    assert "gzip file" in refused(made(tmp_path, bytes(raw))).given


def test_truncated_zstd(tmp_path: Path) -> None:
    """A zstd file cut short is refused."""
    text = gzip.decompress(sample_path("hvc-fp.vhe").read_bytes())
    raw = zstandard.ZstdCompressor().compress(text)
    assert "zstd file" in refused(made(tmp_path, raw[: len(raw) // 2])).given


def test_binary(tmp_path: Path) -> None:
    """A picture is refused as binary; what else is known by its first bytes is in tests/cli/test_refused.py."""
    start = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
    assert "binary" in refused(made(tmp_path, start + bytes(range(256)) * 20)).given


def test_text_that_is_no_trace(tmp_path: Path) -> None:
    """Prose is refused, with its first line and what would be accepted."""
    error = refused(made(tmp_path, "Dear reader,\nthis is a letter.\n" * 500))
    assert "Dear reader" in error.given
    assert "ftrace" in error.expected


def test_line_that_cannot_be_read(tmp_path: Path) -> None:
    """A bad line in the middle is refused with its number and its text shortened."""
    error = refused(made(tmp_path, GOOD + "scribble " * 30 + "\n" + GOOD))
    assert error.where.endswith(":4")
    assert "scribble" in error.given
    assert len(error.given) < 140


@pytest.mark.parametrize(
    "event",
    [
        "sys_enter: NR twelve",
        "sched_switch: prev_comm=a prev_pid=1 prev_prio=1 prev_state=S ==> next_comm=b next_pid=",
        "sched_switch: nonsense",
        "sched_switch:",
        "sched_process_fork: comm=a pid=1 child_comm=b child_pid=99999999",
        "cpuhp_enter: cpu: 9999 target: 1 step: 2 (x)",
    ],
)
def test_fields_that_cannot_be_read(tmp_path: Path, event: str) -> None:
    """A known event with other fields than the kernel prints is refused with its line."""
    line = f"            init-1       [000] .....     2.000000: {event}\n"
    assert refused(made(tmp_path, GOOD + line + GOOD)).where.endswith(":4")


def test_last_line_cut(tmp_path: Path) -> None:
    """A last line cut in the middle is left out, and the header says so."""
    trace = read_trace(made(tmp_path, GOOD + "            init-1       [000] .....     2.0000"))
    assert any("cut short" in sentence for sentence in trace.header.unobserved)
    assert trace.header.lines == 4
    assert trace.line.max() == 3


def test_last_line_without_end(tmp_path: Path) -> None:
    """A last line that only lacks its newline is read like any other."""
    trace = read_trace(made(tmp_path, GOOD.rstrip("\n")))
    assert trace.line.max() == 3
    assert not any("cut short" in sentence for sentence in trace.header.unobserved)


@pytest.mark.parametrize(
    ("line", "cpu", "events"),
    [
        ("CPU:1 [LOST 123 EVENTS]", 1, 123),
        ("CPU 1: 123 EVENTS LOST", 1, 123),
        ("CPU:1 [123 EVENTS DROPPED]", 1, 123),
        ("CPU:1 [EVENTS DROPPED]", 1, 0),
        ("CPU:1 [LOST EVENTS]", 1, 0),
    ],
)
def test_lost_events(tmp_path: Path, line: str, cpu: int, events: int) -> None:
    """Lost events are accepted, with CPU, number and line in the header, and refused on request."""
    path = made(tmp_path, GOOD + line + "\n")
    header = read_trace(path).header
    assert header.lost == [{"cpu": cpu, "events": events, "line": 4}]
    assert "lost events" in header.unobserved[0]
    with pytest.raises(FpstateError, match="lost events"):
        read_trace(path, allow_lost=False)


def test_overwritten_buffer(tmp_path: Path) -> None:
    """A header that counts more entries written than kept is a loss."""
    path = made(tmp_path, "# tracer: nop\n#\n# entries-in-buffer/entries-written: 2/200   #P:4\n" + GOOD)
    header = read_trace(path).header
    assert header.lost == [{"cpu": -1, "events": 198, "line": 3}]
    assert header.cpus == 4
    with pytest.raises(FpstateError, match="lost events"):
        read_trace(path, allow_lost=False)


def test_time_backwards_across_cpus(tmp_path: Path) -> None:
    """Lines of two CPUs out of order are put in order of time, and the header says so; Parquet is the same."""
    lines = [
        "            a-7       [001] .....     5.000000: sys_exit: NR 64 = 2\n",
        "            b-8       [000] .....     1.000000: sys_exit: NR 64 = 2\n",
        "            b-8       [000] .....     2.000000: sys_enter: NR 24 (b)\n",
        "            a-7       [001] .....     6.000000: sys_enter: NR 24 (b)\n",
    ]
    path = made(tmp_path, "".join(lines))
    trace = read_trace(path)
    assert trace.header.sorted
    assert (trace.time[1:] >= trace.time[:-1]).all()
    assert trace.line.tolist() == [3, 3, 3, 4, 4, 4]
    header = import_parquet(path, tmp_path / "t.parquet")
    assert header == trace.header
    assert read_parquet(tmp_path / "t.parquet").line.tolist() == trace.line.tolist()


def test_time_backwards_on_one_cpu(tmp_path: Path) -> None:
    """Time that runs backwards on one CPU is refused with the line."""
    line = "            init-1       [000] .....     0.500000: sys_exit: NR 64 = 2\n"
    error = refused(made(tmp_path, GOOD + line))
    assert "backwards" in error.given
    assert error.where.endswith(":4")


@pytest.mark.parametrize("clock", ["99999999999.000000", "99999999999999999999", "1.0000000000"])
def test_absurd_times(tmp_path: Path, clock: str) -> None:
    """Times beyond centuries or finer than nanoseconds are refused."""
    line = f"            init-1       [000] .....     {clock}: sys_exit: NR 64 = 2\n"
    assert refused(made(tmp_path, GOOD + line + GOOD)).where.endswith(":4")


def test_missing_time(tmp_path: Path) -> None:
    """A line without a time is refused."""
    line = "            init-1       [000] ..... sys_exit: NR 64 = 2\n"
    assert refused(made(tmp_path, GOOD + line + GOOD)).where.endswith(":4")


def test_two_clocks(tmp_path: Path) -> None:
    """Seconds and ticks in one file are refused."""
    line = "            init-1       [000] .....     2000000000000: sys_exit: NR 64 = 2\n"
    assert "ticks" in refused(made(tmp_path, GOOD + line)).given


PERF = "init     1 [000]     2.000000: raw_syscalls:sys_exit: NR 64 = 2\n"


def test_mixed_formats(tmp_path: Path) -> None:
    """A file of two formats is refused at the line where the other begins."""
    error = refused(made(tmp_path, GOOD + PERF + PERF))
    assert error.where.endswith(":4")
    assert "perf script" in error.given
    error = refused(made(tmp_path, PERF + GOOD))
    assert error.where.endswith(":2")


def test_cpu_numbers(tmp_path: Path) -> None:
    """CPU 4095 is accepted and 4096 refused."""
    line = "            init-1       [%d] .....     2.000000: sys_exit: NR 64 = 2\n"
    assert read_trace(made(tmp_path, GOOD + line % 4095)).header.cpus == 4096
    error = refused(made(tmp_path, GOOD + line % 4096))
    assert "CPU number" in error.given
    assert "4095" in error.expected


def test_thread_id_too_large(tmp_path: Path) -> None:
    """A thread id above the kernel's limit is refused, the limit itself accepted."""
    line = "            init-%d       [000] .....     2.000000: sys_exit: NR 64 = 2\n"
    assert 4_194_304 in read_trace(made(tmp_path, GOOD + line % 4_194_304)).contexts.tid
    assert "thread id" in refused(made(tmp_path, GOOD + line % 4_194_305 + GOOD)).given


def test_no_file(tmp_path: Path) -> None:
    """A file that does not exist is refused."""
    assert "No such file" in refused(tmp_path / "none.txt").given


def test_folder(tmp_path: Path) -> None:
    """A folder is refused."""
    assert "folder" in refused(tmp_path).given


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read is refused with the system's reason."""
    path = made(tmp_path, GOOD)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert "Permission denied" in refused(path).given


@pytest.mark.parametrize(
    ("head", "hint"),
    [
        ("# tracer: function_graph\n#\n", "function"),
        ("# tracer: irqsoff\n#\n# irqsoff latency trace v1.1.5 on 6.1\n", "latency"),
    ],
)
def test_other_ftrace_forms(tmp_path: Path, head: str, hint: str) -> None:
    """Forms of ftrace without times or threads are refused with what to set instead."""
    assert hint in refused(made(tmp_path, head + " 0)   0.1 us    |  f();\n")).hint


def test_x86_host_without_guests(tmp_path: Path) -> None:
    """A trace of an x86 host without KVM is accepted: no vCPUs, system calls by x86 numbers."""
    text = (
        "            bash-9       [000] .....     1.000000: kernel_fpu_begin <-x\n"
        "            bash-9       [000] .....     1.000100: sys_enter: NR 15 (1, 2, 3)\n"
        "            bash-9       [000] .....     1.000200: sys_exit: NR 15 = 0\n"
        "            bash-9       [000] .....     1.000300: sys_enter: NR 139 (1, 2, 3)\n"
    )
    trace = read_trace(made(tmp_path, text))
    assert (trace.event == Event.SIGRETURN).sum() == 1
    assert trace.header.ignored == {"kernel_fpu_begin": 1}


def test_damaged_trace_dat(tmp_path: Path) -> None:
    """A trace.dat that cannot be read is one error."""
    refused(made(tmp_path, b"\x17\x08\x44tracing6\0" + b"x" * 100))


def test_overlong_line(tmp_path: Path) -> None:
    """A line longer than the read buffer is refused, not kept in memory."""
    from fpstate.traces.importer import Import

    path = made(tmp_path, GOOD + "x" * 100_000)
    with pytest.raises(FpstateError, match="longer than"):
        list(Import(path, chunk=4096).chunks())


def test_foreign_parquet(tmp_path: Path) -> None:
    """A Parquet file of something else, or a damaged one, is refused."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"a": [1, 2]}), path)
    assert "no trace" in refused(path).given
    path.write_bytes(path.read_bytes()[:-20])
    assert "damaged" in refused(path).given
    path.write_bytes(b"PAR1" + bytes(100))
    assert "damaged" in refused(path).given


def test_failed_import_leaves_nothing(tmp_path: Path) -> None:
    """An import that fails leaves neither the file nor a temporary one, and keeps an old file as it was."""
    path = made(tmp_path, GOOD + "scribble\n" + GOOD)
    out = tmp_path / "out.parquet"
    out.write_text("old")
    with pytest.raises(FpstateError):
        import_parquet(path, out)
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.parquet", "t.txt"]


def test_disk_full(tmp_path: Path) -> None:
    """A full disk ends in one error and leaves no file."""
    import errno
    import os

    opened = Path.open

    def full(self: Path, mode: str = "r", **given: Any) -> Any:
        if mode != "xb":
            return opened(self, mode, **given)
        self.touch()
        return opened(Path("/dev/full"), "wb")

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(FpstateError, match=os.strerror(errno.ENOSPC)):
            import_parquet(sample_path("hvc-fp.vhe"), tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """An output in a folder that does not exist is one error."""
    with pytest.raises(FpstateError, match="cannot be written"):
        import_parquet(sample_path("hvc-fp.vhe"), tmp_path / "none" / "out.parquet")
