"""The model against what a real kernel did: the bundled recordings carry both."""

from __future__ import annotations

import gzip
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.costs import load_profile
from fpstate.errors import FpstateError
from fpstate.policies.catalogue import find_policy, policies
from fpstate.replay.auto import try_all
from fpstate.replay.compare import compare
from fpstate.replay.validate import Deed, _unequal, around, policy_of_kernel, validate
from fpstate.traces.read import read_trace
from fpstate.traces.samples import open_trace
from fpstate.traces.trace import Trace
from fpstate.world.events import MAYBE, Event, Truth
from tests import tiny

FPSIMD_ONLY = ["contended.vhe", "hotplug.vhe", "hvc-fp.vhe", "kneon.vhe", "mmio-fp.vhe", "mmio-int.vhe"]

# What the function tracer counted in each recording, as grep counts it.
OBSERVED = {
    "contended.vhe": {"hw_save": 1674, "task_fpsimd_load": 1066, "kvm_arch_vcpu_load_fp": 840},
    "hotplug.vhe": {"hw_save": 675, "task_fpsimd_load": 431, "kvm_arch_vcpu_load_fp": 215},
    "hvc-fp.vhe": {"hw_save": 47, "task_fpsimd_load": 23, "fpsimd_bind_state_to_cpu": 1028},
    "kneon.vhe": {"hw_save": 1704, "task_fpsimd_load": 730, "kvm_arch_vcpu_put_fp": 214},
    "mmio-fp.vhe": {"hw_save": 612, "task_fpsimd_load": 303, "fpsimd_save_and_flush_cpu_state": 600},
    "mmio-int.vhe": {"hw_save": 311, "task_fpsimd_load": 303, "fpsimd_save_and_flush_cpu_state": 300},
}


@pytest.mark.parametrize("name", FPSIMD_ONLY)
def test_linux_6_14_predicts_the_recording_exactly(name: str) -> None:
    """Each save, load, flush, bind, vcpu_load and vcpu_put of the kernel is predicted, in order; nothing else is."""
    result = validate(open_trace(name), find_policy("linux-6.14"))
    assert result.exact, result.first
    assert result.excluded <= 2
    for what, count in OBSERVED[name].items():
        assert result.observed[what] == count
    assert result.predicted == result.observed


OBSERVED_BY_EMULATOR = ["guest-32bit.nvhe", "signals.vhe", "smp4-mixed.vhe"]


@pytest.mark.parametrize("name", OBSERVED_BY_EMULATOR)
def test_the_hypervisors_own_traps_are_predicted_too(name: str) -> None:
    """Where an emulator saw every run, nothing is unknown, and each FP trap of a guest is predicted where it was."""
    trace = open_trace(name)
    assert not np.isin(trace.event, list(MAYBE)).any()
    result = validate(trace, find_policy("linux-6.14"))
    assert result.exact, result.first
    assert result.excluded <= 2
    assert result.predicted == result.observed
    assert result.observed["guest_fp_trap"] == (trace.event == Truth.GUEST_FP_TRAP).sum() > 0


@pytest.mark.parametrize("name", OBSERVED_BY_EMULATOR)
def test_low_is_high_where_everything_was_seen(name: str) -> None:
    """No policy's figures depend on how the unknown is taken, since nothing is unknown."""
    comparison = compare(open_trace(name), policies().values(), load_profile("altra-vhe"))
    assert comparison.bound_low == comparison.bound_high
    for result in comparison.policies:
        assert result.low == result.high, result.name
        assert result.broken is None or result.name == "defer-to-put"


def test_a_trap_less_or_more_is_found() -> None:
    """Taking one of the hypervisor's traps out of a recording is reported as exactly that."""
    trace = open_trace("smp4-mixed.vhe")
    rows = np.flatnonzero(trace.event == Truth.GUEST_FP_TRAP)
    trace.event[rows[len(rows) // 2]] = Event.NONE
    assert dict(validate(trace, find_policy("linux-6.14")).extra) == {"guest_fp_trap": 1}


def test_another_policy_differs_and_the_first_difference_is_shown() -> None:
    """v4.18 does not flush at vcpu_load; the first place where that shows is the first load."""
    trace = open_trace("hvc-fp.vhe")
    result = validate(trace, find_policy("linux-4.18"))
    assert not result.exact
    assert result.missed["fpsimd_save_and_flush_cpu_state"] == 20
    assert result.first is not None
    assert result.first.observed[0].startswith("fpsimd_save_and_flush_cpu_state")
    flushes = np.flatnonzero(trace.event == Truth.FPSIMD_SAVE_AND_FLUSH_CPU_STATE)
    assert result.first.at == flushes[0]
    assert any(line.startswith(">") for line in around(trace, result.first))


@pytest.mark.parametrize("truth", [Truth.HW_SAVE, Truth.TASK_FPSIMD_LOAD, Truth.KVM_ARCH_VCPU_PUT_FP])
def test_one_line_too_few_or_too_many_is_found(truth: Truth) -> None:
    """Taking one observation out of a recording, or putting one in, is reported as exactly that."""
    trace = open_trace("mmio-fp.vhe")
    rows = np.flatnonzero(trace.event == truth)
    kept = trace.event.copy()
    trace.event[rows[len(rows) // 2]] = Event.NONE
    result = validate(trace, find_policy("linux-6.14"))
    assert dict(result.extra) == {truth.name.lower(): 1}
    assert not any(result.missed.values())
    trace.event[:] = kept
    trace.event[np.flatnonzero(trace.event == Event.SYSCALL)[-20]] = truth  # well before the end
    result = validate(trace, find_policy("linux-6.14"))
    assert sum(result.missed.values()) == 1


def test_a_trace_without_ground_truth_is_refused() -> None:
    """There is nothing to hold a prediction against; the error says what is needed."""
    bare: Trace = tiny.trace(tiny.START)
    with pytest.raises(FpstateError, match="no ground truth"):
        validate(bare, find_policy("linux-6.14"))


def test_sve_is_predicted_exactly() -> None:
    """Each SVE trap and each save in SVE form of the recorded 6.1 kernel is predicted; other hosts are not it."""
    trace = open_trace("sve.vhe")
    name = policy_of_kernel(trace)
    assert name == "linux-6.1.y"
    result = validate(trace, find_policy(name))
    assert result.exact, result.first
    assert result.observed["do_sve_acc"] == 236
    assert result.observed["hw_sve_save"] == 175
    assert result.predicted == result.observed
    assert not validate(trace, find_policy("linux-6.14")).exact
    assert not validate(trace, find_policy("linux-4.18")).exact


@given(st.lists(st.integers(0, 2), max_size=700), st.data())
@settings(max_examples=20, deadline=None)
def test_without_what_is_unequal_two_sequences_are_equal(first: list[int], data: st.DataObject) -> None:
    """Also where they are longer than what is aligned at a time; and nothing is unequal in equal ones."""
    second = list(first)
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, len(second)))
        second[at : at + data.draw(st.integers(0, 300))] = data.draw(st.lists(st.integers(0, 2), max_size=3))
    a, b = ([Deed(0, Truth.HW_SAVE, who, i) for i, who in enumerate(side)] for side in (first, second))
    unequal = list(_unequal(a, b))
    for i1, i2, j1, j2 in reversed(unequal):
        del first[i1:i2], second[j1:j2]
    assert first == second
    assert bool(unequal) == ([d.who for d in a] != [d.who for d in b])


def test_a_kernel_is_known_by_what_it_did() -> None:
    """Three stable series and v6.14 do the same where nobody uses SVE; that of the version comes first."""
    trace, told = open_trace("hvc-fp.vhe"), list[str]()
    tried = try_all(replace(trace, header=replace(trace.header, kernel="6.6.90")), told.append)
    exact = [each.policy.name for each in tried if each.result.exact]
    assert exact == ["linux-6.6.y", "linux-6.1.y", "linux-6.12.y", "linux-6.14"]
    wrong = [each.missed + each.extra for each in tried]
    assert wrong == sorted(wrong)
    assert wrong[4] > 0
    assert sorted(each.policy.name for each in tried) == told
    assert set(policies()) - set(told) == {
        "adaptive", "adaptive-dirty", "adaptive-wiped", "defer-to-put", "first-class", "first-class-dirty",
        "first-class-sme", "hafnium", "mark-foreign", "nuttx", "save-on-entry", "sme-guest-v12", "sve-timeout",
        "sve-timeout-syscall", "thread-handoff", "zephyr", "zircon",
    }  # fmt: skip


def test_a_return_without_the_reload_it_would_need_did_not_happen() -> None:
    """It is inferred from silence; still a policy that forgets to mark foreign is caught."""
    trace = open_trace("sve.vhe")

    class NeverForeign(find_policy("linux-6.1.y")):  # type: ignore[misc]
        name = "never-foreign"

        def thread_switch(self, cpu: Any, task: Any, then: Any) -> None:
            self.fpsimd_save(cpu, task)
            then.foreign = False

    assert not validate(trace, NeverForeign).exact


@pytest.mark.parametrize(
    ("kernel", "policy"),
    [("6.1.0-55-arm64", "linux-6.1.y"), ("6.12.94", "linux-6.12.y"), ("6.13.2", "linux-6.14"),
     ("7.3.4", "linux-7.2"), ("7.1", "linux-6.19"), ("4.9.1", "trap-per-entry")],
)  # fmt: skip
def test_a_recording_is_held_against_its_own_kernel(kernel: str, policy: str) -> None:
    trace = open_trace("contended.vhe")
    named = replace(trace, header=replace(trace.header, kernel=kernel))
    assert policy_of_kernel(named) == policy


@pytest.mark.parametrize("percent", [40, 70])
@pytest.mark.parametrize("name", ["hotplug.vhe", "kneon.vhe"])
def test_a_recording_that_stops_is_no_difference(name: str, percent: int, tmp_path: Path) -> None:
    """Cut anywhere, it ends in the middle of what some event did."""
    with gzip.open(resources.files("fpstate.traces") / f"samples/{name}.trace.txt.gz", "rt") as whole:  # type: ignore[call-overload]
        lines = whole.read().splitlines(keepends=True)
    path = tmp_path / "cut.txt"
    path.write_text("".join(lines[: len(lines) * percent // 100]))
    trace = read_trace(path)
    found = validate(trace, find_policy(policy_of_kernel(trace)))
    assert found.exact
    assert found.excluded < 20


IDLE_TO_A = (
    "sched_switch: prev_comm=swapper prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=a next_pid=7 next_prio=1"
)
A_TO_IDLE = (
    "sched_switch: prev_comm=a prev_pid=7 prev_prio=1 prev_state={} ==> next_comm=swapper next_pid=0 next_prio=120"
)
RELOADS, USES = "fpsimd_restore_current_state <-exit_to_user_mode_loop", "user_run: fp=1 sve=0 traps=0"
LATE = (
    *(("<idle>-0", 1, IDLE_TO_A), ("a-7", 1, "sys_exit: NR 260 = 1"), ("a-7", 1, RELOADS), ("a-7", 1, USES)),
    *(("a-7", 1, "sys_enter: NR 260 (1, 2, 3, 0, 0, 0)"), ("a-7", 1, A_TO_IDLE.format("S"))),
    *(("a-7", 1, "hw_save: (fpsimd_save_user_state+0x254/0x320)"), ("<idle>-0", 0, IDLE_TO_A)),
    *(("a-7", 0, "sys_exit: NR 260 = 1"), ("a-7", 0, A_TO_IDLE.format("R")), ("<idle>-0", 1, IDLE_TO_A)),
    *(("a-7", 1, RELOADS), ("a-7", 1, USES), ("a-7", 1, "sys_enter: NR 129 (1, 2, 3, 0, 0, 0)")),
    *(("a-7", 1, "sys_exit: NR 129 = 0"), ("a-7", 1, USES), ("a-7", 1, "sys_enter: NR 129 (1, 2, 3, 0, 0, 0)")),
)
"""As 7.3.4 was recorded: `a` goes on where its registers are, after it was found that they were elsewhere."""


@pytest.mark.parametrize(("missing", "late"), [("task_fpsimd_load", 1), ("kernel_neon_begin", 0)])
def test_a_reload_called_by_a_flag_read_before_a_switch(missing: str, late: int, tmp_path: Path) -> None:
    """It may have done nothing, where no line of a load could tell; where one could, it differs."""
    path = tmp_path / "late.txt"
    head = ["# tracer: function", "kernel=7.3.4", "observed=user guest", f"missing={missing}"]
    lines = [f"{who:>16} [{cpu:03}] ..... 1.{i:06}: {what}" for i, (who, cpu, what) in enumerate(LATE)]
    path.write_text("\n# fpstate: ".join(head) + "\n" + "\n".join(lines) + "\n")
    found = validate(read_trace(path), find_policy("linux-7.2"))
    assert (found.exact, found.late) == (bool(late), late)
    assert any("flags that were read before a switch" in sentence for sentence in found.sentences()) == bool(late)
    assert found.to_json()["excluded"] >= late
