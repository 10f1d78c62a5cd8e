"""What lines mean: each rule on a few lines of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from fpstate.errors import FpstateError
from fpstate.policies.catalogue import find_policy
from fpstate.replay.engine import replay
from fpstate.rows.learn import Rows
from fpstate.traces.read import read_trace
from fpstate.traces.trace import IF_PREEMPTIBLE, UNLESS_PREEMPTIBLE, Kind, Trace
from fpstate.world.events import Event, Truth

SHORT = {
    "RET_TO_USER": "user",
    "USER_FP_MAYBE": "fp?",
    "RET_TO_USER_MAYBE": "user?",
    "THREAD_SWITCH": "switch",
    "INTERRUPT": "interrupt",
}


class Story:
    """Lines of a trace, a tenth of a millisecond apart."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "story.txt"
        self.text = ""
        self.now = 1_000_000

    def say(self, who: str, event: str, *, cpu: int = 0, flags: str = ".....", after: int = 100) -> None:
        """Add a line `after` microseconds later."""
        self.now += after
        self.text += f"{who:>16} [{cpu:03d}] {flags} {self.now // 10**6}.{self.now % 10**6:06d}: {event}\n"

    def switch(self, one: str, two: str, *, state: str = "S", cpu: int = 0, after: int = 100) -> None:
        """Add a sched_switch of `comm-tid` to `comm-tid`."""
        (a, i), (b, j) = one.rsplit("-", 1), two.rsplit("-", 1)
        fields = (
            f"prev_comm={a} prev_pid={i} prev_prio=120 prev_state={state} ==> next_comm={b} next_pid={j} next_prio=120"
        )
        self.say(one, f"sched_switch: {fields}", cpu=cpu, flags="d....", after=after)

    def trace(self) -> Trace:
        """Import the lines."""
        self.path.write_text(self.text)
        return read_trace(self.path)

    def told(self) -> list[str]:
        """Return the events as `NAME subject object`, short."""
        trace = self.trace()
        told = []
        for event, subject, other in zip(
            trace.event.tolist(), trace.subject.tolist(), trace.object.tolist(), strict=True
        ):
            name = Event(event).name if event < min(Truth) else Truth(event).name.lower()
            what = " ".join([SHORT.get(name, name), trace.contexts.label(subject)])
            told.append(what + (f" {trace.contexts.label(other)}" if other >= 0 else ""))
        return told

    def of(self, who: str) -> list[str]:
        """Return the events in which a thread takes part."""
        return [what for what in self.told() if who in what.split()]


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


ENTER, EXIT = "sys_enter: NR 63 (1, 2, 3, 4, 5, 6)", "sys_exit: NR 63 = 1"
RUN, RUN_DONE = "sys_enter: NR 29 (5, ae80, 0, 0, 48e9f0, 0)", "sys_exit: NR 29 = 0"
ENTRY, LEFT = "kvm_entry: PC: 0x40000000", "kvm_exit: TRAP: HSR_EC: 0x0016 (HVC64), PC: 0x40000054"
TO_USER_SPACE = "kvm_userspace_exit: reason KVM_EXIT_MMIO (6)"
SYNC = "kvm_arch_vcpu_ctxsync_fp <-kvm_arch_vcpu_ioctl_run"
BIND = "fpsimd_bind_state_to_cpu <-kvm_arch_vcpu_ctxsync_fp"
SIGNAL = "fpsimd_preserve_current_state <-fpsimd_signal_preserve_current_state"
FORKING = "fpsimd_preserve_current_state <-arch_dup_task_struct"


def test_system_calls(story: Story) -> None:
    """A return to user mode is added where the next system call shows it; before the first one the mode is unknown."""
    for event in (EXIT, ENTER, EXIT, ENTER):
        story.say("a-7", event)
    again = ["user a-7", "fp? a-7", "SYSCALL a-7"]
    assert story.told() == again * 2


def test_first_line_is_a_system_call(story: Story) -> None:
    """A task first seen entering the kernel was in user mode."""
    story.say("a-7", ENTER)
    assert story.told() == ["user a-7", "fp? a-7", "SYSCALL a-7"]


def test_preempted_in_user_mode(story: Story) -> None:
    """A task switched out after sys_exit was in user mode, and is again when it comes back."""
    story.say("a-7", EXIT)
    story.switch("a-7", "b-8", state="R")
    story.switch("b-8", "a-7")
    story.say("a-7", ENTER)
    assert story.told() == [
        *("user a-7", "fp? a-7", "interrupt a-7", "switch a-7 b-8"),
        *("user? b-8", "fp? b-8", "switch b-8 a-7"),
        *("user a-7", "fp? a-7", "SYSCALL a-7"),
    ]


def test_rescheduled_before_user_mode(story: Story) -> None:
    """A task that left a system call with need-resched set is switched out before it reaches user mode."""
    story.say("a-7", EXIT, flags=".N...")
    story.switch("a-7", "b-8", state="R")
    story.switch("b-8", "a-7")
    story.switch("a-7", "b-8", state="R", after=900)
    assert story.of("a-7") == [
        *("switch a-7 b-8", "switch b-8 a-7", "user a-7", "fp? a-7", "interrupt a-7", "switch a-7 b-8")
    ]


@pytest.mark.parametrize(("after", "returned"), [(60, False), (150, True)])
def test_a_switch_as_fast_as_those_known_to_go_straight(story: Story, after: int, returned: bool) -> None:
    """Need-resched may be set just after the line: a switch within twice the shortest known delay went straight."""
    story.say("a-7", EXIT, flags=".N...")
    story.switch("a-7", "b-8", state="R", after=40)
    story.switch("b-8", "c-9")
    story.say("c-9", EXIT)
    story.switch("c-9", "b-8", state="R", after=after)
    assert ("user c-9" in story.told()) is returned


@pytest.mark.parametrize(("late", "returned"), [(3, False), (100, True)])
def test_a_tick_that_was_due(story: Story, late: int, returned: bool) -> None:
    """A line just after a multiple of 4 ms was followed by the tick, which was served before user mode."""
    story.now = 2_000_000 + late - 100
    story.say("a-7", EXIT)
    story.switch("a-7", "b-8", state="R", after=170)
    assert ("user a-7" in story.told()) is returned


@pytest.mark.parametrize(("who", "returned"), [("migration/0-19", False), ("b-8", True)])
def test_a_stopper_takes_over_at_once(story: Story, who: str, returned: bool) -> None:
    """A thread switched to and at once replaced by a stopper never reached user mode."""
    story.say("a-7", EXIT)
    story.switch("a-7", "b-8", state="R", after=900)
    story.switch("b-8", "a-7")
    story.switch("a-7", who, state="R", after=300)
    assert (story.told().count("user a-7") == 2) is returned


def test_sleeping_in_a_system_call(story: Story) -> None:
    """A task that sleeps in a system call is not in user mode until it leaves it."""
    story.say("a-7", ENTER)
    story.switch("a-7", "b-8")
    story.switch("b-8", "a-7")
    story.say("a-7", EXIT)
    story.say("a-7", ENTER)
    assert story.of("a-7")[3:] == ["switch a-7 b-8", "switch b-8 a-7", "user a-7", "fp? a-7", "SYSCALL a-7"]


@pytest.mark.parametrize(("after", "returned"), [(999, False), (1000, True)])
def test_signal(story: Story, after: int, returned: bool) -> None:
    """A signal soon after a system call is delivered before user mode is reached, a late one from user mode."""
    story.say("a-7", EXIT)
    story.say("a-7", SIGNAL, after=after)
    story.say("a-7", "sys_enter: NR 139 (0, 0, 0, 0, 0, 0)")
    before = ["user a-7", "fp? a-7", "interrupt a-7"] if returned else []
    assert story.told() == [*before, "SIGNAL a-7", "user a-7", "fp? a-7", "SYSCALL a-7", "SIGRETURN a-7"]


def test_signal_event(story: Story) -> None:
    """signal_deliver counts where the function that saves registers for it is not recorded, and only then."""
    deliver = "signal_deliver: sig=14 errno=0 code=0 sa_handler=4020 sa_flags=0"
    story.say("a-7", EXIT)
    story.say("a-7", deliver)
    assert story.told() == ["SIGNAL a-7"]
    story.say("a-7", SIGNAL)
    assert story.told() == ["SIGNAL a-7"]


@pytest.mark.parametrize(("after", "returned"), [(500, False), (5000, True)])
def test_exit(story: Story, after: int, returned: bool) -> None:
    """A task killed on its way to user mode does not reach it."""
    story.say("a-7", EXIT)
    story.say("a-7", "sched_process_exit: comm=a pid=7 prio=120", after=after)
    story.switch("a-7", "b-8", state="X")
    before = ["user a-7", "fp? a-7", "interrupt a-7"] if returned else []
    assert story.of("a-7") == [*before, "EXIT a-7", "switch a-7 b-8"]


def test_preempted_on_its_way_out(story: Story) -> None:
    """A task dies at its last switch; it may be switched out and go on after sched_process_exit."""
    story.say("a-7", ENTER)
    story.say("a-7", "sched_process_exit: comm=a pid=7 prio=120")
    story.switch("a-7", "b-8", state="R+")
    story.switch("b-8", "a-7")
    story.switch("a-7", "b-8", state="Z")
    assert story.of("a-7")[3:] == ["switch a-7 b-8", "switch b-8 a-7", "EXIT a-7", "switch a-7 b-8"]
    assert story.trace().header.holes == []


def test_a_dead_thread_id(story: Story) -> None:
    """A thread id seen again after its thread died is a new context, though no fork was recorded."""
    story.say("a-7", ENTER)
    story.switch("a-7", "b-8", state="X")
    story.switch("b-8", "c-7")
    story.say("c-7", EXIT)
    trace = story.trace()
    assert sorted(trace.contexts.name) == ["a", "b", "c", "swapper/0"]
    assert trace.header.holes == []


def test_fork(story: Story) -> None:
    """A child is a new context from the line that copies its parent's registers on, and starts in user mode."""
    story.say("a-7", "sys_enter: NR 220 (0, 0, 0, 0, 0, 0)")
    story.say("a-7", FORKING)
    story.say("a-7", "hw_save: (fpsimd_save+0x70/0x140)")
    story.say("a-7", "sched_process_fork: comm=a pid=7 child_comm=a child_pid=9")
    story.switch("a-7", "a-9")
    story.say("a-9", ENTER)
    assert story.told()[3:] == [
        *("FORK a-7 a-9", "hw_save a-7", "switch a-7 a-9"),
        *("user a-9", "fp? a-9", "SYSCALL a-9"),
    ]


def test_thread_id_reused(story: Story) -> None:
    """A thread id that is used again is a new context."""
    story.say("b-9", EXIT)
    story.say("b-9", "sched_process_exit: comm=b pid=9 prio=120")
    story.switch("b-9", "a-7", state="X")
    story.say("a-7", "sched_process_fork: comm=a pid=7 child_comm=a child_pid=9")
    story.switch("a-7", "a-9")
    trace = story.trace()
    assert trace.contexts.tid.tolist().count(9) == 2
    assert sorted(trace.contexts.name) == ["a", "a", "b", "swapper/0"]


def test_failed_fork(story: Story) -> None:
    """A fork that fails leaves a context without a thread id, and does not give it to the next child."""
    story.say("a-7", FORKING)
    story.say("a-7", "sys_exit: NR 220 = -11")
    story.say("a-7", "sched_process_fork: comm=a pid=7 child_comm=a child_pid=9")
    trace = story.trace()
    assert sorted(trace.contexts.tid.tolist()) == [-1, 0, 7, 9]
    assert (trace.event == Event.FORK).sum() == 2


def test_exec(story: Story) -> None:
    """Exec clears registers at the line that does, once, and keeps the context under its new name."""
    story.say("sh-7", "sys_enter: NR 221 (0, 0, 0, 0, 0, 0)")
    story.say("sh-7", "fpsimd_flush_thread <-flush_thread")
    story.say("load-7", "sched_process_exec: filename=/bin/load pid=7 old_pid=7")
    assert story.told()[-1] == "EXEC load-7"
    story.say("load-7", "sys_enter: NR 221 (0, 0, 0, 0, 0, 0)")
    story.say("<...>-7", "sched_process_exec: filename=/bin/other pid=7 old_pid=7")
    told = story.told()
    assert [line for line in told if line.startswith("EXEC")] == ["EXEC other-7"] * 2


def test_guest_run(story: Story) -> None:
    """A run is loaded at its first entry; FP use is certain the first time, then possible; put comes at the end."""
    story.say("vmm-7", RUN)
    for used in (False, True, True):
        story.say("vmm-7", ENTRY)
        story.say("vmm-7", SYNC)
        if used:
            story.say("vmm-7", BIND)
        story.say("vmm-7", LEFT)
    story.say("vmm-7", TO_USER_SPACE)
    story.say("vmm-7", RUN_DONE)
    v = "vmm-7 vcpu of vmm-7"
    assert story.told()[3:] == [
        *(f"RUN_ENTER {v}", f"VCPU_LOAD {v}", f"GUEST_ENTER {v}", f"GUEST_EXIT {v}"),
        *(f"GUEST_ENTER {v}", f"GUEST_FP {v}", f"GUEST_EXIT {v}", "fpsimd_bind_state_to_cpu vmm-7"),
        *(f"GUEST_ENTER {v}", f"GUEST_FP_MAYBE {v}", f"GUEST_EXIT {v}", "fpsimd_bind_state_to_cpu vmm-7"),
        *(f"VCPU_PUT {v}", f"RUN_EXIT {v}"),
    ]


def test_guest_fp_after_kernel_neon(story: Story) -> None:
    """After the kernel took a guest's registers, its next use is certain again."""
    story.say("vmm-7", RUN)
    for _ in range(2):
        for event in (ENTRY, SYNC, BIND, LEFT):
            story.say("vmm-7", event)
        story.say("vmm-7", "kernel_neon_begin <-x", flags="..s..")
        story.say("vmm-7", "kernel_neon_end <-x", flags="..s..")
    trace = story.trace()
    assert (trace.event == Event.GUEST_FP).sum() == 2
    assert (trace.event == Event.SOFTIRQ_NEON_BEGIN).sum() == 2


def test_guest_without_functions(story: Story) -> None:
    """Without function lines each guest run may use FP, and the header says so."""
    for event in (RUN, ENTRY, LEFT, TO_USER_SPACE, RUN_DONE):
        story.say("vmm-7", event)
    trace = story.trace()
    assert (trace.event == Event.GUEST_FP_MAYBE).sum() == 1
    assert any("guest used FP in 1 of 1" in sentence for sentence in trace.header.unobserved)


def test_preempted_vcpu(story: Story) -> None:
    """The preempt notifier puts a loaded vCPU before the switch away and loads it after the switch back."""
    for event in (RUN, ENTRY, LEFT):
        story.say("vmm-7", event)
    story.switch("vmm-7", "b-8", state="R")
    story.switch("b-8", "vmm-7")
    v = "vmm-7 vcpu of vmm-7"
    assert story.of("vmm-7")[-4:] == [f"VCPU_PUT {v}", "switch vmm-7 b-8", "switch b-8 vmm-7", f"VCPU_LOAD {v}"]


@pytest.mark.parametrize(("state", "loaded"), [("R", True), ("R+", False), ("S", False), ("D", False)])
def test_switched_before_first_entry(story: Story, state: str, loaded: bool) -> None:
    """Before the first entry only a thread preempted on its own account had its vCPU loaded; others wait for it."""
    story.say("vmm-7", RUN)
    story.switch("vmm-7", "b-8", state=state)
    story.switch("b-8", "vmm-7")
    trace = story.trace()
    assert (trace.event == Event.VCPU_LOAD).sum() == 2 * loaded
    assert (trace.event == Event.VCPU_PUT).sum() == loaded


def test_run_without_entry(story: Story) -> None:
    """A run that ends without a guest entry was loaded and put; without kvm_userspace_exit lines sys_exit ends it."""
    v = "vmm-7 vcpu of vmm-7"
    expected = [f"RUN_ENTER {v}", f"VCPU_LOAD {v}", f"VCPU_PUT {v}", f"RUN_EXIT {v}"]
    story.say("vmm-7", RUN)
    story.say("vmm-7", RUN_DONE)
    assert story.told()[3:] == expected
    story.text = ""
    for event in (RUN, TO_USER_SPACE, RUN_DONE):
        story.say("vmm-7", event)
    assert story.told()[3:] == expected


def test_guests_without_system_calls(story: Story) -> None:
    """Without system calls an entry begins a run, and returns to user mode are possible ones at each switch."""
    story.switch("a-6", "vmm-7")
    story.say("vmm-7", ENTRY)
    story.say("vmm-7", LEFT)
    story.switch("vmm-7", "kworker/0:1-8", state="R")
    story.switch("kworker/0:1-8", "vmm-7")
    v = "vmm-7 vcpu of vmm-7"
    told = story.told()
    assert told[:6] == ["switch a-6 vmm-7", "user? vmm-7", "USER_FP_MAYBE vmm-7".replace("USER_FP_MAYBE", "fp?"),
                        f"RUN_ENTER {v}", f"VCPU_LOAD {v}", f"GUEST_ENTER {v}"]  # fmt: skip
    assert not any("user? kworker" in line for line in told)
    assert told[-1] == f"VCPU_LOAD {v}"
    trace = story.trace()
    assert any("System calls were not recorded" in sentence for sentence in trace.header.unobserved)
    assert trace.contexts.kind[trace.contexts.name.index("kworker/0:1")] == Kind.KTHREAD


def test_neon(story: Story) -> None:
    """Flags tell the kernel's use of FP in a softirq from the task's; a late one shows that user mode was reached."""
    story.say("a-7", EXIT)
    for after in (100, 2000):
        story.say("a-7", "kernel_neon_begin <-x", flags="..s..", after=after)
        story.say("a-7", "kernel_neon_end <-x", flags="..s..", after=2000)
    story.say("a-7", ENTER)
    story.say("a-7", "kernel_neon_begin <-x")
    story.say("a-7", "kernel_neon_end <-x", flags="b....")
    assert story.told() == [
        *("SOFTIRQ_NEON_BEGIN a-7", "SOFTIRQ_NEON_END a-7", "user a-7", "fp? a-7", "interrupt a-7"),
        *("SOFTIRQ_NEON_BEGIN a-7", "SOFTIRQ_NEON_END a-7"),
        *("user a-7", "fp? a-7", "SYSCALL a-7", "KERNEL_NEON_BEGIN a-7", "KERNEL_NEON_END a-7"),
    ]


def test_hotplug(story: Story) -> None:
    """A CPU dies at fpsimd_cpu_dead, or at takedown_cpu if that is all there is, but once; the column is that CPU."""
    step = "cpuhp_enter: cpu: 0001 target: {} step: {} ({})".format
    story.say("k-7", step(0, 153, "takedown_cpu"))
    story.say("k-7", step(0, 19, "fpsimd_cpu_dead"))
    story.say("k-7", step(236, 91, "bringup_cpu"))
    story.say("k-7", step(0, 153, "takedown_cpu"))
    story.say("k-7", step(236, 91, "bringup_cpu"))
    story.say("k-7", step(0, 153, "takedown_cpu"))
    trace = story.trace()
    assert [Event(e).name for e in trace.event.tolist()] == ["CPU_DOWN", "CPU_UP"] * 2 + ["CPU_DOWN"]
    assert set(trace.cpu.tolist()) == {1}
    assert trace.header.cpus == 2


def test_switch_without_sched_switch(story: Story) -> None:
    """fpsimd_thread_switch without a sched_switch before it is a switch to the idle thread."""
    function = "fpsimd_thread_switch <-__switch_to"
    story.switch("a-7", "migration/0-8")
    story.say("a-7", function)
    story.say("migration/0-8", function)
    assert story.told() == ["switch a-7 migration/0-8", "switch migration/0-8 swapper/0-0"]


def test_missed_switch(story: Story) -> None:
    """A CPU that goes on with another task is counted, and the task's mode is kept right."""
    story.say("a-7", EXIT)
    story.say("b-8", EXIT)
    story.say("a-7", ENTER)
    trace = story.trace()
    assert trace.header.holes == [{"kind": "switch", "times": 2, "line": 2}]
    assert [Event(e).name for e in trace.event[trace.line == 0]] == ["THREAD_SWITCH"] * 2


def test_kernel_threads(story: Story) -> None:
    """A thread is a kernel thread if it makes no system call and no user task forked it."""
    story.say("kthreadd-2", "sched_process_fork: comm=kthreadd pid=2 child_comm=kthreadd child_pid=20")
    story.say("a-7", EXIT)
    story.say("a-7", "sched_process_fork: comm=a pid=7 child_comm=a child_pid=21")
    story.say("helper-22", "sched_process_exec: filename=/bin/h pid=22 old_pid=22")
    story.switch("helper-22", "kworker/0:1-23")
    story.switch("kworker/0:1-23", "kthreadd-20")
    story.switch("kthreadd-20", "a-21")
    contexts = story.trace().contexts
    kinds = {int(tid): Kind(int(kind)).name for tid, kind in zip(contexts.tid, contexts.kind, strict=True)}
    assert kinds == {0: "IDLE", 2: "KTHREAD", 20: "KTHREAD", 7: "USER", 21: "USER", 22: "USER", 23: "KTHREAD"}


def test_idle_threads_come_first(story: Story) -> None:
    """Row c of the contexts is the idle thread of CPU c, whether it was met or not."""
    story.say("a-7", EXIT, cpu=3)
    story.switch("a-7", "swapper/3-0", cpu=3)
    contexts = story.trace().contexts
    assert contexts.name == ["swapper/0", "swapper/1", "swapper/2", "swapper/3", "a"]
    assert contexts.kind.tolist() == [0, 0, 0, 0, 2]


def test_guest_running_at_the_start(story: Story) -> None:
    """A recording that begins inside a guest run begins that run at its first line."""
    story.say("vmm-7", SYNC)
    story.say("vmm-7", BIND)
    story.say("vmm-7", LEFT)
    v = "vmm-7 vcpu of vmm-7"
    assert story.told()[:5] == [
        f"RUN_ENTER {v}",
        f"VCPU_LOAD {v}",
        f"GUEST_ENTER {v}",
        f"GUEST_FP {v}",
        f"GUEST_EXIT {v}",
    ]


def test_lost_lines(story: Story) -> None:
    """A switch among the lines that were lost is filled in as any other."""
    story.say("a-7", EXIT)
    story.text += "CPU:0 [LOST 12 EVENTS]\n"
    story.say("b-8", EXIT)
    assert story.told() == ["switch a-7 b-8"]
    assert story.trace().header.holes == [{"kind": "switch", "times": 1, "line": 3}]


def test_many_contexts(tmp_path: Path) -> None:
    """Contexts may be more than the first tables have room for."""
    path = tmp_path / "many.txt"
    path.write_text("".join(f"  t{i}-{i} [000] ..... 1.{i:06d}: {ENTER}\n" for i in range(1, 20_001)))
    trace = read_trace(path)
    assert len(trace.contexts) == 20_001
    assert trace.contexts.label(20_000) == "t20000-20000"


def test_runs_an_emulator_saw(story: Story) -> None:
    """Where the header says that runs were seen, returns to user mode and FP use are those, and nothing is inferred."""
    story.text = "# tracer: function\n# fpstate: observed=user guest\n"
    story.say("a-7", EXIT)
    story.say("a-7", "user_run: fp=1 sve=0 traps=0", after=0)
    story.say("a-7", ENTER, after=20_000)
    story.say("a-7", EXIT)
    story.say("a-7", "almost_user:", after=0)
    story.switch("a-7", "b-8", state="R", after=20_000)
    story.say("b-8", "user_run: fp=0 sve=0 traps=0", after=0)
    story.say("b-8", "user_run: fp=1 sve=1 traps=0", after=0)
    told = story.told()
    assert told == [
        "user a-7",
        "USER_FP a-7",
        "SYSCALL a-7",
        "user a-7",
        "interrupt a-7",
        "switch a-7 b-8",
        "user b-8",
        "interrupt b-8",
        "user b-8",
        "USER_SVE b-8",
        "interrupt b-8",  # under some policies that use traps
        "user b-8",
        "USER_FP b-8",
    ]
    assert not any("MAYBE" in sentence for sentence in story.trace().header.unobserved)


@pytest.mark.parametrize("saved", [True, False])
def test_a_return_that_did_not_come_to_its_load(story: Story, saved: bool) -> None:
    """A thread preempted before its registers were seen to has none to save, and returns once it runs again."""
    story.text = "# tracer: function\n# fpstate: observed=user guest\n"
    story.say("b-8", "hw_save: (fpsimd_save_user_state+0x254/0x320)")
    story.switch("b-8", "a-7")
    story.say("a-7", EXIT)
    story.say("a-7", "almost_user:", after=0)
    story.switch("a-7", "b-8", state="R+")
    if saved:
        story.say("a-7", "hw_save: (fpsimd_save_user_state+0x254/0x320)", after=0)
    story.switch("b-8", "a-7")
    story.say("a-7", "user_run: fp=1 sve=0 traps=0")
    returns = [what for what in story.told() if what == "user a-7"]
    assert len(returns) == (2 if saved else 1)


def test_a_system_call_whose_line_comes_late(story: Story) -> None:
    """Where every return was seen, a thread preempted between its entry to the kernel and the line entered by it."""
    story.text = "# tracer: function\n# fpstate: observed=user guest\n"
    story.say("a-7", EXIT)
    story.say("a-7", "user_run: fp=1 sve=0 traps=0", after=0)
    story.switch("a-7", "b-8", state="R+")
    story.say("b-8", "user_run: fp=0 sve=0 traps=0")
    story.switch("b-8", "a-7")
    story.say("a-7", ENTER)
    told = [what for what in story.told() if "a-7" in what]
    assert told == ["user a-7", "USER_FP a-7", "SYSCALL a-7", "switch a-7 b-8", "switch b-8 a-7"]
    assert story.trace().header.holes == []


def test_guest_runs_an_emulator_saw(story: Story) -> None:
    """FP use is known for each run, later ones too; traps are what the hypervisor did; no line means no run."""
    story.text = "# tracer: function\n# fpstate: observed=user guest\n"
    story.say("vmm-9", RUN)
    for line in ("fp=1 sve=0 traps=1", "fp=0 sve=0 traps=0", "fp=1 sve=0 traps=0", ""):
        story.say("vmm-9", "kvm_entry: PC: 0x0")
        if line:
            story.say("vmm-9", f"guest_run: {line}", after=0)
        story.say("vmm-9", "kvm_arch_vcpu_ctxsync_fp <-kvm_arch_vcpu_ioctl_run")
        story.say("vmm-9", "fpsimd_bind_state_to_cpu <-kvm_arch_vcpu_ctxsync_fp")
    told = [what.split()[0] for what in story.told()]
    assert [what for what in told if what.startswith(("GUEST", "guest"))] == [
        *("GUEST_ENTER", "guest_fp_trap", "GUEST_FP", "GUEST_EXIT"),
        *("GUEST_ENTER", "GUEST_EXIT"),
        *("GUEST_ENTER", "GUEST_FP", "GUEST_EXIT"),
        *("GUEST_ENTER", "GUEST_EXIT"),
    ]


@pytest.mark.parametrize("fields", ["", "fp=1", "fp=2 sve=0 traps=0", "fp=1 sve=x traps=0", "fp=1 sve=0"])
def test_runs_that_make_no_sense_are_refused(story: Story, fields: str) -> None:
    """Lines of runs have all their fields, or the file is not what it says."""
    story.say("a-7", f"user_run: {fields}")
    with pytest.raises(FpstateError, match="cannot read this line"):
        story.trace()


def test_ptrace_writes_registers(story: Story) -> None:
    """PTRACE_SETREGSET of an FP register set is a write to the tracee; of another set, or a read, it is none."""
    story.say("b-16", EXIT)
    story.say("a-7", "sys_enter: NR 117 (4205, 10, 2, ffff, 0, 0)")
    story.say("a-7", "sys_enter: NR 117 (4205, 10, 405, ffff, 0, 0)")
    story.say("a-7", "sys_enter: NR 117 (4205, 10, 1, ffff, 0, 0)")
    story.say("a-7", "sys_enter: NR 117 (4204, 10, 2, ffff, 0, 0)")
    story.say("a-7", "sys_enter: NR 116 (4205, 10, 2, ffff, 0, 0)")
    story.say("a-7", "sys_enter: NR 117 (7, fffffffffffffff0, 2, ffff, 0, 0)")
    assert [what for what in story.told() if "PTRACE" in what] == ["PTRACE_WRITE a-7 b-16"] * 2


def test_exec_by_a_thread_that_does_not_lead(story: Story) -> None:
    """It takes over the leader's id and is done with its own, which the next thread of that id begins without."""
    story.say("sh-7", "sys_enter: NR 222 (0, 0, 0, 0, 0, 0)")
    story.say("worker-8", "sys_enter: NR 221 (0, 0, 0, 0, 0, 0)")
    story.say("load-7", "sched_process_exec: filename=/bin/load pid=7 old_pid=8")
    story.say("other-8", "sys_enter: NR 222 (0, 0, 0, 0, 0, 0)")
    trace = story.trace()
    assert sorted(tid for tid in trace.contexts.tid.tolist() if tid) == [7, 8, 8]
    assert trace.contexts.label(int(trace.subject[trace.event == Event.EXEC][0])) == "load-7"


OBSERVED = "# fpstate: observed=load sigreturn"


def test_loads_that_are_recorded_are_not_guessed(story: Story) -> None:
    """A preemptible kernel switches between the beginning of KVM_RUN and the load, and between the put and its end."""
    load, put = (f"kvm_arch_vcpu_{what} <-vcpu_{what}" for what in ("load", "put"))
    story.text = f"# tracer: nop\n{OBSERVED}\n"
    for event in (EXIT, RUN):
        story.say("vmm-7", event)
    story.switch("vmm-7", "b-8", state="R+")
    story.switch("b-8", "vmm-7")
    for event in (load, ENTRY, LEFT):
        story.say("vmm-7", event)
    story.switch("vmm-7", "b-8", state="R+")
    story.say("vmm-7", put.replace("<-vcpu_put", "<-kvm_sched_out"), flags="d....")
    story.switch("b-8", "vmm-7")
    story.say("vmm-7", load.replace("<-vcpu_load", "<-kvm_sched_in"))
    story.say("vmm-7", put)
    story.switch("vmm-7", "b-8", state="R+")
    story.switch("b-8", "vmm-7")
    for event in (TO_USER_SPACE, RUN_DONE):
        story.say("vmm-7", event)
    told = [what.split()[0] for what in story.told()]
    wanted = ("switch", "RUN_ENTER", "VCPU_LOAD", "VCPU_PUT", "RUN_EXIT")
    assert [what for what in told if what in wanted] == [
        "RUN_ENTER", "switch", "switch", "VCPU_LOAD", "VCPU_PUT", "switch", "switch", "VCPU_LOAD", "VCPU_PUT",
        "RUN_EXIT", "switch", "switch",
    ]  # fmt: skip
    assert story.trace().header.holes == []


def test_sigreturn_is_where_the_frame_is_taken_over(story: Story) -> None:
    """The system call may be preempted before: where the function is recorded, its line counts."""
    story.text = f"# tracer: nop\n{OBSERVED}\n"
    for event in (EXIT, "sys_enter: NR 139 (0, 0, 0, 0, 0, 0)"):
        story.say("a-7", event)
    story.switch("a-7", "b-8", state="R+")
    story.switch("b-8", "a-7")
    story.say("a-7", "fpsimd_update_current_state <-restore_sigframe")
    told = [what.split()[0] for what in story.told()]
    assert told.count("SIGRETURN") == 1
    assert told.index("SIGRETURN") > told.index("switch")


def test_a_fork_since_6_16(story: Story) -> None:
    """The parent's registers are saved by another function; called for anything else, it says nothing."""
    story.say("a-7", EXIT)
    story.say("a-7", "sys_enter: NR 220 (0, 0, 0, 0, 0, 0)")
    story.say("a-7", "fpsimd_save_and_flush_current_state <-arch_dup_task_struct")
    story.switch("a-7", "b-8", state="R+")
    story.say("b-8", "fpsimd_save_and_flush_current_state <-setup_rt_frame")
    story.switch("b-8", "a-7")
    story.say("a-7", "sched_process_fork: comm=a pid=7 child_comm=a child_pid=9")
    told = [what.split()[0] for what in story.told()]
    assert told.count("FORK") == 1
    assert told.index("FORK") < told.index("switch")


SAVED = "hw_save: (fpsimd_save_user_state+0x254/0x320)"
FLUSHED_BY = "fpsimd_save_and_flush_current_state <-"


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (f"{FLUSHED_BY}arch_dup_task_struct", "FORK"),
        (FORKING, "FORK"),
        (SIGNAL, "SIGNAL"),
        (f"{FLUSHED_BY}restore_sigframe", "SIGRETURN"),
        ("fpsimd_flush_thread <-flush_thread", "EXEC"),
        ("kernel_neon_begin <-sha2_base_do_update", "KERNEL_NEON_BEGIN"),
    ],
)
@pytest.mark.parametrize("saved", ["by the switch", "before", "not"])
def test_what_a_thread_that_is_preempted_had_only_begun(story: Story, line: str, event: str, saved: str) -> None:
    """Registers saved by the switch alone were neither saved nor given up before: that comes after the switch."""
    story.text = f"# tracer: nop\n{OBSERVED}\n# fpstate: kernel=6.12.118\n"
    for before in (EXIT, ENTER, EXIT) if event == "SIGNAL" else (EXIT, ENTER):
        story.say("a-7", before)
    story.say("a-7", line)
    if saved == "before":
        story.say("a-7", SAVED)
    story.switch("a-7", "b-8", state="R+")
    story.say("a-7", "fpsimd_thread_switch <-__switch_to", after=0)
    if saved != "not":
        story.say("a-7", SAVED, after=0)
    story.switch("b-8", "a-7")
    story.say("a-7", "fpsimd_update_current_state <-restore_fpsimd_context" if event == "SIGRETURN" else EXIT)
    told = [what.split()[0] for what in story.told()]
    assert told.count(event) == 1
    assert (told.index(event) > told.index("switch")) == (saved == "by the switch")
    assert story.trace().header.holes == []


@pytest.mark.parametrize("loaded", [True, False])
def test_sigreturn_is_not_done_until_it_has_loaded_the_registers(story: Story, loaded: bool) -> None:
    """Until v6.15; its switch saves what was in them before, or what it has loaded."""
    story.text = f"# tracer: nop\n{OBSERVED}\n"
    for event in (EXIT, "task_fpsimd_load <-fpsimd_restore_current_state", ENTER):
        story.say("a-7", event)
    story.say("a-7", "fpsimd_update_current_state <-restore_fpsimd_context")
    if loaded:
        story.say("a-7", "task_fpsimd_load <-fpsimd_update_current_state")
    story.switch("a-7", "b-8", state="R+")
    story.say("a-7", SAVED, after=0)
    story.switch("b-8", "a-7")
    story.say("a-7", EXIT)
    told = [what.split()[0] for what in story.told()]
    assert told.count("SIGRETURN") == 1
    assert (told.index("SIGRETURN") < told.index("switch")) == loaded


def preempted_in_its_reload(story: Story, *before: str) -> None:
    """Let a-7 be preempted in the function that is to load its registers, and run again; `before`: what b-8 does."""
    story.text = "# tracer: function\n# fpstate: observed=user guest\n"
    for event in (*before, SAVED):
        story.say("b-8", event)
    story.switch("b-8", "a-7")
    story.say("a-7", EXIT)
    story.say("a-7", "fpsimd_restore_current_state <-do_notify_resume")
    story.say("a-7", "almost_user:", after=0)
    story.switch("a-7", "b-8", state="R+")
    story.switch("b-8", "a-7")


def test_a_reload_that_a_preempted_thread_comes_to_is_after_the_switch(story: Story) -> None:
    """Its line came before: it is moved to where the registers are loaded."""
    preempted_in_its_reload(story)
    story.say("a-7", "task_fpsimd_load <-fpsimd_restore_current_state")
    story.say("a-7", "user_run: fp=1 sve=0 traps=0", after=0)
    told = [what.split()[0] for what in story.told()]
    assert told[-5:] == ["switch", "fpsimd_restore_current_state", "task_fpsimd_load", "user", "USER_FP"]
    assert told.count("user") == told.count("fpsimd_restore_current_state") == 1


def test_a_reload_that_finds_the_registers_live_after_a_switch_is_none(story: Story) -> None:
    """The thread has gone back to the CPU that has them still: the function that was entered does nothing."""
    preempted_in_its_reload(story, "task_fpsimd_load <-fpsimd_restore_current_state")
    story.say("a-7", "user_run: fp=1 sve=0 traps=0")
    told = [what.split()[0] for what in story.told()]
    assert told[-3:] == ["switch", "user", "USER_FP"]
    assert told.count("fpsimd_restore_current_state") == 0


SECTION_BEGINS, SECTION_ENDS = "kernel_neon_begin <-sha2_base_do_update", "kernel_neon_end <-sha2_base_do_update"


@pytest.mark.parametrize("kernel", ["6.1.192", "6.12.118+deb13-rt-arm64"])
def test_a_section_that_is_preempted(story: Story, kernel: str) -> None:
    """Since v6.8 it goes on; other kernels would have ended it before, and before that a lost line is more likely."""
    story.text = f"# tracer: function\n# fpstate: kernel={kernel}\n"
    story.say("a-7", EXIT)
    for event in (ENTER, SECTION_BEGINS):
        story.say("a-7", event)
    for _ in range(2):
        story.switch("a-7", "b-8", state="R+")
        story.switch("b-8", "a-7")
    for event in (SECTION_ENDS, SECTION_BEGINS, SECTION_ENDS):
        story.say("a-7", event)
    trace = story.trace()
    ends = [int(obj) for obj in trace.object[trace.event == Event.KERNEL_NEON_END]]
    if kernel.startswith("6.1."):
        assert ends == [-1, -1, -1]
        assert [hole["kind"] for hole in trace.header.holes] == ["neon"]
    else:
        assert ends == [UNLESS_PREEMPTIBLE, IF_PREEMPTIBLE, -1]
        assert trace.header.holes == []
        told = [what.split()[0] for what in story.told()]
        assert told.index("KERNEL_NEON_END") == told.index("switch") - 1


def test_what_policies_make_of_a_section_that_is_preempted(story: Story) -> None:
    """None loses its registers: those that let it be preempted keep them, the others ended it before."""
    story.text = "# tracer: function\n# fpstate: kernel=7.3.4\n"
    story.say("a-7", EXIT)
    for event in (ENTER, SECTION_BEGINS):
        story.say("a-7", event)
    story.switch("a-7", "b-8", state="R+")
    story.say("b-8", SECTION_BEGINS)
    story.say("b-8", SECTION_BEGINS, flags="..s..")
    story.say("b-8", SECTION_ENDS, flags="..s..")
    story.say("b-8", SECTION_ENDS)
    story.switch("b-8", "a-7")
    story.say("a-7", SECTION_ENDS)
    trace = story.trace()
    assert trace.header.holes == []
    for name in ("linux-6.1.y", "linux-6.8", "linux-6.12.y", "linux-7.2", "linux-3.14", "eager"):
        assert replay(trace, Rows(find_policy(name)), maybe=False).wrong == 0, name


@pytest.mark.parametrize("in_section", [True, False])
@pytest.mark.parametrize("last", [SECTION_BEGINS, SECTION_ENDS])
def test_a_section_that_a_preempted_thread_had_only_begun_or_ended(story: Story, last: str, in_section: bool) -> None:
    """Where sections can be preempted, the switch saves that of a thread that is in one."""
    story.text = "# tracer: function\n# fpstate: kernel=7.3.4\n"
    story.say("a-7", "fpsimd_bind_state_to_cpu <-kvm_arch_vcpu_ctxsync_fp")
    story.say("a-7", EXIT)
    lines = (ENTER, SECTION_BEGINS, SECTION_ENDS)
    for event in lines[: lines.index(last) + 1]:
        story.say("a-7", event)
    story.switch("a-7", "b-8", state="R+")
    if in_section:
        story.say("a-7", "fpsimd_bind_state_to_cpu <-fpsimd_thread_switch", after=0)
    story.switch("b-8", "a-7")
    story.say("a-7", SECTION_ENDS if last == SECTION_BEGINS else EXIT)
    begin, end, switch = Event.KERNEL_NEON_BEGIN, Event.KERNEL_NEON_END, Event.THREAD_SWITCH
    order = [begin, end, switch, switch, end] if in_section else [switch, switch, begin, end]
    if last == SECTION_ENDS and not in_section:
        order = [begin, end, switch, switch]
    trace = story.trace()
    assert [event for event in trace.event.tolist() if event in order] == order
    assert trace.header.holes == []


@pytest.mark.parametrize("preempt", ["", "# fpstate: preempt=rt\n"])
def test_with_preempt_rt_what_a_softirq_does_is_its_threads(story: Story, preempt: str) -> None:
    """It can be preempted as any other section."""
    story.text = f"# tracer: function\n# fpstate: kernel=6.12.118-rt\n{preempt}"
    story.switch("a-7", "ktimers/0-18")
    story.say("ktimers/0-18", SECTION_BEGINS, flags="..s1.")
    if preempt:
        story.switch("ktimers/0-18", "b-8", state="R+")
        story.switch("b-8", "ktimers/0-18")
    story.say("ktimers/0-18", SECTION_ENDS, flags="..s1.")
    trace = story.trace()
    begins = Event.KERNEL_NEON_BEGIN if preempt else Event.SOFTIRQ_NEON_BEGIN
    assert begins in trace.event
    assert trace.header.holes == []


def test_a_return_that_goes_on_after_a_switch_may_still_turn_back(story: Story) -> None:
    """A signal comes while it is under way again: the registers are seen to between the switch and the signal."""
    story.text = "# tracer: function\n# fpstate: observed=user guest\n"
    story.say("b-8", SAVED)
    story.switch("b-8", "a-7")
    story.say("a-7", EXIT)
    story.say("a-7", "fpsimd_restore_current_state <-exit_to_user_mode_loop")
    story.say("a-7", "almost_user:", after=0)
    for _ in range(2):
        story.switch("a-7", "b-8", state="R+")
        story.switch("b-8", "a-7")
    story.say("a-7", "signal_deliver: sig=14 errno=0 code=128 sa_handler=401660 sa_flags=0")
    told = [what.split()[0] for what in story.told()]
    assert told[-5:] == ["switch", "fpsimd_restore_current_state", "user", "interrupt", "SIGNAL"]
    assert told.count("user") == told.count("fpsimd_restore_current_state") == 1


@pytest.mark.parametrize("as_sve", [False, True])
def test_an_sve_trap_that_a_preempted_thread_had_only_begun_to_serve(story: Story, as_sve: bool) -> None:
    """The switch saves its registers as SVE's only if it was served before."""
    story.text = "# tracer: function\n# fpstate: observed=user guest\n"
    story.say("a-7", EXIT)
    story.say("a-7", "user_run: fp=0 sve=0 traps=1", after=0)
    story.say("a-7", "do_sve_acc <-el0_sve_acc")
    for _ in range(2):
        story.switch("a-7", "b-8", state="R+")
        story.say("a-7", "hw_sve_save: (x+0x1/0x2)" if as_sve else SAVED, after=0)
        story.switch("b-8", "a-7")
    story.say("a-7", "user_run: fp=1 sve=1 traps=0")
    told = [what.split()[0] for what in story.told() if "a-7" in what]
    trap = ["USER_SVE" if as_sve else "SVE_TRAP", "do_sve_acc"]
    assert [what for what in told if what in trap][:2] == trap
    assert told.count("do_sve_acc") == 1
    assert (told.index("do_sve_acc") < told.index("switch")) == as_sve
    assert told.count("USER_FP") == 1


@pytest.mark.parametrize(
    ("call", "changes"),
    [
        ("NR 167 (32, 20, 0, 0, 0, 0)", 1),
        ("NR 167 (32, 20020, 0, 0, 0, 0)", 1),  # inherited, which is a flag
        ("NR 167 (32, 40020, 0, 0, 0, 0)", 0),  # put off until exec
        ("NR 167 (33, 20, 0, 0, 0, 0)", 0),
        ("NR 166 (32, 20, 0, 0, 0, 0)", 0),
        ("id=167 args=ARRAY[32, 00, 20, 00, 00, 00, 00, 00, 00, 00, 00, 00]", 1),
    ],
)
def test_a_task_may_ask_for_another_vector_length(tmp_path: Path, call: str, changes: int) -> None:
    """By prctl(PR_SVE_SET_VL); what it asked for before changes nothing when it asks again."""
    story = Story(tmp_path)
    story.say("a-7", f"sys_enter: {call}")
    story.say("a-7", "sys_exit: NR 167 = 32")
    story.say("a-7", f"sys_enter: {call}")
    story.say("a-7", "sys_exit: NR 167 = 32")
    assert (story.trace().event == Event.VL_CHANGE).sum() == changes
