"""Two policies side by side: what is the same under both, and what is not."""

from __future__ import annotations

import pytest

from fpstate.check.lockstep import Comparison, compare_policies
from fpstate.check.mutants import work_of
from fpstate.check.run import search_for
from fpstate.paths.properties import DEFAULT, bits_of
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import bugs, find_policy
from fpstate.rows.learn import Rows
from fpstate.world.operations import N_LOAD_GUEST, N_LOAD_HOST

SMALL = Scope(1, 1, 1)


def compared(a: type[Policy], b: type[Policy], scope: Scope = SMALL) -> Comparison:
    return compare_policies(Rows(a), Rows(b), scope)


@pytest.mark.parametrize(("name", "features"), [("linux-4.18", []), ("first-class", []), ("linux-6.14", ["sve"])])
def test_a_policy_does_what_it_does(name: str, features: list[str]) -> None:
    """Beside itself nothing differs, in as many pairs of worlds as a search of it reaches, unfolded."""
    policy = with_features(find_policy(name), features)
    found = compared(policy, policy)
    assert (found.complete, found.apart, found.operations, found.traps) == (True, False, 0, 0)
    assert work_of(found) == "the same operations on other places"
    search = search_for(Rows(policy), SMALL, bits_of(DEFAULT), fold=False, cores=1, zeros=True)
    states = search.run(1_000_000).states
    assert states * 0.99 <= found.pairs <= states


def test_what_is_kept_in_the_books_alone_is_no_difference() -> None:
    """A flag that nobody looks at changes nothing that others can see."""
    right = find_policy("linux-4.18")

    class Noting(right):  # type: ignore[misc, valid-type]
        name = "noting"

        class Task(right.Task):  # type: ignore[name-defined, misc]
            been_here: bool = False

        def ret_to_user(self, cpu: Policy.Cpu, task: Noting.Task) -> None:
            super().ret_to_user(cpu, task)
            task.been_here = True

    found = compared(right, Noting)
    assert (found.apart, found.operations, found.traps) == (False, 0, 0)
    assert found.pairs > compared(right, right).pairs


def test_a_load_that_nobody_needs_is_counted() -> None:
    """Twice as many loads as it takes: the same values, more work, and nothing is called wrong."""
    right = find_policy("eager")

    class Twice(right):  # type: ignore[misc, valid-type]
        name = "twice"

        def guest_enter(self, cpu: Policy.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
            super().guest_enter(cpu, task, vcpu)
            cpu.load(vcpu)

    found = compared(right, Twice)
    assert (found.apart, found.traps) == (False, 0)
    assert found.operations == found.more[N_LOAD_GUEST] > 0
    assert sum(found.more) == found.more[N_LOAD_GUEST]
    assert not any(found.fewer)
    assert work_of(found) == "loads more"


def test_a_trap_more_is_told_apart_from_a_load_more() -> None:
    """trap-per-entry takes a trap where eager has loaded before: the guest's use comes about all the same."""
    found = compared(find_policy("eager"), find_policy("trap-per-entry"))
    assert not found.apart
    assert found.traps > 0
    assert found.fewer[N_LOAD_HOST] > 0
    assert work_of(found).endswith(", traps on other uses")


def test_a_policy_that_corrupts_is_apart_from_one_that_does_not() -> None:
    """Where one of the two goes wrong there is nothing more to compare."""
    bug = bugs()["A6"]
    scope = Scope(bug.cpus, bug.tasks, bug.vcpus, bug.kthreads, bug.events)
    assert compared(bug.fixed, bug.faulty, scope).apart
    assert compared(bug.faulty, bug.fixed, scope).apart


def test_a_comparison_that_is_cut_short_says_so() -> None:
    """A bound on the pairs of worlds is no answer."""
    rows = Rows(find_policy("first-class"))
    assert not compare_policies(rows, rows, Scope(2, 2, 1), max_pairs=1000).complete
