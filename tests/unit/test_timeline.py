"""What a policy does along a trace, event by event: the sums are those of `compare`, the stretches fill the trace."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fpstate.costs import load_profile, profile_names
from fpstate.policies.catalogue import find_policy
from fpstate.replay.compare import compare, figures, repriced
from fpstate.replay.engine import replay
from fpstate.replay.timeline import by_context, cycles, decision, longest, sources, stretches, timeline, whose
from fpstate.traces.samples import open_trace

PROFILE = load_profile("altra-vhe")


@pytest.mark.parametrize(
    ("sample", "policy"), [("contended.vhe", "linux-4.18"), ("sve.vhe", "linux-6.14"), ("smp4-mixed.vhe", "riscv-kvm")]
)
@pytest.mark.parametrize("maybe", [False, True])
def test_the_sums_are_those_of_the_comparison(sample: str, policy: str, maybe: bool) -> None:
    trace = open_trace(sample)
    line = timeline(trace, find_policy(policy), maybe=maybe)
    whole = figures(replay(trace, line.rows, maybe=maybe), PROFILE)
    assert cycles(line, PROFILE)[-1] == pytest.approx(whole.cycles)
    for found in (sources(trace, line), by_context(trace, line)):
        for what in ("saves", "loads", "traps"):
            assert sum(getattr(s, what) for s in found) == getattr(whole, what) > (0 if what != "traps" else -1)
        for op, times in whole.charged.items():
            assert sum(s.charged[op] for s in found) == pytest.approx(times)


def test_what_a_guest_makes_a_policy_do_is_counted_at_its_vcpu() -> None:
    trace = open_trace("contended.vhe")
    found = {s.name: s for s in by_context(trace, timeline(trace, find_policy("linux-6.14")))}
    assert sum(s.traps for name, s in found.items() if name.startswith("vcpu of ")) == sum(
        s.traps for s in found.values()
    )
    assert found["vcpu of vmm-107"].traps > 100


def test_stretches_fill_each_cpu_from_the_first_row_to_the_last() -> None:
    trace = open_trace("contended.vhe")
    line = timeline(trace, find_policy("linux-6.14"))
    for cpu in range(2):
        found = list(stretches(trace, line, cpu))
        assert found[0][1] == trace.time[0]
        assert found[-1][2] == trace.time[-1]
        for (_, _, end), (_, begin, _) in itertools.pairwise(found):
            assert end == begin
        if cpu == 0:  # all but what starts the machine runs there
            assert any(whose(trace, owner).startswith("vcpu of ") for owner, *_ in found)
            assert len(found) > 100


@pytest.mark.parametrize("parts", [1, 7, 400])
def test_who_held_a_part_longest_is_found_by_adding_up(parts: int) -> None:
    """Against a sample of ten thousand instants."""
    trace = open_trace("hotplug.vhe")
    line = timeline(trace, find_policy("linux-6.14"))
    for cpu in range(2):
        found = longest(trace, line, cpu, parts)
        owners, begins, _ = zip(*stretches(trace, line, cpu), strict=True)
        instants = np.linspace(int(trace.time[0]), int(trace.time[-1]), 10_000 * parts, endpoint=False)
        held = np.array(owners)[np.searchsorted(np.array(begins), instants, side="right") - 1].reshape(parts, -1)
        assert len(found) == parts
        for owner, sampled in zip(found, held, strict=True):
            names, times = np.unique(sampled, return_counts=True)
            assert times[names == owner].sum() >= times.max() - 20


def test_after_a_guest_used_fp_its_values_are_in_the_registers() -> None:
    trace = open_trace("contended.vhe")
    line = timeline(trace, find_policy("linux-6.14"))
    uses = [i for i, at in enumerate(line.at) if trace.event[at] == 10]
    assert len(uses) > 100
    for i in uses:
        assert whose(trace, int(line.owner[i])) == trace.contexts.label(int(trace.object[line.at[i]]))


def test_the_row_that_decided_is_told_with_its_place() -> None:
    line = timeline(open_trace("contended.vhe"), find_policy("linux-6.14"))
    first = int(np.flatnonzero(line.done[:, 0])[0])
    rule, where = decision(line, int(line.row[first]))
    assert any(then.startswith("save ") for then in rule.then)
    assert where.rpartition(":")[0].endswith(".py")


def test_another_profile_gives_what_a_comparison_by_it_gives() -> None:
    trace = open_trace("contended.vhe")
    asked = [find_policy(name) for name in ("eager", "linux-6.14", "defer-to-put")]
    by_first = compare(trace, asked, PROFILE)
    others = [name for name in profile_names() if name != PROFILE.name]
    assert others
    for name in others:
        assert repriced(by_first, load_profile(name)) == compare(trace, asked, load_profile(name))
