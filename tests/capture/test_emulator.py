"""The emulator's log read alone, and lined up with a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fpstate.errors import FpstateError
from fpstate.lab import capture
from fpstate.lab.emulator import CpuLog, Stay, Watched, Where, read_log
from fpstate.lab.lineup import StaleCodeError, lined_up

NAMES = ("tracing_mark_write", "sched_switch", "sys_enter", "sys_exit", "restore", "hw_free")
MARK, SWITCH, ENTER, EXIT, RESTORE = range(5)
TOP, CHECK = 6, 7
WATCHED = Watched(NAMES, frozenset({TOP}), frozenset({CHECK}), frozenset({SWITCH}), frozenset({SWITCH}), RESTORE)

TO_USER = "Exception return from AArch64 EL2 to AArch64 EL0 PC 0x402424"
TO_GUEST = "Exception return from AArch64 EL2 to AArch64 EL1 PC 0x30000040"
TO_GUEST32 = "Exception return from AArch64 EL2 to AArch32 EL1 PC 0x20000040"
TO_NVHE_HOST = "Exception return from AArch64 EL2 to AArch64 EL1 PC 0xffff800008010000"
TO_START = "Exception return from AArch64 EL2 to AArch64 EL1 PC 0x41200000"  # a CPU that comes up: no MMU yet


def taken(number: int, name: str, one: int, two: int, ec: int, cpu: int = 0) -> str:
    return (
        f"Taking exception {number} [{name}] on CPU {cpu}\n...from EL{one} to EL{two}\n"
        f"...with ESR {ec:#x}/{ec << 26:#x}\n...with ELR 0x402430\n...to EL{two} PC 0xffff800008012c00 PSTATE 0x3c9"
    )


SVC = taken(2, "SVC", 0, 2, 0x15)
IRQ = taken(5, "IRQ", 0, 2, 0x07)  # the ESR of an interrupt is that of some exception before
SVE = taken(1, "Undefined Instruction", 0, 2, 0x19)
GUEST_FP = taken(1, "Undefined Instruction", 1, 2, 0x07)
GUEST_HVC = taken(11, "Hypervisor Call", 1, 2, 0x16)
GUEST_IRQ = taken(5, "IRQ", 1, 2, 0x07)


def log_of(*lines: str) -> CpuLog:
    log = read_log(("\n".join([SVC, *lines]) + "\n").encode(), WATCHED)
    assert log is not None
    return log


def stays(*lines: str) -> list[tuple[int, Stay]]:
    return log_of(*lines).stays


def test_a_run_of_user_mode_and_what_it_used() -> None:
    """FP told between the return to EL0 and the next exception belongs to that run; told in the kernel it does not."""
    assert stays("@A 3", "@F", TO_USER, "@F", SVC, "@A 2", "@A 3", TO_USER, SVC) == [
        (1, Stay(Where.USER, fp=True)),
        (3, Stay(Where.USER)),
    ]


def test_runs_with_no_line_between_are_one() -> None:
    """A tick in user mode leaves nothing in the trace, so both halves are one run, with the use of either."""
    assert stays("@A 3", TO_USER, IRQ, TO_USER, "@F", IRQ, TO_USER, SVC) == [(1, Stay(Where.USER, fp=True))]


def test_an_sve_access_that_traps_has_not_used_anything() -> None:
    """It is told before it traps; after do_sve_acc it runs, and is told again."""
    assert stays(TO_USER, "@S", SVE, "@A 5", TO_USER, "@S", SVC) == [
        (0, Stay(Where.USER, traps=1)),
        (1, Stay(Where.USER, sve=True)),
    ]
    assert stays(TO_USER, "@F", "@S", SVE)[0] == (0, Stay(Where.USER, fp=True, traps=1))


def test_guest_runs_and_their_traps() -> None:
    """The hypervisor serves the trap and goes back: one run, one trap; the ESR of an interrupt counts for nothing."""
    lines = ("@A 5", TO_GUEST, "@F", GUEST_FP, TO_GUEST, "@F", GUEST_HVC, "@A 5", TO_GUEST, GUEST_IRQ, "@A 5")
    log = log_of(*lines)
    assert log.stays == [(1, Stay(Where.GUEST, fp=True, traps=1)), (2, Stay(Where.GUEST))]
    assert log.exceptions == {(True, 0x07): 1, (True, 0x16): 1}
    assert stays(TO_GUEST32, "@F", GUEST_HVC) == [(0, Stay(Where.GUEST, fp=True))]


def test_the_host_at_el1_is_no_guest() -> None:
    """Without VHE the hypervisor returns to the host's kernel at EL1 too, and a CPU starts at a physical address."""
    assert stays(TO_NVHE_HOST, "@A 5", TO_START) == []


def test_the_kernel_turns_back_on_its_way_to_user_mode() -> None:
    """Flags looked at, then a switch without user mode between: almost there. With user mode between: nothing."""
    almost = (1, Stay(Where.ALMOST_USER))
    assert stays("@A 3", "@A 6", "@A 7", "@A 1") == [almost]
    assert stays("@A 3", "@A 6", "@A 7", TO_USER, IRQ, "@A 1") == [(1, Stay(Where.USER))]


def test_flags_read_before_a_switch_say_nothing_after_it() -> None:
    """A pass that was interrupted by a switch acts on old flags; only a call of the restorer shows what they were."""
    assert stays("@A 6", "@A 1", "@A 7", "@A 1") == []
    assert stays("@A 6", "@A 1", "@A 7", "@A 4", "@A 1") == [(2, Stay(Where.ALMOST_USER))]


def test_a_thread_that_runs_no_cpu_has_no_log() -> None:
    """QEMU's other threads write logs as well."""
    assert read_log(b"@A 3\n", WATCHED) is None


HEAD = "# tracer: function\n"


def line(event: str, who: str = "a-7", cpu: int = 0, time: int = 0) -> str:
    return f"{who:>16} [{cpu:03}] ..... {1 + time / 10:.6f}: {event}"


def switch(one: str, two: str, time: int) -> str:
    (a, i), (b, j) = one.split("-"), two.split("-")
    return line(
        f"sched_switch: prev_comm={a} prev_pid={i} prev_prio=1 ==> next_comm={b} next_pid={j} next_prio=1", one, 0, time
    )


TRACE = [
    HEAD.strip(),
    line("sys_enter: NR 64 (1, 2)", time=0),
    line("tracing_mark_write: fpstate begins on CPU 0", time=1),
    line("sys_exit: NR 64 = 2", time=2),
    line("sys_enter: NR 24 ()", time=3),
    switch("a-7", "b c-8", time=4),
    line("hw_save: (fpsimd_save+0x70/0x140)", time=5),
    line("sys_exit: NR 1 = 2", "b c-8", time=6),
    line("sys_enter: NR 2 ()", "b c-8", time=7),
]
CALLED = [ENTER, EXIT, ENTER, MARK, EXIT, ENTER, SWITCH, EXIT, ENTER, EXIT]  # two before the trace, one after


def test_stays_get_their_lines() -> None:
    """Each stay stands after the lines written before it, for the thread that runs, at the last line's time."""
    log = CpuLog(0, CALLED, [(5, Stay(Where.USER, fp=True)), (7, Stay(Where.ALMOST_USER)), (8, Stay(Where.USER))])
    added = [text for text in lined_up(TRACE, [log], WATCHED) if text not in TRACE]
    assert [text.strip() for text in added] == [
        "a-7       [000] .....     1.200000: user_run: fp=1 sve=0 traps=0",
        "b c-8       [000] .....     1.500000: almost_user:",
        "b c-8       [000] .....     1.600000: user_run: fp=0 sve=0 traps=0",
    ]
    whole = lined_up(TRACE, [log], WATCHED)
    assert whole.index(added[1]) == whole.index(TRACE[6]) + 1, "a probe's line belongs to the call before it"


def test_an_interrupt_may_swap_two_lines() -> None:
    """A call may be overtaken by an interrupt before it writes; between two stays the order does not matter."""
    swapped = [*CALLED[:4], ENTER, EXIT, *CALLED[6:]]
    log = CpuLog(0, swapped, [(6, Stay(Where.USER)), (8, Stay(Where.USER))])
    assert sum("user_run" in text for text in lined_up(TRACE, [log], WATCHED)) == 2


def stays_lined_up(trace: list[str], *logs: CpuLog) -> list[tuple[str, str]]:
    """Return for each stay its text, and the line before it."""
    whole = lined_up(trace, list(logs), WATCHED)
    return [
        (" ".join(whole[i].split()[:2]) + whole[i].rpartition(": ")[2], whole[i - 1].split()[-1])
        for i in range(len(whole))
        if whole[i] not in trace
    ]


def marked(*lines: str) -> list[str]:
    return [HEAD.strip(), line("tracing_mark_write: it begins"), *lines]


def test_a_call_that_an_interrupt_overtakes_with_a_switch_writes_its_line_when_its_thread_runs_again() -> None:
    """What other threads do meanwhile stands at their own lines, and so does what the thread does afterwards."""
    trace = marked(
        line("sys_exit: NR 1 = a", time=1),
        switch("a-7", "b-8", time=2),
        line("sys_exit: NR 2 = b", "b-8", time=3),
        line("sys_enter: NR 3 = c", "b-8", time=4),
        switch("b-8", "a-7", time=5),
        line("sys_enter: NR 4 = d", time=6),
        line("sys_exit: NR 4 = e", time=7),
        line("sys_enter: NR 5 = f", time=8),
    )
    called = [MARK, EXIT, ENTER, SWITCH, EXIT, ENTER, SWITCH, EXIT, ENTER]
    user = [Stay(Where.USER, traps=n) for n in range(4)]
    log = CpuLog(0, called, [(2, user[0]), (5, user[1]), (8, user[2]), (9, user[3])])
    assert stays_lined_up(trace, log) == [
        ("a-7 [000]fp=0 sve=0 traps=0", "a"), ("b-8 [000]fp=0 sve=0 traps=1", "b"), ("a-7 [000]fp=0 sve=0 traps=2", "e")
    ]  # fmt: skip


def test_a_thread_may_write_what_it_owes_on_another_cpu() -> None:
    """It was moved while it was switched out."""
    trace = marked(
        switch("a-7", "b-8", time=1),
        line("tracing_mark_write: it begins", "c-9", 1, time=2),
        switch("c-9", "a-7", time=3).replace("[000]", "[001]"),
        line("sys_enter: NR 4 = d", "a-7", 1, time=4),
        line("sys_exit: NR 4 = e", "a-7", 1, time=5),
        line("sys_enter: NR 5 = f", "a-7", 1, time=6),
        line("sys_exit: NR 5 = g", "b-8", 0, time=7),
        line("sys_enter: NR 5 = h", "b-8", 0, time=8),
    )
    one = CpuLog(0, [MARK, ENTER, SWITCH, EXIT, ENTER], [(4, Stay(Where.USER, traps=1))])
    two = CpuLog(1, [MARK, SWITCH, EXIT, ENTER], [(3, Stay(Where.USER, traps=2))])
    assert stays_lined_up(trace, one, two) == [
        ("a-7 [001]fp=0 sve=0 traps=2", "e"), ("b-8 [000]fp=0 sve=0 traps=1", "g")
    ]  # fmt: skip


def test_a_thread_that_comes_to_load_its_registers_after_a_switch_may_turn_back() -> None:
    """It was almost in user mode then: at its next switch, or not if it was there before."""
    trace = marked(
        switch("a-7", "b-8", time=1),
        switch("b-8", "a-7", time=2),
        line("restore: <-x", time=3),
        line("sys_enter: NR 1 ()", time=4),
        switch("a-7", "b-8", time=5),
        line("sys_exit: NR 1 ()", "b-8", time=6),
    )
    called = [MARK, RESTORE, SWITCH, SWITCH, ENTER, SWITCH, EXIT, EXIT]
    log = CpuLog(0, called, [(2, Stay(Where.ALMOST_USER)), (4, Stay(Where.USER))])
    assert [text for text, _ in stays_lined_up(trace, log)] == ["a-7 [000]fp=0 sve=0 traps=0"]
    del trace[5], called[4]
    assert stays_lined_up(trace, CpuLog(0, called, [(2, Stay(Where.ALMOST_USER))])) == [
        ("a-7 [000]almost_user:", "<-x")
    ]


def test_the_mark_may_be_overtaken_itself() -> None:
    """It is the line of its thread that comes next."""
    trace = [
        HEAD.strip(),
        line("sys_exit: NR 1 = a", time=0),
        line("sys_enter: NR 3 = b", time=1),
        switch("a-7", "b-8", time=2),
        switch("b-8", "a-7", time=3),
        line("tracing_mark_write: it begins", time=4),
        *(line(f"sys_{way}: NR {i}", time=5 + i) for i, way in enumerate(("exit", "enter", "exit", "enter"))),
        switch("a-7", "b-8", time=10),
        line("sys_exit: NR 9 = c", "b-8", time=11),
    ]
    called = [SWITCH, ENTER, EXIT, ENTER, MARK, SWITCH, SWITCH, EXIT, ENTER, EXIT, ENTER, SWITCH, EXIT, ENTER]
    log = CpuLog(0, called, [(3, Stay(Where.USER, traps=1)), (8, Stay(Where.USER, traps=2))])
    assert stays_lined_up(trace, log) == [("a-7 [000]fp=0 sve=0 traps=1", "a"), ("a-7 [000]fp=0 sve=0 traps=2", "0")]


def test_a_thread_owes_one_line_at_most_and_none_while_it_is_in_user_mode() -> None:
    """More than that does not fit."""
    trace = marked(line("sys_exit: NR 1 = a", time=1), switch("a-7", "b-8", time=2), line("sys_exit: NR 2", time=3))
    for called, stays in (
        ([MARK, EXIT, ENTER, ENTER, SWITCH, EXIT], []),
        ([MARK, EXIT, ENTER, SWITCH, EXIT], [(3, Stay(Where.USER))]),
    ):
        with pytest.raises(FpstateError, match="does not fit the trace on CPU 0"):
            lined_up(trace, [CpuLog(0, called, stays)], WATCHED)


def test_a_thread_that_is_switched_out_before_it_loads_its_registers_was_not_almost_in_user_mode() -> None:
    """The call of what loads them is logged, and owes its line."""
    trace = marked(
        switch("a-7", "b-8", time=1),
        switch("b-8", "a-7", time=2),
        line("restore: <-x", time=3),
        line("sys_enter: NR 1 ()", time=4),
    )
    called = [MARK, RESTORE, SWITCH, SWITCH, ENTER]
    log = CpuLog(0, called, [(2, Stay(Where.ALMOST_USER)), (4, Stay(Where.USER))])
    assert stays_lined_up(trace, log) == [("a-7 [000]fp=0 sve=0 traps=0", "<-x")]
    log = CpuLog(0, [MARK, SWITCH, SWITCH, RESTORE, ENTER], [(1, Stay(Where.ALMOST_USER)), (4, Stay(Where.USER))])
    assert [text for text, _ in stays_lined_up(trace, log)] == ["a-7 [000]almost_user:", "a-7 [000]fp=0 sve=0 traps=0"]


@pytest.mark.parametrize(
    ("called", "match"),
    [
        ([ENTER, EXIT, ENTER, MARK, EXIT, SWITCH, SWITCH, EXIT, ENTER], "does not fit the trace on CPU 0.*NR 24"),
        ([ENTER, EXIT], "1 marks in the trace and 0 in the emulator's log"),
        ([MARK, ENTER, MARK, EXIT], "1 marks in the trace and 2"),
    ],
)
def test_what_does_not_fit_is_an_error(called: list[int], match: str) -> None:
    """A log of another run, or a lost line, must not be lined up silently."""
    log = CpuLog(0, called, [(5, Stay(Where.USER))])
    with pytest.raises(FpstateError, match=match):
        lined_up(TRACE, [log], WATCHED)


@pytest.mark.parametrize(
    ("functions", "wrong"),
    [
        ("load put load put load", False),
        ("load load", True),
        ("put load put load load", True),
        ("put", False),
        ("put load put", False),
        ("put put", True),
        ("load put put load", True),
    ],
)
def test_a_vcpu_loaded_or_put_twice_is_an_error(functions: str, wrong: bool) -> None:
    """It has happened: all switches went without the notifier that puts the vCPU."""
    names = (*NAMES, "kvm_arch_vcpu_load", "kvm_arch_vcpu_put")
    written = [f"kvm_arch_vcpu_{f} <-x" for f in functions.split()]
    trace = marked(*(line(text, time=1 + n) for n, text in enumerate(written)))
    called = [MARK, *(names.index(text.removesuffix(" <-x")) for text in written)]
    if wrong:
        with pytest.raises(
            StaleCodeError, match=r"no line of kvm_arch_vcpu_(put|load) between two.*CPU 0.*capture again"
        ):
            lined_up(trace, [CpuLog(0, called, [])], replace(WATCHED, names=names))
    else:
        assert lined_up(trace, [CpuLog(0, called, [])], replace(WATCHED, names=names)) == trace


def test_a_capture_of_stale_code_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice; the third time that is the error."""
    done: list[str] = []
    for good_after, runs in ((0, 1), (2, 3), (3, 3)):
        done.clear()

        def once(*_: object, good_after: int = good_after) -> Any:
            done.append("run")
            if len(done) <= good_after:
                raise StaleCodeError("stale")
            return "captured"

        monkeypatch.setattr(capture, "_capture", once)
        arguments: Any = (None, None, None, None)
        if good_after < capture.TIMES:
            result: Any = capture.capture(*arguments)
            assert result == "captured"
        else:
            with pytest.raises(StaleCodeError):
                capture.capture(*arguments)
        assert len(done) == runs


def test_a_recording_without_switches_is_an_error() -> None:
    """It has happened: the emulator ran code that the kernel had patched to record them."""
    watched = replace(WATCHED, names=(*NAMES, "fpsimd_thread_switch"))
    trace = marked(line("fpsimd_thread_switch <-__switch_to", time=1))
    with pytest.raises(FpstateError, match=r"no line of sched_switch.*capture again"):
        lined_up(trace, [CpuLog(0, [MARK, 6])], watched)


REAL = Path(__file__).parent.parent / "data" / "overtaken"
REAL_NAMES = {0: "tracing_mark_write", 1: "sched_switch", 2: "sched_migrate_task", 6: "sys_enter", 7: "sys_exit",
              15: "task_fpsimd_load", 16: "fpsimd_thread_switch", 17: "fpsimd_restore_current_state"}  # fmt: skip


def test_the_beginning_of_a_recording_of_6_12_with_preempt_rt() -> None:
    """Its mark was written 15 ms after its call: ktimers and ksoftirqd ran meanwhile."""
    names = tuple(REAL_NAMES.get(i, f"other{i}") for i in range(31))
    watched = Watched(
        names, frozenset({31}), frozenset({32, 33}), frozenset({1, 20, 12, 5}), frozenset({1, 13, 18}), 17
    )
    log = read_log((REAL / "log.txt").read_bytes(), watched)
    assert log is not None
    trace = (REAL / "trace.txt").read_text().splitlines()
    whole = lined_up(trace, [log], watched)
    added = [(whole[i - 1], text) for i, text in enumerate(whole) if text not in trace]
    assert [(before.split()[-1], text.split()[0], text.partition(": ")[2]) for before, text in added] == [
        ("<-fpsimd_restore_current_state", "init-1", "user_run: fp=0 sve=0 traps=0"),
        ("24", "init-1", "user_run: fp=0 sve=0 traps=0"),
        ("<-fpsimd_restore_current_state", "payload-169", "user_run: fp=0 sve=0 traps=0"),
        ("0", "payload-169", "user_run: fp=0 sve=0 traps=0"),
    ]
