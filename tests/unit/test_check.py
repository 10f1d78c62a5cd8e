"""The checker: verdicts, shortest paths, folding, codes, bounds, and that it can fail."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from fpstate.check.run import HOLDS, INCOMPLETE, NOT_REACHED, VIOLATED, check, replay_path, search_for
from fpstate.errors import FpstateError
from fpstate.paths.order import NEON_BEGIN, NEON_END, SOFTIRQ
from fpstate.paths.properties import DEFAULT, bits_of
from fpstate.paths.scope import Scope, kinds_of
from fpstate.policies.base import Policy
from fpstate.policies.catalogue import find_policy
from fpstate.policies.host_deferred import DeferredHost
from fpstate.rows.learn import Rows

HOST_EVENTS = ("thread_switch", "ret_to_user", "user_fp", "syscall", "softirq_neon_begin")


class Host(DeferredHost):
    name = "host"


class NeverLoads(Policy):
    name = "never-loads"


@pytest.mark.parametrize(("tasks", "states"), [(2, 1598), (3, 20262), (4, 215968)])
def test_the_number_of_states_is_what_spin_finds(tasks: int, states: int) -> None:
    """SPIN on benchmarks/deferred.pml, the same model written by hand, stores as many states and its two first ones."""
    result = check(Host, Scope(2, tasks, 0, 0, HOST_EVENTS), fold=False)
    assert (result.verdict, result.states) == (HOLDS, states)


@pytest.mark.parametrize("scope", [Scope(2, 1, 2), Scope(2, 3, 0), Scope(1, 2, 2)])
def test_folding_finds_the_same_with_fewer_states(scope: Scope) -> None:
    """Folded names make states fewer by as many renamings as there are at most, at the same depth; verdicts agree."""
    rows = Rows(find_policy("linux-4.18"), interruptible=True)
    modes = [(True, True), (True, False), (False, False)]
    folded, named, whole = (
        search_for(rows, scope, bits_of(DEFAULT), fold=fold, cores=1, zeros=False, forget=forget).run(10_000_000)
        for fold, forget in modes
    )
    assert folded.complete
    assert folded.violation is named.violation is whole.violation is None
    assert named.depth == whole.depth
    assert folded.states * 2 < named.states < whole.states <= named.states * 24


@pytest.mark.parametrize("cores", [1, 2])
def test_the_result_does_not_depend_on_threads(cores: int) -> None:
    """One core or two: the same states, the same path."""
    result = check(find_policy("defer-to-put"), Scope(2, 2, 1), cores=cores)
    assert result.path is not None
    assert result.path.code == check(find_policy("defer-to-put"), Scope(2, 2, 1), cores=3 - cores).path.code  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name",
    [
        "eager",
        pytest.param("trap-per-entry", marks=pytest.mark.long),
        "save-on-entry",
        "mark-foreign",
        "linux-4.18",
        "first-class",
    ],
)
def test_the_policies_hold_with_all_events(name: str) -> None:
    """Every order of all events at 2 CPUs, 2 tasks, 1 vCPU: nothing corrupts, leaks or traps in vain."""
    result = check(find_policy(name), Scope(2, 2, 1))
    assert result.verdict == HOLDS


def test_linux_6_14_holds_with_preemptible_neon() -> None:
    """Kernel-mode NEON as a context of its own, preempted and migrated: 2 CPUs, a task, a vCPU, a kernel thread."""
    assert check(find_policy("linux-6.14"), Scope(2, 1, 1, 1)).verdict == HOLDS


def test_defer_to_put_as_posted_fails_and_holds_without_kernel_neon() -> None:
    """The hazard of the patch: a softirq uses NEON while guest registers are live; nothing else breaks it."""
    policy = find_policy("defer-to-put")
    result = check(policy, Scope(1, 1, 1))
    assert result.verdict == VIOLATED
    assert result.path is not None
    assert [s.event for s in result.path.steps][4:] == [
        "guest_fp", "guest_exit", "softirq_neon_begin", "guest_enter", "guest_fp",
    ]  # fmt: skip
    assert "defer_to_put.py" in result.path.blame
    assert check(policy, Scope(2, 2, 1, 0, ("-neon",))).verdict == HOLDS


def test_a_path_code_replays_to_the_same_end() -> None:
    """The code alone leads to the violation again, and a part of it to none."""
    policy, scope = find_policy("defer-to-put"), Scope(1, 1, 1)
    found = check(policy, scope)
    assert found.path is not None
    again = replay_path(policy, scope, found.path.code)
    assert (again.verdict, again.property) == (found.verdict, found.property)
    assert again.path is not None
    assert again.path.steps == found.path.steps
    assert replay_path(policy, scope, found.path.code.rpartition("/")[0]).verdict == NOT_REACHED


def test_a_wrong_code_says_which_moves_there_were() -> None:
    """A code made for another policy or scope is refused with the step and what could have been."""
    with pytest.raises(FpstateError, match="step 2 is '99'"):
        replay_path(Host, Scope(1, 1, 0), "0/99")


def test_the_bound_on_states_is_never_green() -> None:
    """Too few states allowed: incomplete."""
    assert check(find_policy("linux-4.18"), Scope(2, 2, 1), max_states=1000).verdict == INCOMPLETE


def test_a_search_in_which_nothing_ran_is_not_reached() -> None:
    """Without return to user mode there is no use, and a search without uses shows nothing."""
    result = check(Host, Scope(1, 1, 0, 0, ("all", "-ret_to_user", "-user_fp")))
    assert result.verdict in (HOLDS, NOT_REACHED)
    hidden = check(find_policy("linux-4.18"), Scope(1, 1, 1, 0, ("all", "-guest_enter")))
    assert (hidden.verdict, hidden.missing) == (NOT_REACHED, ("guest_fp",))


def test_the_shortest_path_of_doing_nothing() -> None:
    """A policy without handlers: the first task that runs reads what is nobody's, in three steps."""
    result = check(NeverLoads, Scope(1, 1, 0, 0, ("base",)))
    assert (result.verdict, result.property, result.depth) == (VIOLATED, "integrity", 3)
    # Of what goes wrong after four steps, the gravest is shown: a softirq's values are a leak, lost ones are not.
    for events, name in ((("base", "pm"), "integrity"), (("base", "pm", "neon"), "confidentiality")):
        graver = check(NeverLoads, Scope(1, 1, 0, 0, events, "initial"))
        assert (graver.verdict, graver.property, graver.depth) == (VIOLATED, name, 4)


def test_scopes_and_names_are_checked() -> None:
    """Impossible scopes and unknown names are refused."""
    for cpus, tasks, vcpus in ((0, 1, 0), (9, 1, 0), (1, 0, 0), (1, 1, 9)):
        with pytest.raises(FpstateError):
            Scope(cpus, tasks, vcpus)
    with pytest.raises(FpstateError, match="did you mean 'hotplug'"):
        kinds_of(("hotplugg",))
    with pytest.raises(FpstateError, match="unknown property"):
        check(Host, Scope(1, 1, 0), properties=("integritty",))
    assert kinds_of(("-neon",)) == kinds_of(("all",)) & ~(1 << SOFTIRQ | 1 << NEON_BEGIN | 1 << NEON_END)


def test_transient_exposure_is_a_property_lazy_policies_give_up() -> None:
    """Guest code runs with the host's values behind nothing but a trap: so linux-4.18 says itself."""
    policy = find_policy("linux-4.18")
    result = check(policy, Scope(1, 1, 1), properties=(*DEFAULT, "transient-exposure"))
    assert (result.verdict, result.property) == (VIOLATED, "transient-exposure")
    assert "transient exposure" in policy.gives_up


SCRIPT = """
from fpstate.check.lockstep import compare_policies
from fpstate.check.run import check
from fpstate.paths.scope import Scope
from fpstate.policies.catalogue import find_policy
from fpstate.rows.learn import Rows
for name, scope in (("defer-to-put", Scope(1, 1, 1)), ("linux-6.14", Scope(1, 1, 1)), ("first-class", Scope(1, 1, 0))):
    r = check(find_policy(name), scope, cores=1)
    print(name, r.verdict, r.property, r.states, r.moves, r.depth, r.path.code if r.path else "")
print(compare_policies(Rows(find_policy("eager")), Rows(find_policy("linux-4.18")), Scope(1, 1, 0)))
"""


@pytest.mark.long
def test_compiled_and_interpreted_searches_agree() -> None:
    """The same source, compiled and by the interpreter, finds the same states and the same path."""
    printed = []
    for disabled in ("0", "1"):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disabled, "PYTHONWARNINGS": "ignore"}
        words = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        printed.append(done.stdout)
    assert printed[0] == printed[1]
    assert "violated" in printed[0]


def test_a_flag_that_vouches_for_another_s_registers_is_found() -> None:
    """What is wrong with defer-to-put before any kernel NEON: the host's books call the guest's registers its own."""
    found = check(find_policy("defer-to-put"), Scope(1, 1, 1), properties=["false-native"])
    assert (found.verdict, found.path.steps[-1].event if found.path else "") == (VIOLATED, "guest_exit")
    assert check(find_policy("linux-4.18"), Scope(1, 2, 1), properties=["false-native"]).verdict == HOLDS
    with pytest.raises(FpstateError, match="has none"):
        check(find_policy("linux-3.14"), Scope(1, 1, 1), properties=["false-native"])


def test_a_scope_is_smaller_if_it_lacks_anything() -> None:
    """Fewer of one kind, or an event that cannot happen; more events than the other has are no lack."""
    whole, basic = Scope(2, 2, 1), Scope(2, 2, 1, events=("base",))
    assert not whole.smaller_than(whole)
    assert basic.smaller_than(whole)
    assert not whole.smaller_than(basic)
    assert Scope(2, 1, 1).smaller_than(whole)
    assert not Scope(2, 2, 2).smaller_than(whole)


@pytest.mark.parametrize("what", ["lost-update", "stale-pair"])
@pytest.mark.parametrize("bug", ["A1", "A3", "A8"])
def test_whichever_is_broken_first_is_found_first(bug: str, what: str) -> None:
    """A property of states, or one of moves from such a state: the path to the state is the shorter one."""
    policy, scope = find_policy(bug), Scope(2, 2, 0)
    both, states, moves = (check(policy, scope, properties=p) for p in ((*DEFAULT, what), (what,), DEFAULT))
    assert both.depth == min(r.depth for r in (states, moves) if r.verdict == VIOLATED)
