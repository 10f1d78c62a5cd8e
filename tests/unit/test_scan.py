"""The scanner reads each form of line to the same columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fpstate.traces.lines import codes, scan
from fpstate.traces.lines.head import DASH, LATENCY, PERF
from fpstate.traces.lines.names import add, grown, intern, new_names, strings


def rows(text: str, layout: int = DASH) -> list[dict[str, Any]]:
    """Scan a text and return its rows with names instead of numbers."""
    raw = np.frombuffer(bytearray(text.encode()), np.uint8)
    state, out = scan.new_scan_state(), scan.new_raw(100)
    at, n, status = scan.scan(raw, 0, len(raw), True, layout, state, out)
    assert (at, status) == (len(raw), scan.DONE)
    names = [*strings(state.comms), None]
    found: list[dict[str, Any]] = [scan.line_at(out, i)._asdict() for i in range(n)]
    for row in found:
        row["comm"], row["other"] = names[row["comm"]], names[row["other"]]
    return found


def row(text: str, layout: int = DASH) -> dict[str, Any]:
    """Scan one line that gives one row."""
    (found,) = rows(text, layout)
    return found


EXIT = "sys_exit: NR 64 = 2"


@pytest.mark.parametrize(
    ("line", "layout", "flags"),
    [
        (f"            init-1       [002] d....     5.932279: {EXIT}", DASH, codes.HAS_FLAGS),
        (f"            init-1       [002]     5.932279: {EXIT}", DASH, 0),
        (f"            init-1       (    1) [002] .....     5.932279: {EXIT}", DASH, codes.HAS_FLAGS),
        (f"            init-1       (-------) [002]     5.932279000: {EXIT}", DASH, 0),
        (f"init-1 [002] .N... 5.932279: {EXIT}", DASH, codes.HAS_FLAGS | codes.NEED_RESCHED),
        (f"            init-1     [002]     5.932279: {EXIT.replace(': ', ':             ')}", DASH, 0),
        (f"            init-1     [002] 5932279000: {EXIT}", DASH, 0),
        (f"    init-1       2d.s..     5.932279000: {EXIT}", LATENCY, codes.HAS_FLAGS | codes.INTERRUPT),
        (f"            init     1 [002]     5.932279: raw_syscalls:{EXIT}", PERF, 0),
        (f"            init    77/1     [002]     5.932279:       raw_syscalls:{EXIT}", PERF, 0),
        (f"init 1 [002] 5.932279000: {EXIT}\r", PERF, 0),
    ],
)
def test_forms_of_the_head(line: str, layout: int, flags: int) -> None:
    """Each recorder's head gives the same thread, CPU, time in nanoseconds and event."""
    found = row(line + "\n", layout)
    assert (found["comm"], found["tid"], found["cpu"]) == ("init", 1, 2)
    assert found["time"] == 5_932_279_000
    assert (found["code"], found["a"], found["flags"]) == (codes.SYS_EXIT, 64, flags)
    assert found["number"] == 1


@pytest.mark.parametrize(
    "comm",
    [
        "a b",
        "kworker/0:1-ev",
        "(sd-pam)",
        "x [001] y",
        "x-5 [001] y",
        "-",
        "[000]",
        "1.5: a",
        "<...>",
        "a-1",
        "d.... 1.5:",
        "日本",
    ],
)
@pytest.mark.parametrize("layout", [DASH, PERF])
def test_odd_comms(comm: str, layout: int) -> None:
    """A comm may look like any part of a line."""
    head = f"{comm}-42 [003] d.... " if layout == DASH else f"{comm} 42 [003] "
    found = row(f"   {head} 1.500000: {EXIT}\n", layout)
    assert (found["comm"], found["tid"], found["cpu"], found["time"]) == (comm, 42, 3, 1_500_000_000)
    assert bool(found["flags"] & codes.UNNAMED) == (comm == "<...>")


HEAD = "  init-1 [000] d.... 1.5: "


@pytest.mark.parametrize(
    ("flags", "bits"),
    [
        ("....", 0),
        ("dN..", codes.NEED_RESCHED),
        ("dn..", codes.NEED_RESCHED),
        ("dp..", codes.NEED_RESCHED),
        ("dB..", codes.NEED_RESCHED),
        ("d.s.", codes.INTERRUPT),
        ("d.H.", codes.INTERRUPT),
        ("d.h2.", codes.INTERRUPT),
        ("...s1..", codes.INTERRUPT),
        ("..L.1..", 0),
        ("dN.Z2..", codes.NEED_RESCHED | codes.INTERRUPT),
        ("..lb2..", 0),
    ],
)
def test_flags(flags: str, bits: int) -> None:
    """The second flag is need-resched; the kind of interrupt is the third, or the fourth of PREEMPT_RT kernels."""
    assert row(f"  init-1 [000] {flags} 1.5: {EXIT}\n")["flags"] == bits | codes.HAS_FLAGS


@pytest.mark.parametrize(
    "next_comm", ["b", "a b", " next_pid=5 ", " ==> x", "x [001] y", "next_comm=", "0123456789abcde"]
)
@pytest.mark.parametrize(("state", "runnable"), [("R", True), ("R+", False), ("S", False), ("D|K", False)])
def test_switch(next_comm: str, state: str, runnable: bool) -> None:
    """sched_switch gives both threads, the next comm, and whether the state is exactly R; in both printed forms."""
    long = (
        f"prev_comm=a =b prev_pid=7 prev_prio=120 prev_state={state} ==> next_comm={next_comm} next_pid=9 next_prio=0"
    )
    short = f"a =b:7 [120] {state} ==> {next_comm}:9 [0]"
    for text in (long, short):
        found = row(f"{HEAD}sched_switch: {text}\n")
        assert (found["code"], found["a"], found["b"], found["other"]) == (codes.SWITCH, 7, 9, next_comm)
        assert bool(found["flags"] & codes.RUNNABLE) == runnable


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("sys_enter: NR 29 (5, ae80, 0, 0, 48e9f0, 0)", {"code": codes.SYS_ENTER, "a": 29, "b": 1}),
        ("sys_enter: NR 29 (ae80, ae8, 0)", {"code": codes.SYS_ENTER, "b": 0}),
        ("sys_enter: NR 29 (5, 0xae80, 0)", {"b": 1}),
        ("sys_enter: NR 29 (5, ae801, 0)", {"b": 0}),
        ("sys_exit: NR -1 = -38", {"code": codes.SYS_EXIT, "a": -1}),
        (
            "sched_process_fork: comm=a pid=1 child_comm=b pid=3 child_pid=8",
            {"code": codes.FORK, "b": 8, "other": "b pid=3"},
        ),
        ("sched_process_exec: filename=/bin/a b pid=8 old_pid=7", {"code": codes.EXEC, "b": 7, "other": "a b"}),
        ("sched_process_exit: comm=a pid=8 prio=120", {"code": codes.EXIT}),
        ("kvm_entry: PC: 0x0000000040000078", {"code": codes.KVM_ENTRY}),
        ("kvm_entry: vcpu 0, rip 0xfff0", {"code": codes.KVM_ENTRY}),
        ("kvm_exit: IRQ: HSR_EC: 0x0000 (UNKNOWN), PC: 0x0", {"code": codes.KVM_EXIT}),
        ("kvm_userspace_exit: reason KVM_EXIT_MMIO (6)", {"code": codes.KVM_USERSPACE_EXIT}),
        (
            "cpuhp_enter: cpu: 0001 target:   0 step:  19 (fpsimd_cpu_dead)",
            {"code": codes.CPUHP, "a": 1, "b": codes.STEP_DEAD},
        ),
        ("cpuhp_enter: cpu: 0001 target: 236 step:  91 (bringup_cpu)", {"a": 1, "b": codes.STEP_BRINGUP}),
        ("signal_deliver: sig=14 errno=0 code=0 sa_handler=4020 sa_flags=0", {"code": codes.SIGNAL_DELIVER, "a": 1}),
        ("fpsimd_preserve_current_state <-arch_dup_task_struct", {"code": codes.PRESERVE, "a": codes.CALLER_FORK}),
        (
            "function: fpsimd_preserve_current_state <-- fpsimd_signal_preserve_current_state",
            {"a": codes.CALLER_SIGNAL},
        ),
        ("function:             fpsimd_restore_current_state <-- do_notify_resume", {"code": 67}),
        ("fpsimd_thread_switch [fp] <-__switch_to", {"code": codes.THREAD_SWITCH}),
        ("hw_save: (fpsimd_save+0x70/0x140)", {"code": 64}),
        ("probe:hw_save: (ffff800008)", {"code": 64}),
        ("kernel_neon_begin <-x", {"code": codes.NEON_BEGIN}),
    ],
)
def test_events(event: str, expected: dict[str, Any]) -> None:
    """Each event that matters gives its code and fields."""
    found = row(f"{HEAD}{event}\n")
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(
    "event",
    [
        "sched_migrate_task: comm=a pid=1",
        "cpuhp_enter: cpu: 0001 target:   0 step:  91 (finish_cpu)",
        "cpuhp_enter: cpu: 0001 target:   0 step:  91 (bringup_cpu)",
        "signal_deliver: sig=17 errno=0 code=1 sa_handler=0 sa_flags=0",
        "signal_deliver: sig=17 errno=0 code=1 sa_handler=1 sa_flags=0",
        "fpsimd_preserve_current_state <-other",
        "tracing_mark_write: sys_enter: NR 5",
        "",
    ],
)
def test_lines_without_meaning(event: str) -> None:
    """Other events, steps, default signal actions and callers give no row and no error."""
    assert rows(f"{HEAD}{event}\n") == []


def test_other_lines() -> None:
    """Comments, blank lines, stack traces and trace-cmd's header are passed over but counted as lines."""
    text = "cpus=2\nversion = 6\nCPU 1 is empty\n# x\n\n   \n => f\n=> <ffff>\n##### CPU 2 buffer started ####\n"
    assert row(f"{text}{HEAD}{EXIT}\n")["number"] == 10


def test_perf_stack_lines() -> None:
    """Stack frames of perf, which begin with a tab, are passed over; thread -1 is an unknown thread."""
    assert row(f":-1  -1 [000] 1.5: {EXIT}\n\t  ffff8000 f+0x1 ([kernel])\n\n", PERF)["tid"] == -1


def test_names_grow() -> None:
    """A table of names keeps its numbers when it grows."""
    names = new_names(16)
    for i in range(1000):
        if i > int(names.size[0]) * 2 or names.size[0] + 10 > len(names.entries):
            names = grown(names)
        assert add(names, f"name {i}") == i
    assert strings(names) == [f"name {i}" for i in range(1000)]
    assert add(names, "name 500") == 500


def test_long_name_is_cut() -> None:
    """A name of any length is kept up to a limit, so that memory is bounded."""
    names = new_names(16)
    raw = np.frombuffer(b"x" * 10_000, np.uint8)
    intern(names, raw, 0, len(raw))
    assert strings(names) == ["x" * 256]


def test_full_columns() -> None:
    """The scanner stops where the columns are full and goes on from there."""
    text = np.frombuffer(bytearray(f"{HEAD}{EXIT}\n".encode() * 5), np.uint8)
    state, out = scan.new_scan_state(), scan.new_raw(2)
    at, counts = 0, []
    while True:
        at, n, status = scan.scan(text, at, len(text), True, DASH, state, out)
        counts.append(n)
        if status == scan.DONE:
            break
        assert status == scan.FULL
    assert counts == [2, 2, 1]
    assert state.facts[scan.LINES] == 5
