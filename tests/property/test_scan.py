"""The scanner agrees with a plain parser on generated lines, whatever the size of chunks, compiled or not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.traces.importer import Import, joined
from fpstate.traces.lines import codes, scan
from fpstate.traces.lines.head import DASH
from fpstate.traces.lines.names import strings
from fpstate.traces.samples import sample_names, sample_path

Row = tuple[Any, ...]

_HEAD = re.compile(r" *(.*)-(\d+) +(?:\(.{7}\) )?\[(\d{3,})\] (?:(\S+) +)? *(\d+)\.(\d+): (\w+)(?:: (.*)| <-.*)")
_SWITCH = re.compile(
    r"prev_comm=.* prev_pid=(\d+) prev_prio=\d+ prev_state=(\S+) ==> next_comm=(.*) next_pid=(\d+) next_prio=\d+"
)


def reference(text: str) -> list[Row]:
    """Parse with `re`: (time, cpu, tid, comm, code, a, b, other)."""
    found = []
    for line in text.splitlines():
        m = _HEAD.fullmatch(line)
        assert m, line
        comm, tid, cpu, _, seconds, fraction, event, rest = m.groups()
        a, b, other = 0, 0, None
        if event == "sched_switch":
            s = _SWITCH.fullmatch(rest)
            assert s
            a, b, other = int(s[1]), int(s[4]), s[3]
        elif event == "sys_exit":
            a = int(rest.split()[1])
        code = codes.KNOWN.get(event, codes.IGNORED)
        if code:
            time = int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
            found.append((time, int(cpu), int(tid), comm, code, a, b, other))
    return found


def scanned(text: str, final: bool = True) -> list[Row]:
    """Scan and return rows like those of `reference`."""
    raw = np.frombuffer(bytearray(text.encode()), np.uint8)
    state, out = scan.new_scan_state(), scan.new_raw(200)
    at, n, status = scan.scan(raw, 0, len(raw), final, DASH, state, out)
    assert (at, status) == (len(raw), scan.DONE)
    names = [*strings(state.comms), None]
    lines = [scan.line_at(out, i) for i in range(n)]
    return [(x.time, x.cpu, x.tid, names[x.comm], x.code, x.a, x.b, names[x.other]) for x in lines]


comms = (
    st.text(st.sampled_from("ab-/:. <>()[]01_="), min_size=1, max_size=15)
    .map(str.strip)
    .filter(lambda comm: comm and not re.search(r"-\d+ .*\[\d+\]", comm))
)
tids = st.integers(0, codes.MAX_TID)
events = st.one_of(
    st.builds("sys_exit: NR {} = {}".format, st.integers(-1, 500), st.integers(-40, 10**12)),
    st.builds(
        (
            "sched_switch: prev_comm={} prev_pid={} prev_prio=120 prev_state={} ==> "
            "next_comm={} next_pid={} next_prio={}"
        ).format,
        comms.filter(lambda comm: "==>" not in comm),
        tids,
        st.sampled_from(["R", "R+", "S", "D", "S|K"]),
        comms.filter(lambda comm: "==>" not in comm),
        tids,
        st.integers(0, 139),
    ),
    st.sampled_from(["kvm_entry: PC: 0x1", "sched_wakeup: x", "fpsimd_thread_switch <-__switch_to", "hw_save: (x)"]),
)
heads = st.builds(
    lambda comm, tid, tgid, cpu, flags: f"{comm:>16}-{tid:<7} {tgid}[{cpu:03d}] {flags}",
    comms,
    tids,
    st.sampled_from(["", "(     12) ", "(-------) "]),
    st.integers(0, codes.MAX_CPU),
    st.sampled_from(["", "..... ", "dNs1. ", "d..2 "]),
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Return lines of ftrace with time not running backwards."""
    time = draw(st.integers(0, 10**15))
    text = ""
    for head, event, step in draw(st.lists(st.tuples(heads, events, st.integers(0, 10**9)), max_size=20)):
        time += step
        text += f"{head}{time // 10**6:5d}.{time % 10**6:06d}: {event}\n"
    return text


@settings(deadline=None)
@given(texts())
def test_same_as_a_plain_parser(text: str) -> None:
    """Scanner and `re` give the same rows for any comm, number, flags and order of events."""
    assert scanned(text) == reference(text)


@settings(deadline=None)
@given(texts(), st.integers(1, 6000))
def test_chunks_do_not_matter(text: str, cut: int) -> None:
    """A text cut anywhere and scanned in two calls gives the rows of one call."""
    raw = np.frombuffer(bytearray(text.encode()), np.uint8)
    state, out = scan.new_scan_state(), scan.new_raw(200)
    at, first, _ = scan.scan(raw, 0, min(cut, len(raw)), False, DASH, state, out)
    rest = scan.new_raw(200)
    at, second, status = scan.scan(raw, at, len(raw), True, DASH, state, rest)
    assert (at, status) == (len(raw), scan.DONE)
    assert np.concatenate([out.time[:first], rest.time[:second]]).tolist() == [row[0] for row in scanned(text)]
    assert np.concatenate([out.line[:first], rest.line[:second]]).tolist() == sorted(
        np.concatenate([out.line[:first], rest.line[:second]]).tolist()
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(1 << 16, 1 << 20), st.sampled_from(sample_names()))
def test_chunks_of_a_file_do_not_matter(chunk: int, name: str) -> None:
    """An import gives the same events for any size of chunks."""
    whole, parts = Import(sample_path(name)), Import(sample_path(name), chunk=chunk)
    one, two = joined(list(whole.chunks())), joined(list(parts.chunks()))
    for name in one._fields:
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert whole.header() == parts.header()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([0, 1, 2]))
def test_any_bytes(content: bytes, layout: int) -> None:
    """Any bytes end in a status and an offset inside the data."""
    raw = np.frombuffer(bytearray(content), np.uint8)
    at, n, status = scan.scan(raw, 0, len(raw), True, layout, scan.new_scan_state(), scan.new_raw(400))
    assert 0 <= at <= len(raw)
    assert 0 <= n <= 300
    assert status in range(9)


_DIGEST = """
import hashlib, sys
from pathlib import Path
from fpstate.traces.importer import Import, joined
job = Import(Path(sys.argv[1]), chunk=1 << 16)
digest = hashlib.sha256()
for column in joined(list(job.chunks())):
    digest.update(column.tobytes())
found, header = job.end()
print(digest.hexdigest(), found.contexts.name, found.place.tolist(), header)
"""


def test_compiled_is_interpreted(tmp_path: Path) -> None:
    """Compiled and interpreted code give the same events, contexts and header."""
    import gzip

    path = tmp_path / "part.txt"
    lines = gzip.decompress(sample_path("kneon.vhe").read_bytes()).splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1500]))
    outputs = set()
    for disabled in ("0", "1"):
        env = os.environ | {"NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-W", "error::RuntimeWarning", "-c", _DIGEST, str(path)]
        outputs.add(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1
