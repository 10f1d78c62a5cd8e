"""Holes: what each kind is filled with, how it is counted and said, and that nobody is blamed for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fpstate.errors import FpstateError
from fpstate.policies.catalogue import find_policy
from fpstate.replay.engine import features_in, replay, with_sve
from fpstate.replay.validate import validate
from fpstate.rows.learn import Rows
from fpstate.traces.describe import describe
from fpstate.traces.holes import HOLES, sentences
from fpstate.traces.parquet import import_parquet, read_parquet
from fpstate.traces.samples import sample_path
from fpstate.traces.trace import Kind, Trace
from fpstate.world.events import Event
from tests.damage import DATA, blamed
from tests.unit.test_meaning import (
    BIND,
    ENTER,
    ENTRY,
    EXIT,
    FORKING,
    LEFT,
    RUN,
    RUN_DONE,
    SYNC,
    TO_USER_SPACE,
    Story,
)

SEEN = "# tracer: function\n# fpstate: observed=user guest\n"
USED = "user_run: fp=1 sve=0 traps=0"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def filled_in(trace: Trace) -> list[str]:
    """Return the events that fill holes."""
    return [Event(e).name for e in trace.event[trace.line == 0].tolist()]


def kinds(trace: Trace) -> dict[str, tuple[int, int]]:
    """Return how often each kind of hole is there, and the first line."""
    return {hole["kind"]: (hole["times"], hole["line"]) for hole in trace.header.holes}


@pytest.mark.parametrize(("name", "line"), [("hole", 4), ("lost", 4), ("switch-missing-one-cpu", 3)])
def test_a_missing_switch(name: str, line: int) -> None:
    """It is filled in, counted with its line, and blames nobody."""
    trace = read(name)
    assert kinds(trace) == {"switch": (1, line)}
    assert filled_in(trace) == ["THREAD_SWITCH"]
    assert blamed(trace) == []


def read(name: str) -> Trace:
    """Return one of the small recordings."""
    from fpstate.traces.read import read_trace

    return read_trace(DATA / f"{name}.txt")


def test_the_first_line_of_a_cpu_is_of_a_task_last_seen_elsewhere() -> None:
    """Perf opens its events CPU by CPU, and moves itself along: the idle thread gave way to it."""
    trace = read("moved-between-cpus")
    assert kinds(trace) == {"switch": (1, 5)}
    row = int((trace.line == 0).argmax())
    assert (trace.contexts.label(trace.subject[row]), trace.contexts.label(trace.object[row])) == (
        "swapper/1-0", "perf-100",
    )  # fmt: skip
    assert blamed(trace) == []


def test_a_thread_goes_on_elsewhere(story: Story) -> None:
    """A task in user mode on one CPU, then on another: it was interrupted and switched out in between."""
    story.say("a-7", ENTER)
    story.say("a-7", EXIT)
    story.say("a-7", ENTER)
    story.say("a-7", ENTER, cpu=1)
    trace = story.trace()
    assert kinds(trace) == {"moved": (1, 4), "switch": (1, 4)}
    assert filled_in(trace) == ["THREAD_SWITCH"] * 2
    assert blamed(trace) == []


def test_the_end_of_a_guest_run_is_missing(story: Story) -> None:
    """A task seen in user mode while its guest ran: exit, put and the end of KVM_RUN came before."""
    story.text = SEEN
    for event in (RUN, ENTRY, USED):
        story.say("vmm-7", event)
    trace = story.trace()
    assert kinds(trace) == {"guest": (1, 5)}
    assert filled_in(trace)[-3:] == ["GUEST_EXIT", "VCPU_PUT", "RUN_EXIT"]


def test_a_return_is_missing(story: Story) -> None:
    """Where an emulator saw every return, two system calls in a row lack one."""
    story.text = SEEN
    for event in (USED, ENTER, ENTER):
        story.say("a-7", event)
    trace = story.trace()
    assert kinds(trace) == {"return": (1, 5)}
    assert filled_in(trace) == ["RET_TO_USER"]


def test_a_system_call_is_missing(story: Story) -> None:
    """A fork from user mode: only a system call can do that."""
    story.text = SEEN
    for event in (USED, FORKING):
        story.say("a-7", event)
    trace = story.trace()
    assert kinds(trace) == {"syscall": (1, 4)}
    assert filled_in(trace) == ["SYSCALL"]


@pytest.mark.parametrize(
    ("lines", "inserted"),
    [
        ([("kernel_neon_begin <-x", "....."), (ENTER, ".....")], ["KERNEL_NEON_END"]),
        ([("kernel_neon_end <-x", ".....")], ["KERNEL_NEON_BEGIN"]),
        ([("kernel_neon_begin <-x", "..s.."), (ENTER, ".....")], ["SOFTIRQ_NEON_END"]),
        ([("kernel_neon_end <-x", "..s..")], ["SOFTIRQ_NEON_BEGIN"]),
    ],
)
def test_one_end_of_a_use_in_the_kernel_is_missing(
    story: Story, lines: list[tuple[str, str]], inserted: list[str]
) -> None:
    """The other is filled in where it must have been at the latest."""
    story.say("a-7", ENTER)
    for event, flags in lines:
        story.say("a-7", event, flags=flags)
    trace = story.trace()
    assert set(kinds(trace)) == {"neon"}
    assert filled_in(trace) == inserted
    assert blamed(trace) == []


def test_kernel_fp_of_an_idle_thread_is_a_softirqs(story: Story) -> None:
    """Idle threads use no FP of their own; without a flags column this is how a softirq's looks."""
    story.say("<idle>-0", "kernel_neon_begin <-x")
    story.say("<idle>-0", "kernel_neon_end <-x")
    trace = story.trace()
    assert [Event(e).name for e in trace.event.tolist()] == ["SOFTIRQ_NEON_BEGIN", "SOFTIRQ_NEON_END"]
    assert trace.header.holes == []


def test_a_cpu_goes_on_while_it_is_down(story: Story) -> None:
    """It came up before; and a CPU that is not idle as it goes down has switched to its idle thread."""
    story.say("a-7", ENTER, cpu=1)
    story.say("k-8", "cpuhp_enter: cpu: 0001 target: 0 step: 19 (fpsimd_cpu_dead)")
    story.say("a-7", ENTER, cpu=1)
    trace = story.trace()
    assert kinds(trace) == {"hotplug": (2, 2), "switch": (1, 3)}
    assert filled_in(trace) == ["THREAD_SWITCH", "CPU_UP", "THREAD_SWITCH"]
    assert blamed(trace) == []


def test_what_cannot_be_is_left_out(story: Story) -> None:
    """A system call of the idle thread; a switch from a thread to itself."""
    story.say("<idle>-0", ENTER)
    story.switch("a-7", "a-7", cpu=1)
    trace = story.trace()
    assert kinds(trace) == {"left_out": (4, 1)}
    assert not {Event.SYSCALL, Event.THREAD_SWITCH} & set(trace.event.tolist())


def test_nothing_is_missing_before_a_threads_first_event(story: Story) -> None:
    """A thread met in the midst of something was in it as the trace began: that is no hole."""
    story.text = SEEN
    story.say("a-7", ENTER)
    story.say("vmm-8", ENTRY, cpu=1)
    story.say("b-9", "kernel_neon_end <-x", cpu=2)
    assert story.trace().header.holes == []


def test_holes_are_said(tmp_path: Path) -> None:
    """Describe counts them by kind with the first line; each kind has a sentence; Parquet keeps them."""
    trace = read("hole")
    assert describe(trace)["holes"] == [{"kind": "switch", "times": 1, "line": 4}]
    (said,) = sentences(trace.header.holes)
    assert said.startswith("Hole (switch): a CPU goes on with another thread")
    assert said.endswith("once, at line 4.")
    (said,) = sentences([{"kind": "neon", "times": 1234, "line": 5}])
    assert said.endswith("1,234 times, first at line 5.")
    assert len(sentences([{"kind": kind, "times": 2, "line": 1} for kind in HOLES])) == len(HOLES)
    import_parquet(DATA / "hole.txt", tmp_path / "hole.parquet")
    assert read_parquet(tmp_path / "hole.parquet").header.holes == trace.header.holes


def test_parquet_of_an_older_form_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file from before traces were paths names its form; importing again mends it."""
    path = tmp_path / "old.parquet"
    with monkeypatch.context() as then:
        then.setattr("fpstate.traces.parquet.SCHEMA_NAME", "fpstate.trace/1")
        import_parquet(DATA / "hole.txt", path)
    with pytest.raises(FpstateError, match=r"form fpstate\.trace/1; expected fpstate\.trace/2; import the recording"):
        read_parquet(path)


def test_a_faulty_policy_is_still_caught(story: Story) -> None:
    """A softirq's NEON between guest runs, and a line lost: the patch as posted corrupts, and Linux does not."""
    story.say("vmm-7", RUN)
    for event in (ENTRY, SYNC, BIND, LEFT):
        story.say("vmm-7", event)
    for event in ("kernel_neon_begin <-x", "kernel_neon_end <-x"):
        story.say("vmm-7", event, flags="..s..")
    for event in (ENTRY, SYNC, BIND, LEFT, TO_USER_SPACE, RUN_DONE):
        story.say("vmm-7", event)
    story.say("b-8", ENTER)
    trace = story.trace()
    assert kinds(trace) == {"switch": (1, 14)}
    assert replay(trace, Rows(find_policy("defer-to-put")), maybe=True).wrong > 0
    assert blamed(trace) == []


# Tasks that make no system call.


def test_tasks_that_make_no_system_call_are_told_by_name() -> None:
    """They may run in user mode at each switch to them; how many were told so is said."""
    trace = read("tasks-without-system-calls")
    assert {trace.contexts.label(i) for i in range(len(trace.contexts)) if trace.contexts.kind[i] == Kind.USER} == {
        "bash-90", "fploop-100", "fploop-101",
    }  # fmt: skip
    assert (trace.event == Event.RET_TO_USER_MAYBE).sum() == 3
    assert any(s.startswith("2 tasks make no system call in the trace") for s in trace.header.unobserved)
    rows = Rows(find_policy("linux-6.14"))
    low, high = (int(replay(trace, rows, maybe=maybe).counts[:3].sum()) for maybe in (False, True))
    assert low < high


def test_a_thread_first_seen_to_leave_a_system_call(story: Story) -> None:
    """It was in the kernel all the time before, so it did not run in user mode; one that enters one first may have."""
    for who, event in (("a-7", EXIT), ("c-9", ENTER)):
        story.switch("swapper/0-0", who)
        story.say(who, event)
        story.switch(who, "swapper/0-0")
    told = story.told()
    assert "user? a-7" not in told
    assert told.count("user? c-9") == told.count("fp? c-9") - 1 == 1
    assert all(row >= -1 for row in story.trace().object.tolist())


@pytest.mark.parametrize("name", ["flags-rt", "flags-not-rt"])
def test_flags_of_preempt_rt_kernels(name: str) -> None:
    """A softirq's use of FP is told from the task's by the letters of the flags, however many columns there are."""
    trace = read(name)
    used = [Event(e).name for e in trace.event.tolist() if "NEON" in Event(e).name]
    assert used == ["SOFTIRQ_NEON_BEGIN", "SOFTIRQ_NEON_END", "KERNEL_NEON_BEGIN", "KERNEL_NEON_END"]
    assert trace.header.holes == []


# What validate makes of what the kernel was seen to do.

RESTORE = "fpsimd_restore_current_state <-do_notify_resume"
RELOADED = "task_fpsimd_load <-fpsimd_restore_current_state"
TRAP = "do_sve_acc <-el0_sve_acc"


def test_a_reload_shows_a_return_that_was_begun(story: Story) -> None:
    """KVM_RUN ended, the registers were reloaded, and the thread was switched out before user mode."""
    for event in (RUN, ENTRY, LEFT, TO_USER_SPACE):
        story.say("vmm-7", event)
    story.say("vmm-7", RUN_DONE, flags=".N...")
    story.say("vmm-7", RESTORE)
    story.say("vmm-7", RELOADED)
    story.switch("vmm-7", "b-8", state="R")
    assert story.of("vmm-7")[-5:] == [
        "fpsimd_restore_current_state vmm-7", "task_fpsimd_load vmm-7", "user vmm-7", "interrupt vmm-7",
        "switch vmm-7 b-8",
    ]  # fmt: skip


@pytest.mark.parametrize("seen", ["", SEEN])
def test_an_sve_trap_belongs_to_the_stay_before_the_switch(story: Story, seen: str) -> None:
    """Switched out between the trap and its handler: where every return was seen, it is a trap without a use."""
    story.text = seen
    story.say("a-7", EXIT)
    if seen:
        story.say("a-7", USED)
    story.switch("a-7", "b-8", state="R", after=5000)
    story.switch("b-8", "a-7", after=5000)
    story.say("a-7", TRAP)
    trace = story.trace()
    told = [what for what in story.told() if what.split()[-1] == "a-7"]
    assert told[-2:] == (["SVE_TRAP a-7", "do_sve_acc a-7"] if seen else ["USER_SVE a-7", "do_sve_acc a-7"]), told
    assert ("user a-7" in told[told.index("switch b-8 a-7") :]) == (not seen)
    assert trace.header.holes == []
    assert blamed(trace) == []


@pytest.mark.parametrize("switched", [False, True])
def test_registers_given_up_in_the_sve_trap_itself(story: Story, switched: bool) -> None:
    """Until v5.12 do_sve_acc saves and flushes in any case: it is a trap of its own only where it was switched out."""
    story.text = SEEN
    story.say("a-7", EXIT)
    story.say("a-7", USED)
    story.say("a-7", TRAP)
    if switched:
        story.switch("a-7", "b-8", state="R+")
        story.switch("b-8", "a-7")
    story.say("a-7", "fpsimd_flush_task_state <-do_sve_acc")
    told = [what for what in story.told() if what.split()[-1] == "a-7"]
    event = "SVE_TRAP" if switched else "USER_SVE"
    trap, switch = told.index(f"{event} a-7"), told.index("switch b-8 a-7") if switched else -1
    assert trap > switch
    assert sum("SVE" in what for what in told) == 1
    assert told.count("user a-7") == 1, told


def test_lines_the_recording_says_it_lacks_are_not_compared(tmp_path: Path) -> None:
    """A kernel without the place of a probe: its saves are not called extra, and the rest is still held against it."""
    import gzip

    text = gzip.decompress(sample_path("hvc-fp.vhe").read_bytes()).decode()
    lines = [line for line in text.splitlines() if "hw_save:" not in line]
    results = []
    for missing in ([], ["# fpstate: missing=hw_save"]):
        path = tmp_path / "t.txt"
        path.write_text("\n".join([*lines[:1], *missing, *lines[1:]]) + "\n")
        from fpstate.traces.read import read_trace

        results.append(validate(read_trace(path), find_policy("linux-6.14")))
    assert results[0].extra["hw_save"] > 0
    assert results[1].exact
    assert "hw_save" not in results[1].predicted
    assert results[1].observed["task_fpsimd_load"] == 23


def test_a_guests_sve_is_v_for_a_policy_that_knows_sve_of_tasks_alone(story: Story) -> None:
    """linux-4.18 has SVE for tasks; a vCPU has none there, so nothing of it can be lost."""
    story.text = SEEN
    story.say("vmm-7", "user_run: fp=1 sve=1 traps=0")
    for event in (RUN, ENTRY, "guest_run: fp=1 sve=1 traps=1", SYNC, LEFT, TO_USER_SPACE, RUN_DONE):
        story.say("vmm-7", event)
    story.say("vmm-7", "user_run: fp=1 sve=0 traps=0")
    trace = story.trace()
    assert {Event.USER_SVE, Event.GUEST_SVE} <= set(trace.event.tolist())
    assert blamed(trace) == []


@pytest.mark.parametrize(("saved", "has_sve"), [("hw_sve_save", True), ("hw_save", False)])
def test_a_vcpu_that_is_saved_as_sve_has_sve(story: Story, saved: str, has_sve: bool) -> None:
    """Though its guest was seen to use FP alone; a task's save, once it is back in user mode, says nothing of it."""
    story.text = SEEN
    for event in (RUN, ENTRY, "guest_run: fp=1 sve=0 traps=1", SYNC, LEFT):
        story.say("vmm-7", event)
    story.switch("vmm-7", "b-8", state="R+")
    story.say("vmm-7", f"{saved}: (fpsimd_save+0x70/0x140)", after=0)
    story.say("b-8", "user_run: fp=1 sve=1 traps=0")
    story.switch("b-8", "vmm-7", state="R+")
    story.say("b-8", "hw_sve_save: (fpsimd_save+0x70/0x140)", after=0)
    trace = story.trace()
    assert with_sve(trace).tolist().count(True) == has_sve
    assert ("guest-sve" in features_in(trace)) == has_sve


def test_holes_are_in_the_output_of_compare(capsys: pytest.CaptureFixture[str]) -> None:
    """Above the table, a sentence for each kind; and in the JSON."""
    from fpstate.cli.compare import command

    command([str(DATA / "hole.txt")], ["eager"], "altra-vhe", 64, json=False)
    text = capsys.readouterr().out
    assert text.index("Hole (switch)") < text.index("saves")
    command([str(DATA / "hole.txt")], ["eager"], "altra-vhe", 64, json=True)
    assert json.loads(capsys.readouterr().out)["trace"]["holes"] == [{"kind": "switch", "times": 1, "line": 4}]
