"""A recording means the same in every form in which people hand it on."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from fpstate.traces.read import read_trace
from fpstate.traces.trace import Kind, Trace
from fpstate.world.events import Event
from tests.unit.make_dat import Form, make_dat
from tests.unit.test_read import as_perf, same, text_of

LINES = 700


@pytest.fixture(scope="module")
def text() -> str:
    """Return the first lines of a bundled recording, with its head."""
    return "\n".join(text_of("contended.vhe").splitlines()[:LINES]) + "\n"


@pytest.fixture(scope="module")
def expected(text: str, tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Return what the plain text means."""
    path = tmp_path_factory.mktemp("plain") / "t.txt"
    path.write_text(text)
    return read_trace(path)


def read(folder: Path, content: str | bytes) -> Trace:
    path = folder / "t.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_trace(path)


def prefixed(prefix: str) -> Callable[[str], str]:
    return lambda text: "".join(f"{prefix}{line}\n" for line in text.splitlines())


def as_page(text: str) -> str:
    """Return a page as systrace makes it: a viewer, a dump of processes, the trace."""
    return (
        "<!DOCTYPE html>\n<html>\n<script>\nvar a-1 [000] = 0.5: 2;\n</script>\n"
        '<script class="trace-data" type="application/text">\nUSER PID PPID\nroot 1 0\n</script>\n'
        f'<script class="trace-data" type="application/text">\n{text}</script>\n</html>\n'
    )


def as_old_page(text: str) -> str:
    """Return a page as systrace of 2012 made it: the trace is a string of the page's program."""
    lines = "".join(f"{line}\\n\\\n" for line in text.splitlines())
    return f'<!DOCTYPE HTML>\n<html>\n<script>\n  var linuxPerfData = "\\\n{lines}";\n</script>\n</html>\n'


FORMS: dict[str, Callable[[str], str | bytes]] = {
    "bom": lambda text: "\ufeff" + text,
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "bom and crlf": lambda text: "\ufeff" + text.replace("\n", "\r\n"),
    "quoted": prefixed("> "),
    "quoted twice": prefixed("> > "),
    "quoted tight": prefixed(">"),
    "four spaces": prefixed("    "),
    "journald": prefixed("Nov 27 13:32:22 host kernel: "),
    "journald, ISO": prefixed("2026-11-27T13:32:22.123456+0100 host kernel: "),
    "syslog with dmesg's time": prefixed("Nov  7 13:32:22 host kernel: [  123.456789] "),
    "dmesg": prefixed("[  123.456789] "),
    "dmesg with a caller": prefixed("[  123.456789][  T107] "),
    "dmesg with a level": prefixed("<6>[  123.456789] "),
    "tabs": lambda text: re.sub(r"(?m)^( *\S+-\d+) +(\[\d+\]) (\S+) +", r"\1\t\2\t\3\t", text),
    "fenced": lambda text: f"Look at this:\n\n```\n{text}```\n\nIt hangs. bash-1 [000] is mine.\n",
    "mail above": lambda text: f"From: me\nSubject: a hang\n\nHi,\nlook at this:\n\n{text}",
    "atrace": lambda text: f"capturing trace... done\nTRACE:\n{text}",
    "page": as_page,
    "old page": as_old_page,
    "gzip": lambda text: gzip.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "bz2": lambda text: bz2.compress(text.encode()),
    "lz4": lambda text: bytes(pa.compress(text.encode(), "lz4", asbytes=True)),
    "page in xz": lambda text: lzma.compress(as_page(text).encode()),
    "quoted in gzip": lambda text: gzip.compress(prefixed("> ")(text).encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_same_rows(form: str, text: str, expected: Trace, tmp_path: Path) -> None:
    """Rows, threads and what could not be seen are those of the plain text."""
    trace = read(tmp_path, FORMS[form](text))
    assert same(trace, expected, lines=False)
    shift = trace.line.astype(int) - expected.line.astype(int)
    assert len(set(shift[expected.line > 0].tolist())) == 1
    assert trace.header.holes == [] == expected.header.holes
    assert trace.header.observed == expected.header.observed
    assert trace.header.cpus == expected.header.cpus
    assert (trace.header.kernel, trace.header.arch) == (expected.header.kernel, "arm64")


def test_line_numbers_are_those_of_the_file(text: str, expected: Trace, tmp_path: Path) -> None:
    """In a page the lines keep their numbers."""
    page = as_page(text)
    trace = read(tmp_path, page)
    before = page.split("# tracer")[0].count("\n")
    assert trace.line.max() == expected.line.max() + before


def test_zip(text: str, expected: Trace, tmp_path: Path) -> None:
    """A zip with one file, perhaps in a folder, is that file."""
    with zipfile.ZipFile(tmp_path / "t.txt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("a")
        archive.writestr("a/trace.txt", text)
    assert same(read_trace(tmp_path / "t.txt"), expected)


def test_log_of_a_machine(text: str, expected: Trace, tmp_path: Path) -> None:
    """Other lines of a log are left out and counted, before, between and after those of the trace."""
    lines = text.splitlines()
    other = [
        "Nov 27 13:32:22 host sshd[12]: Accepted publickey for me",
        "Nov 27 13:32:22 host kernel: usb 1-1: new device",
    ]
    log = [f"Nov 27 13:32:22 host kernel: {line}" for line in lines]
    trace = read(tmp_path, "\n".join([*other, *log[:300], *other, *log[300:], *other]) + "\n")
    assert same(trace, expected, lines=False)
    assert "6 lines between those of the trace left out: not the tracer's." in trace.header.unobserved


def dumped(text: str, prefix: str = "") -> str:
    """Return the text as the kernel dumps its buffer on the console, times in microseconds."""
    lines = []
    for line in text.splitlines():
        if m := re.match(r" *(.+)-(\d+) +\[(\d+)\] (\S+) +(\d+)\.(\d{6}): (.*)", line):
            comm, tid, cpu, flags, seconds, micros, event = m.groups()
            lines.append(f"{comm[:8]:>8}-{tid:<7} {int(cpu):3d}{flags} {int(seconds + micros):4d}us : {event}")
    rule = "-" * 33
    whole = [
        "Kernel panic - not syncing: sysrq",
        "Dumping ftrace buffer:",
        rule,
        *lines,
        rule,
        "Rebooting in 5 seconds..",
    ]
    return "".join(f"{prefix}{line}\n" for line in whole)


@pytest.mark.parametrize("prefix", ["", "[  123.456789] ", "Nov 27 13:32:22 host kernel: [  123.456789] "])
def test_dump_on_the_console(prefix: str, text: str, expected: Trace, tmp_path: Path) -> None:
    """What ftrace_dump_on_oops prints is read; it cuts names, which sched_switch tells, and has no head."""
    trace = read(tmp_path, dumped(text, prefix))
    for column in ("time", "cpu", "event", "subject", "object"):
        assert getattr(trace, column).tolist() == getattr(expected, column).tolist(), column
    assert trace.contexts.kind.tolist() == expected.contexts.kind.tolist()
    assert trace.header.unobserved[0].startswith("5 lines between")


def test_marks_of_a_dump(tmp_path: Path) -> None:
    """A mark before the colon says that a delay was long."""
    trace = read(
        tmp_path,
        "  a-7       0..... 1000000us : sys_enter: NR 1 (0)\n  a-7       0..... 1000005us+: sys_enter: NR 2 (0)\n",
    )
    assert set(trace.time.tolist()) == {10**9, 10**9 + 5000}


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")
@pytest.mark.parametrize(
    "options", [["-R"], ["-R", "-l"], ["-N", "--ts-diff"], ["-N", "-t"], ["-N", "-l", "--ts-diff"]]
)
@pytest.mark.parametrize("name", ["contended.vhe", "mmio-int.vhe"])
def test_reports(name: str, options: list[str], tmp_path: Path) -> None:
    """Raw fields, and times since the event before, change nothing."""
    dat = tmp_path / "t.dat"
    make_dat(text_of(name), dat)
    flags = ["-N", "-l"] if "-l" in options else ["-N"]

    def report(options: list[str]) -> Trace:
        done = subprocess.run(["trace-cmd", "report", *options, "-i", str(dat)], capture_output=True, check=True)
        return read(tmp_path, done.stdout)

    one, two = report(options), report(flags)
    assert same(one, two)
    assert len(two) > 1000


@pytest.mark.skipif(shutil.which("trace-cmd") is None, reason="trace-cmd is not installed")
@pytest.mark.parametrize("options", [["-N"], ["-N", "-l"]])
def test_report_of_several_buffers(options: list[str], tmp_path: Path) -> None:
    """The name of a buffer before each of its lines is not part of a thread's name."""
    one, two = tmp_path / "one.dat", tmp_path / "two.dat"
    make_dat(text_of("mmio-int.vhe"), one)
    make_dat(text_of("mmio-int.vhe"), two, Form(buffer_of=lambda line: "fp" if "<-" in line else ""))
    first, second = (
        read(tmp_path, subprocess.run(["trace-cmd", "report", *options, path], capture_output=True, check=True).stdout)
        for path in (one, two)
    )
    assert same(first, second)
    assert set(second.contexts.name) >= {"rcu_sched", "vmm"}


def test_periods(tmp_path: Path) -> None:
    """A period before the event's name is passed over."""
    text = "\n".join(line for line in text_of("mmio-fp.vhe").splitlines()[:900] if "<-" not in line) + "\n"
    plain = as_perf(text)
    periods = re.sub(r"(?m)^(.*?\[\d+\] +[\d.]+:)", r"\1          1", plain)
    assert periods != plain
    assert same(read(tmp_path, periods), read(tmp_path, plain))


def test_addresses_behind_the_fields(tmp_path: Path) -> None:
    """What `-F ip,sym,dso` adds behind the fields is passed over."""
    text = "\n".join(line for line in text_of("mmio-fp.vhe").splitlines()[:900] if "<-" not in line) + "\n"
    plain = as_perf(text)
    more = plain.replace("\n", " ffff800008a5b1f0 __schedule+0x2f0 ([kernel.kallsyms])\n")
    assert same(read(tmp_path, more), read(tmp_path, plain))


_SYSCALL = re.compile(r"sys_(enter|exit): NR (-?\d+) (?:\((\w+), (\w+), (\w+).*\)|= (.*))")
_NAMES = {"29": "ioctl", "139": "rt_sigreturn", "117": "ptrace", "167": "prctl"}
_KEYS = {"ioctl": ("fd", "cmd", "arg"), "ptrace": ("request", "pid", "addr"), "prctl": ("option", "arg2", "arg3")}


def by_name(form: str) -> Callable[[re.Match[str]], str]:
    """Return how an event of `syscalls:` is printed: by the kernel, or by perf and trace-cmd."""

    def printed(m: re.Match[str]) -> str:
        kind, nr, a, b, c, result = m.groups()
        call = _NAMES.get(nr, f"call{nr}")
        if kind == "exit":
            return f"sys_{call} -> 0x{int(result) & (1 << 64) - 1:x}" if form == "kernel" else f"sys_exit_{call}: 0x0"
        keys = _KEYS.get(call, ("a", "b", "c"))
        if form == "kernel":
            return f"sys_{call}({', '.join(f'{k}: {v}' for k, v in zip(keys, (a, b, c), strict=True))})"
        if form == "raw":
            return f"sys_enter_{call}: __syscall_nr={nr} " + " ".join(
                f"{k}={int(v, 16)}" for k, v in zip(keys, (a, b, c), strict=True)
            )
        return f"sys_enter_{call}: " + ", ".join(f"{k}: 0x{v:>08}" for k, v in zip(keys, (a, b, c), strict=True))

    return printed


@pytest.mark.parametrize("form", ["kernel", "tools", "raw"])
@pytest.mark.parametrize("name", ["contended.vhe", "mmio-int.vhe"])
def test_system_calls_by_name(name: str, form: str, tmp_path: Path) -> None:
    """Events of `syscalls:` mean what those of `raw_syscalls:` do."""
    text = text_of(name)
    named = _SYSCALL.sub(by_name(form), text)
    assert "NR" not in named
    one, two = read(tmp_path, named), read(tmp_path, text)
    assert same(one, two)
    assert (two.event == Event.SYSCALL).sum() > 20
    assert not any(name.startswith("sys_") for name in one.header.ignored)


@pytest.mark.parametrize("both", [False, True])
def test_system_calls_by_name_in_a_trace_dat(both: bool, tmp_path: Path) -> None:
    """A trace.dat of the same events is read alike; also where those with numbers are in it too."""
    text = text_of("signals.vhe")

    def printed(m: re.Match[str]) -> str:
        line = re.sub(r"(sys_(?:enter|exit)_)call-?\d+", r"\1other", by_name("tools")(m))
        return re.sub("exit_(ptrace|rt_sigreturn|prctl)", "exit_other", line)

    named = _SYSCALL.sub(printed, text)
    if both:
        named = re.sub(
            r"(?m)^(.*: )(sys_(?:enter|exit): NR .*)$", lambda m: f"{m[1]}{_SYSCALL.sub(printed, m[2])}\n{m[0]}", text
        )
    kept = make_dat(named, tmp_path / "t.dat")
    plain = make_dat(text, tmp_path / "plain.dat")
    assert len(kept) > len(plain) if both else len(kept) == len(plain)
    one, two = read_trace(tmp_path / "t.dat"), read_trace(tmp_path / "plain.dat")
    assert same(one, two, lines=not both)
    assert (two.event == Event.SIGRETURN).sum() > 0
    assert (two.event == Event.RUN_ENTER).sum() > 0
    assert ("sys_enter_ioctl" in one.header.observed) == (not both)


@pytest.mark.parametrize(
    ("option", "length", "changes"),
    [(0x32, 0x20, 1), (0x32, 0x20020, 1), (0x32, 0x40020, 0), (0x33, 0x20, 0), (0x32, 0xFFFFFFFFFFFFFFFF, 0)],
)
def test_prctl_by_name(option: int, length: int, changes: int, tmp_path: Path) -> None:
    """Of `syscalls:`, in text and in a trace.dat, it asks for a vector length as with its number."""
    head = "             a-7       [000] .....     1.00000{}: {}\n"
    calls = [f"sys_enter: NR 167 ({option:x}, {length:x}, 0, 0, 0, 0)", "sys_exit: NR 167 = 32"] * 2
    text = "".join(head.format(i, call) for i, call in enumerate(calls))
    texts = [text, *(_SYSCALL.sub(by_name(form), text) for form in ("kernel", "tools", "raw"))]
    traces = [read(tmp_path, each) for each in texts]
    for number, each in enumerate((text, texts[2].replace("exit_prctl", "exit_other"))):
        make_dat(each, tmp_path / f"{number}.dat")
        traces.append(read_trace(tmp_path / f"{number}.dat"))
    assert [int((trace.event == Event.VL_CHANGE).sum()) for trace in traces] == [changes] * len(traces)


def test_ptrace_and_sigreturn_by_name(tmp_path: Path) -> None:
    """They are known by their names."""
    head = "  a-7 [000] ..... 1.00000{}: {}\n"
    events = ["sys_ptrace(request: 4205, pid: 8, addr: 2, data: 0)", "sys_ptrace -> 0x0", "sys_rt_sigreturn()"]
    trace = read(tmp_path, "".join(head.format(i, event) for i, event in enumerate(events)))
    assert (trace.event == Event.PTRACE_WRITE).sum() == 1
    assert (trace.event == Event.SIGRETURN).sum() == 1


def test_system_calls_in_both_forms(tmp_path: Path) -> None:
    """Where both are recorded, those with numbers count."""
    both = re.sub(
        r"(?m)^(.*: )(sys_(?:enter|exit): NR .*)$",
        lambda m: f"{m[0]}\n{m[1]}{_SYSCALL.sub(by_name('kernel'), m[2])}",
        text_of("mmio-int.vhe"),
    )
    one, two = read(tmp_path, both), read(tmp_path, text_of("mmio-int.vhe"))
    assert same(one, two, lines=False)
    assert any(name.startswith("sys_call") for name in one.header.ignored)


def test_prints_of_several_lines(text: str, expected: Trace, tmp_path: Path) -> None:
    """Lines that go on with a print are passed over and counted."""
    lines = text.splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if i > 200 and not line.startswith("#"))
    head = re.sub(r": .*\n", ": tracing_mark_write: one\n", lines[at], count=1)
    told = "".join([*lines[: at + 1], head, "two\n", "  three [4]: 5\n", *lines[at + 1 :]])
    trace = read(tmp_path, told)
    assert same(trace, expected, lines=False)
    assert "2 lines go on with the text of the event before: passed over." in trace.header.unobserved


def test_end_of_old_systrace_files(text: str, expected: Trace, tmp_path: Path) -> None:
    """They end with an event at no time."""
    trace = read(tmp_path, text + "    dummy-0000  [000] 0.0: 0: trace_event_clock_sync: parent_ts=0.0\\n\n")
    assert same(trace, expected)


PERF_DATA = pytest.mark.skipif(shutil.which("perf") is None, reason="perf is not installed")


@PERF_DATA
def test_perf_data(tmp_path: Path) -> None:
    """A perf.data is what perf prints of it."""
    from fpstate.traces.lines.perf import OPTIONS

    path = Path(__file__).parent.parent / "data/traces/x86.perf.data"
    done = subprocess.run(["perf", "script", *OPTIONS, "-f", "-i", str(path)], capture_output=True, check=True)
    one, two = read_trace(path), read(tmp_path, done.stdout)
    assert same(one, two)
    assert one.header.arch == "x86_64"
    assert one.header.kernel.startswith("6.")
    assert (one.event == Event.THREAD_SWITCH).sum() > 5
    assert (one.event == Event.SYSCALL).sum() > 5


IDLE_WAIT = """# tracer: nop
 odd/thing-9 [000] d..2. 1.000000: sched_switch: prev_comm=odd/thing prev_pid=9 prev_prio=120 prev_state=I ==> {next}
 app-100 [000] d..2. 1.000100: sched_switch: prev_comm=app prev_pid=100 prev_prio=120 prev_state=S ==> {back}
"""


def test_kernel_threads_by_how_they_wait(tmp_path: Path) -> None:
    """A thread that waits in state I is a kernel thread, whatever its name; in text, raw fields and a trace.dat."""
    text = IDLE_WAIT.format(
        next="next_comm=app next_pid=100 next_prio=120", back="next_comm=odd/thing next_pid=9 next_prio=120"
    )
    raw = text.replace("prev_state=I ==>", "prev_state=128").replace("prev_state=S ==>", "prev_state=1")
    make_dat(text, tmp_path / "t.dat")
    for trace in (read(tmp_path, text), read(tmp_path, raw), read_trace(tmp_path / "t.dat")):
        kinds = dict(zip(trace.contexts.name, trace.contexts.kind.tolist(), strict=True))
        assert (kinds["odd/thing"], kinds["app"]) == (Kind.KTHREAD, Kind.USER)
    asked = text.replace("=I", "=S")
    trace = read(tmp_path, asked)
    assert dict(zip(trace.contexts.name, trace.contexts.kind.tolist(), strict=True))["odd/thing"] == Kind.USER


@pytest.mark.parametrize(
    "name", ["sugov:0", "mmcqd/0", "usb-storage", "kschedfreq:0", "kinteractiveup", "smem_native_rpm", "dhd_dpc"]
)
def test_kernel_threads_by_name(name: str, tmp_path: Path) -> None:
    """Names of kernel threads of phones are known."""
    line = f" {name}-9 [000] 1.000000: sched_switch: prev_comm={name} prev_pid=9 prev_prio=120 prev_state=S ==> "
    trace = read(tmp_path, f"{line}next_comm=app next_pid=100 next_prio=120\n")
    assert dict(zip(trace.contexts.name, trace.contexts.kind.tolist(), strict=True))[name] == Kind.KTHREAD
