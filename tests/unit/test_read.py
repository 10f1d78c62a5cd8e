"""Reading and writing whole traces: every format, the bundled samples, Parquet and the summary."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zstandard

from fpstate.errors import FpstateError
from fpstate.traces.describe import describe
from fpstate.traces.importer import iter_events, joined
from fpstate.traces.parquet import import_parquet, read_parquet, write_parquet
from fpstate.traces.read import read_trace
from fpstate.traces.samples import sample_names, sample_path
from fpstate.traces.trace import Kind, Trace
from fpstate.world.events import MAYBE, Event, Truth
from tests.unit.make_dat import make_dat

COLUMNS = ("time", "cpu", "event", "subject", "object", "line")


def same(one: Trace, two: Trace, *, lines: bool = True) -> bool:
    """Return whether two traces hold the same rows and contexts."""
    columns = COLUMNS if lines else COLUMNS[:-1]
    return all(np.array_equal(getattr(one, name), getattr(two, name)) for name in columns) and contexts(
        one
    ) == contexts(two)


def contexts(trace: Trace) -> list[tuple[int, int, int, str]]:
    c = trace.contexts
    return list(zip(c.kind.tolist(), c.tid.tolist(), c.owner.tolist(), c.name, strict=True))


def text_of(name: str) -> str:
    return gzip.decompress(sample_path(name).read_bytes()).decode()


def cpus_of(name: str) -> int:
    return 4 if name == "smp4-mixed.vhe" else 2


@pytest.mark.parametrize("name", sample_names())
def test_samples(name: str) -> None:
    """Each bundled recording is read whole: nothing lost or missed, CPUs in order, every guest run paired."""
    trace = read_trace(sample_path(name))
    assert trace.header.format == "ftrace"
    assert trace.header.cpus == cpus_of(name)
    assert trace.header.lost == []
    assert not any("switches were not" in sentence for sentence in trace.header.unobserved)
    for cpu in range(cpus_of(name)):
        assert (np.diff(trace.time[trace.cpu == cpu]) >= 0).all()
    count = {event: int((trace.event == event).sum()) for event in Event}
    assert count[Event.GUEST_ENTER] == count[Event.GUEST_EXIT] > 0
    assert count[Event.RUN_ENTER] == count[Event.RUN_EXIT] > 0
    assert count[Event.VCPU_LOAD] == count[Event.VCPU_PUT] > 0


@pytest.mark.parametrize("name", sample_names())
def test_loads_and_puts_match_the_kernel(name: str) -> None:
    """On each CPU the vCPUs are loaded and put as often as the kernel's functions that do it were called."""
    trace = read_trace(sample_path(name))
    for cpu in range(cpus_of(name)):
        events = trace.event[trace.cpu == cpu]
        assert (events == Event.VCPU_LOAD).sum() == (events == Truth.KVM_ARCH_VCPU_LOAD_FP).sum()
        assert (events == Event.VCPU_PUT).sum() == (events == Truth.KVM_ARCH_VCPU_PUT_FP).sum()


@pytest.mark.parametrize("name", sample_names())
def test_truths_are_the_lines(name: str) -> None:
    """Every line of what the kernel did is a row, and guests without FP have no use of it."""
    trace = read_trace(sample_path(name))
    text = text_of(name)
    for truth in set(Truth) - {Truth.GUEST_FP_TRAP}:
        lines = len(re.findall(rf": {truth.name.lower()}(?::| <-)", text))
        assert (trace.event == truth).sum() == lines
    traps = re.findall(r": guest_run: .* traps=(\d+)", text)
    assert (trace.event == Truth.GUEST_FP_TRAP).sum() == sum(map(int, traps))
    guest_fp = np.isin(trace.event, [Event.GUEST_FP, Event.GUEST_FP_MAYBE]).sum()
    if "guest_run" in trace.header.observed:
        assert guest_fp == len(re.findall(r": guest_run: fp=1", text))
    else:
        assert guest_fp == (trace.event == Truth.FPSIMD_BIND_STATE_TO_CPU).sum()


def test_kernel_threads_never_in_user_mode() -> None:
    """No row says that a kernel thread or an idle thread was in user mode."""
    for name in sample_names():
        trace = read_trace(sample_path(name))
        user = np.isin(trace.event, [Event.RET_TO_USER, *MAYBE, Event.USER_FP])
        kinds = trace.contexts.kind[trace.subject[user]]
        assert not np.isin(kinds, [Kind.KTHREAD, Kind.IDLE]).any()


def test_compressed_is_the_same(tmp_path: Path) -> None:
    """Plain, gzip and zstd files give the same trace."""
    text = text_of("hotplug.vhe").encode()
    plain, zstd = tmp_path / "t.txt", tmp_path / "t.txt.zst"
    plain.write_bytes(text)
    zstd.write_bytes(zstandard.ZstdCompressor().compress(text))
    expected = read_trace(sample_path("hotplug.vhe"))
    assert same(read_trace(plain), expected)
    assert same(read_trace(zstd), expected)


_LINE = re.compile(r" *(.+)-(\d+) +\[(\d+)\] \S+ +(\d+\.\d+): (\w+)(?:: | <-)(.*)")


def as_perf(text: str) -> str:
    """Return ftrace text as `perf script` prints such events."""
    lines = []
    for m in filter(None, map(_LINE.match, text.splitlines())):
        comm, tid, cpu, time, event, rest = m.groups()
        lines.append(
            f"{comm:>16} {tid:>5} [{cpu}] {time}: {'some' if event != 'function' else 'ftrace'}:{event}: {rest}\n"
        )
    return "".join(lines)


def without_flags(text: str) -> str:
    return re.sub(r"(\[\d+\]) \S+ ", r"\1 ", text)


def test_perf_script_is_the_same(tmp_path: Path) -> None:
    """The same events as `perf script` prints them mean the same, but for flags, which it does not print."""
    text = "\n".join(line for line in text_of("mmio-fp.vhe").splitlines() if "<-" not in line) + "\n"
    perf, ftrace = tmp_path / "perf.txt", tmp_path / "ftrace.txt"
    perf.write_text(as_perf(text))
    ftrace.write_text(without_flags("\n".join(line for line in text.splitlines() if line[0] != "#") + "\n"))
    one, two = read_trace(perf), read_trace(ftrace)
    assert one.header.format == "perf script"
    assert same(one, two)


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")
@pytest.mark.parametrize("name", ["contended.vhe", "mmio-int.vhe"])
def test_trace_dat_is_the_same(tmp_path: Path, name: str) -> None:
    """A trace.dat, and what trace-cmd reports of it, give the events of the same lines as text, preemption included."""
    dat, text, latency = tmp_path / "t.dat", tmp_path / "t.txt", tmp_path / "l.txt"
    text.write_text("\n".join(make_dat(text_of(name), dat)) + "\n")
    expected = read_trace(text)
    trace = read_trace(dat)
    assert trace.header.format == "trace.dat"
    assert same(trace, expected, lines=False)
    report = subprocess.run(["trace-cmd", "report", "-N", "-l", "-i", str(dat)], capture_output=True, check=True)
    latency.write_bytes(report.stdout)
    assert read_trace(latency).header.format == "trace-cmd report"
    assert same(read_trace(latency), expected, lines=False)


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")
def test_trace_cmd_report_forms(tmp_path: Path) -> None:
    """What `trace-cmd report` prints with its plugins, which shorten sched_switch, is read and its limits said."""
    dat, text = tmp_path / "t.dat", tmp_path / "r.txt"
    make_dat(text_of("contended.vhe"), dat)
    for options in ([], ["-t"]):
        report = subprocess.run(["trace-cmd", "report", *options, "-i", str(dat)], capture_output=True, check=True)
        text.write_bytes(report.stdout)
        trace = read_trace(text)
        assert trace.header.format == "trace-cmd report"
        assert any("without the +" in sentence for sentence in trace.header.unobserved)
        assert (trace.event == Event.THREAD_SWITCH).sum() == 417


def test_trace_dat_without_trace_cmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace.dat is read where trace-cmd is missing."""
    path = tmp_path / "t.dat"
    lines = make_dat(text_of("mmio-int.vhe"), path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_trace(path).header.lines == len(lines) + 1


def test_header_comments(tmp_path: Path) -> None:
    """Comment lines of our own say which kernel, mode and clock a recording is from."""
    path = tmp_path / "t.txt"
    line = "  a-7 [000] ..... 1.000000: sys_exit: NR 64 = 2\n"
    path.write_text(f"# fpstate: kernel=6.1.192\n# fpstate: mode=vhe\n# fpstate: clock=mono\n{line}")
    header = read_trace(path).header
    assert (header.kernel, header.mode, header.clock) == ("6.1.192", "vhe", "mono")


def test_ticks(tmp_path: Path) -> None:
    """Times in ticks of a counter are accepted, and the header says that they are no time."""
    path = tmp_path / "t.txt"
    path.write_text("  a-7 [000] ..... 123456789012: sys_enter: NR 64 (1)\n")
    trace = read_trace(path)
    assert trace.time.tolist() == [123456789012] * 3
    assert any("ticks" in sentence for sentence in trace.header.unobserved)


@pytest.mark.parametrize("name", sample_names())
def test_parquet_round_trip(tmp_path: Path, name: str) -> None:
    """Streaming import, writing and reading back all give the trace that `read_trace` gives."""
    expected = read_trace(sample_path(name))
    imported, written = tmp_path / "a.parquet", tmp_path / "b.parquet"
    assert import_parquet(sample_path(name), imported) == expected.header
    write_parquet(read_parquet(imported), written)
    for path in (imported, written):
        trace = read_trace(path)
        assert same(trace, expected)
        assert trace.header == expected.header
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_streaming_is_the_same() -> None:
    """The stream of columns holds the rows of the whole trace before kernel threads are told apart."""
    job, chunks = iter_events(sample_path("hvc-fp.vhe"))
    rows = joined(list(chunks))
    assert len(rows.time) >= len(read_trace(sample_path("hvc-fp.vhe")))
    assert job.header().format == "ftrace"


def test_progress() -> None:
    """Progress ends at the size of the file."""
    seen: list[tuple[int, int]] = []
    read_trace(sample_path("hvc-fp.vhe"), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (sample_path("hvc-fp.vhe").stat().st_size,) * 2


def test_describe() -> None:
    """The summary is JSON and counts every row once."""
    trace = read_trace(sample_path("hotplug.vhe"))
    summary = describe(trace)
    assert json.loads(json.dumps(summary)) == summary
    assert summary["schema"] == "fpstate.describe/1"
    assert sum(summary["events"].values()) + sum(summary["truths"].values()) == len(trace) == summary["rows"]
    assert sum(summary["kinds"].values()) == len(trace.contexts)
    assert summary["contexts"][0]["events"] >= summary["contexts"][-1]["events"]
    assert len(summary["contexts"]) == 20
    assert summary["events"]["cpu_down"] == 3


def test_unknown_sample() -> None:
    """A sample that does not exist is refused with the nearest name."""
    with pytest.raises(FpstateError, match=r"contended\.vhe"):
        sample_path("contented.vhe")


def test_import_never_writes_over_its_input_or_a_device(tmp_path: Path) -> None:
    """The recording itself, and what is no regular file, are refused as output."""
    text = tmp_path / "trace.gz"
    text.write_bytes(sample_path("mmio-int.vhe").read_bytes())
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target, said in ((text, "recording itself"), (pipe, "not a regular file")):
        with pytest.raises(FpstateError, match=said):
            import_parquet(text, target)
    with pytest.raises(FpstateError, match="pipe or socket"):
        read_trace(pipe)
