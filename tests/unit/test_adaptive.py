"""What `adaptive` and its kin learn from, and what they do with it."""

from __future__ import annotations

import numpy as np
import pytest

from fpstate.check.run import HOLDS, VIOLATED, check
from fpstate.paths.scope import Scope
from fpstate.policies.adaptive import MOST, Adaptive
from fpstate.policies.adaptive_dirty import AdaptiveDirty
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import find_policy
from fpstate.policies.first_class import FirstClass
from fpstate.policies.host_format import Form, FormatHost
from fpstate.replay.engine import Outcome, replay
from fpstate.rows.decisions import decision_table
from fpstate.rows.learn import Rows
from fpstate.world.events import Event as E
from fpstate.world.operations import N_CLEAR, N_GUEST_TRAP, N_IPI, N_LOAD_GUEST, N_SAVE_GUEST, N_SAVE_HOST, N_USER_TRAP
from tests import tiny
from tests.golden.test_every_policy import cut_short
from tests.tiny import KTHREAD, LOAD, VMM


def outcome(steps: list[tiny.Step], policy: str = "adaptive", cpus: list[int] | None = None) -> Outcome:
    trace = tiny.trace(steps)
    if cpus:
        trace.cpu[:] = np.array(cpus)
        trace.header.cpus = 2
    found = replay(trace, Rows(find_policy(policy)), maybe=True)
    assert found.wrong == 0
    return found


def runs(times: int, *, fp: bool = True) -> list[tiny.Step]:
    """As many KVM_RUNs, after each of which the VMM uses FP."""
    return tiny.kvm_run(1, fp=fp) * times


def test_a_task_traps_once_and_is_loaded_from_then_on() -> None:
    """One user trap for the VMM, however often its guest takes the registers."""
    assert outcome(tiny.START + runs(5)).counts[N_USER_TRAP] == 1


def test_a_task_without_fp_moves_nothing() -> None:
    """The guest stays in the registers over exits to a VMM that does not use FP."""
    without = [step for step in runs(5) if step[0] != E.USER_FP]
    found = outcome([(E.THREAD_SWITCH, tiny.IDLE, VMM), (E.RET_TO_USER, VMM), *without])
    assert (found.counts[N_LOAD_GUEST], found.counts[N_GUEST_TRAP], found.counts[N_SAVE_HOST]) == (1, 1, 0)


def test_a_vcpu_is_probed_soon_and_then_seldom() -> None:
    """One trap, six loads in advance, the probe that finds a use, and then 29 loads to each probe."""
    ahead = Adaptive.first - 2
    traps = [int(outcome(tiny.START + runs(n)).counts[N_GUEST_TRAP]) for n in (1 + ahead, 2 + ahead, MOST + ahead, 60)]
    assert traps == [1, 2, 2, 3]


def test_a_probe_without_a_use_ends_the_loads() -> None:
    """A guest that stops using FP costs six loads more, and nothing after."""
    quiet = outcome(tiny.START + runs(1) + runs(40, fp=False)).counts
    assert (quiet[N_GUEST_TRAP], quiet[N_LOAD_GUEST]) == (1, Adaptive.first - 1)


def test_a_child_is_taken_for_what_its_parent_is_until_exec() -> None:
    """A fork copies what was learned; a new program has to show itself."""
    child: list[tiny.Step] = [(E.SYSCALL, VMM), (E.FORK, VMM, LOAD), (E.THREAD_SWITCH, VMM, LOAD)]
    uses: list[tiny.Step] = [(E.RET_TO_USER, LOAD), (E.USER_FP, LOAD)]
    assert outcome([*tiny.START, *child, *uses]).counts[N_USER_TRAP] == 1
    assert outcome([*tiny.START, *child, (E.EXEC, LOAD), *uses]).counts[N_USER_TRAP] == 2


def test_a_copy_that_is_out_of_date_does_not_hide_where_a_vcpu_was_left_dirty() -> None:
    """Put where an old copy of it lies, the vCPU is still known to be dirty elsewhere, so its end is no stale save."""
    scope = Scope(2, 1, 1, 0, ("thread_switch", "kvm", "softirq_neon_begin", "vcpu_free"))
    assert check(cut_short(AdaptiveDirty), scope, cores=1).verdict == HOLDS


AWAY: list[tiny.Step] = [
    (E.SYSCALL, VMM), (E.THREAD_SWITCH, VMM, KTHREAD), (E.THREAD_SWITCH, KTHREAD, VMM), (E.RET_TO_USER, VMM),
    (E.USER_FP, VMM),
]  # fmt: skip


def test_a_cpu_to_which_all_come_back_stops_saving() -> None:
    """After as many saves in vain as a settled CPU takes, the task is left dirty."""
    times = 3 * AdaptiveDirty.settled
    assert outcome(tiny.START + AWAY * times).counts[N_SAVE_HOST] == times
    assert outcome(tiny.START + AWAY * times, "adaptive-dirty").counts[N_SAVE_HOST] == AdaptiveDirty.settled


@pytest.mark.parametrize(("stays", "interrupts"), [(1, 0), (AdaptiveDirty.settled + 1, 1)])
def test_only_who_was_left_dirty_is_fetched_by_an_interrupt(stays: int, interrupts: int) -> None:
    """Saved on leaving, a task moves to the other CPU without one; and there it is saved again."""
    stay = tiny.START + AWAY * stays + AWAY[:2]
    there: list[tiny.Step] = [(E.THREAD_SWITCH, KTHREAD, VMM), (E.RET_TO_USER, VMM), (E.USER_FP, VMM), *AWAY[:2]]
    there[0] = (E.THREAD_SWITCH, tiny.IDLE, VMM)
    found = outcome(stay + there, "adaptive-dirty", [0] * len(stay) + [1] * len(there))
    assert (found.counts[N_IPI], found.counts[N_SAVE_HOST]) == (interrupts, min(stays, AdaptiveDirty.settled) + 2)


def test_nothing_foreign_lies_behind_a_trap_of_adaptive_wiped() -> None:
    """The same scope in which adaptive exposes the host's registers to its guest."""
    scope = Scope(1, 1, 1, 0, ("base", "kvm", "neon"))
    for name, verdict in (("adaptive", VIOLATED), ("adaptive-wiped", HOLDS)):
        assert check(find_policy(name), scope, properties=["transient-exposure"], cores=1).verdict == verdict


def test_wiping_costs_a_clear_for_each_run_of_a_guest_without_fp() -> None:
    """The VMM's registers go and come back, which adaptive leaves where they are."""
    for name, clears in (("adaptive", 0), ("adaptive-wiped", 5)):
        found = outcome(tiny.START + runs(5, fp=False), name).counts
        assert (found[N_CLEAR] - (name == "adaptive-wiped"), found[N_SAVE_GUEST]) == (clears, 0)


def test_the_table_joins_values_of_a_counter_that_lead_to_the_same() -> None:
    """All loads in advance are one rule, whose step is said; probing is another."""
    rules = [r for r in decision_table(find_policy("adaptive")) if r.event == "guest_enter"]
    at = {r.when[-1]: r.then for r in rules if r.when[0] == "cpu.last_state = none"}
    assert at["vcpu.load_fp = 0 to 1"] == ("cpu.guest_fp_trap := True",)
    assert at["vcpu.load_fp = 2"] == ("vcpu.load_fp := 1", "cpu.guest_fp_trap := True")
    ahead = next(r for r in rules if r.when[:2] == ("cpu.last_state = none", f"vcpu.load_fp = 3 to {MOST}"))
    assert ahead.then[:2] == ("load vcpu", "vcpu.load_fp := 1 less")


def test_an_image_that_is_right_in_sve_form_stays_so() -> None:
    """A task that ran behind a trap elsewhere is back, in a system call, and leaves again: nothing is to be saved."""
    base = find_policy("examples/any_learning.py:AnyLearningDirty")

    class Faulty(base):  # type: ignore[misc,valid-type]
        """It notes how it is to be saved, and so how it was saved, whether it is or not."""

        name = "notes-too-much"

        def thread_switch(self, cpu: FirstClass.Cpu, task: FormatHost.Task, next: FormatHost.Task) -> None:  # noqa: A002
            super().thread_switch(cpu, task, next)
            if task.fpsimd_cpu is cpu and cpu.last_state is task and not cpu.sm and not cpu.za:
                task.fp_type = Form.SVE if task.tif_sve and not task.in_syscall else Form.FPSIMD

    scope = Scope(2, 1, 0, 0, ("base", "signals", "user_sve"))
    verdicts = [check(with_features(policy, ["sve"]), scope).verdict for policy in (base, Faulty)]
    assert verdicts == [HOLDS, VIOLATED]


def test_a_trap_is_lifted_by_a_barrier_before_registers_are_loaded_behind_it() -> None:
    """On the way to user mode, too: the trap may be another task's, or learning came otherwise."""
    base = find_policy("examples/any_learning.py:AnyLearning")

    class Hasty(base):  # type: ignore[misc,valid-type]
        """It lifts the trap, and loads at once."""

        name = "hasty"

        def ret_to_user(self, cpu: FirstClass.Cpu, task: Adaptive.Task) -> None:
            if self.task_uses_fp(cpu, task):
                cpu.user_fp_trap = False
                FirstClass.ret_to_user(self, cpu, task)
            else:
                super().ret_to_user(cpu, task)

    verdicts = [check(with_features(policy, ["barriers"]), Scope(1, 2, 1)).verdict for policy in (base, Hasty)]
    assert verdicts == [HOLDS, VIOLATED]


def test_fpexc_is_loaded_again_where_it_was_forced_for_another_guest() -> None:
    class Forced(FirstClass):
        """It takes FPEXC for live with the rest of the registers."""

        name = "forced"

        def guest_enter(self, cpu: FirstClass.Cpu, task: FormatHost.Task, vcpu: FirstClass.Vcpu) -> None:
            live = self.resident(cpu, vcpu)
            self.arm_guest_traps(cpu, vcpu, live)
            if live:
                cpu.unsaved = True

    scope = Scope(1, 1, 2)
    verdicts = [check(with_features(policy, ["aarch32"]), scope).verdict for policy in (FirstClass, Forced)]
    assert verdicts == [HOLDS, VIOLATED]
