"""Holes: every way is looked at or ruled out for a reason, and what is found is the cheapest that holds."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fpstate.check.run import HOLDS, check
from fpstate.costs import load_profile
from fpstate.errors import FpstateError
from fpstate.named import chosen
from fpstate.paths.asked import asked_of
from fpstate.paths.scope import Scope
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import bugs, find_policy
from fpstate.policies.holes import completed, hole, holes_of
from fpstate.search.edits import edits
from fpstate.search.fill import fill
from fpstate.search.judge import GOOD, WRONG, ByFeatures, Judge, Measure, measure
from fpstate.search.open import Ways
from fpstate.search.repair import methods_of, repair
from fpstate.search.written import written
from fpstate.traces.samples import open_trace

A_GUEST = Scope(1, 1, 1)

SKELETON = """
from fpstate.policies.base import Context, Policy
from fpstate.policies.holes import hole


class Eager(Policy):
    name = "eager-with-holes"
    saves = hole(
        False, True
    )
    loads = hole("at switch", "never")
    spare = hole(0, 1, 2)  # nobody asks for it

    def thread_switch(self, cpu, task, next):
        if self.saves:
            cpu.save(task)
        if self.loads == "at switch":
            cpu.load(next)

    def exec(self, cpu, task):
        cpu.overwrite(task)
        cpu.load(task)

    def fork(self, cpu, task, child):
        cpu.save(task)

    def ptrace_write(self, cpu, task, tracee):
        cpu.edit(tracee)

    def kernel_neon_begin(self, cpu, task):
        cpu.save(task)

    def kernel_neon_end(self, cpu, task):
        cpu.load(task)

    def signal(self, cpu, task):
        cpu.save(task)

    def sigreturn(self, cpu, task):
        cpu.overwrite(task)
        cpu.load(task)
"""


@pytest.fixture(scope="module")
def trained() -> Measure:
    return measure([open_trace("kneon.vhe")], load_profile("altra-vhe"))


@pytest.fixture
def skeleton(tmp_path: Path) -> Any:
    file = tmp_path / "skeleton.py"
    file.write_text(SKELETON)
    return chosen(f"{file}:Eager")


def test_holes_are_known_and_read_as_their_first_choice(skeleton: Any) -> None:
    assert {name: each.choices for name, each in holes_of(skeleton).items()} == {
        "saves": (False, True),
        "loads": ("at switch", "never"),
        "spare": (0, 1, 2),
    }
    assert (skeleton().saves, skeleton().loads) == (False, "at switch")
    filled = completed(skeleton, {"saves": True})
    assert [getattr(filled(), name) for name in ("saves", "loads")] == [True, "at switch"]
    assert list(filled.completion.asked) == ["saves", "loads"]  # type: ignore[attr-defined]


def test_a_hole_leaves_something_open() -> None:
    for choices in ((), (1,), (1, 2, 1)):
        with pytest.raises(FpstateError, match="leaves nothing open"):
            hole(*choices)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(2, 3), min_size=1, max_size=4), st.data())
def test_each_way_is_yielded_once_unless_it_is_ruled_out(sizes: list[int], data: st.DataObject) -> None:
    """Whatever is ruled out meanwhile never comes, and all that is not does."""
    choices = {f"h{i}": range(n) for i, n in enumerate(sizes)}
    ways = Ways(choices)
    came: list[dict[str, int]] = []
    ruled_out: list[dict[str, int]] = []
    for values in ways:
        assert not any(all(values[n] == v for n, v in each.items()) for each in ruled_out)
        came.append(values)
        names = data.draw(st.lists(st.sampled_from(list(choices)), unique=True))
        if names:
            ruled_out.append({name: values[name] for name in names})
            ways.rule_out(values, names)
            assert not ways.is_open(values)
    every = [dict(zip(choices, each, strict=True)) for each in itertools.product(*choices.values())]
    left = [v for v in every if not any(all(v[n] == x for n, x in each.items()) for each in ruled_out)]
    assert ways.count == len(every)
    assert all(v in came for v in left)
    assert len(came) == len({tuple(v.items()) for v in came})


def test_no_hole_asked_for_rules_out_everything() -> None:
    ways = Ways({"a": (1, 2), "b": (1, 2)})
    came = []
    for values in ways:
        came.append(values)
        ways.rule_out(values, ())
    assert len(came) == 1


def test_the_one_way_that_holds_is_found(skeleton: Any, trained: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found after each wrong one was looked at once, however many values a hole nobody asks for has."""
    monkeypatch.setattr(Measure, "ratio", lambda *_: 2.0)  # it has no guests, the recordings have
    found = fill(Judge(skeleton, trained, [(Scope(1, 2, 0), ())], cores=1), keep=3, most=100)
    assert found.complete
    assert [{k: v for k, v in each.values.items() if k != "spare"} for each in found.best] == [
        {"saves": True, "loads": "at switch"}
    ]
    assert found.outcomes[GOOD] == 1
    assert found.outcomes[WRONG] <= 3


def test_the_file_is_written_with_the_holes_filled_in(skeleton: Any, tmp_path: Path) -> None:
    values = {"saves": True, "loads": "never", "spare": 2}
    text = written(skeleton, values, ["how it was made"])
    assert text.startswith("# how it was made\n")
    assert "hole" not in text.replace("eager-with-holes", "")
    file = tmp_path / "found.py"
    file.write_text(text)
    policy = chosen(f"{file}:Eager")
    assert {name: getattr(policy, name) for name in values} == values
    assert not holes_of(policy)


def test_a_policy_without_holes_is_refused(trained: Measure) -> None:
    with pytest.raises(FpstateError, match="'eager' has no holes"):
        fill(Judge(find_policy("eager"), trained, [(A_GUEST, ())]), keep=1, most=1)


def test_what_is_found_in_the_example_holds_and_is_cheaper_than_what_it_began_with(trained: Measure) -> None:
    skeleton = chosen("examples/holes.py:Learning")
    found = fill(Judge(skeleton, trained, [(A_GUEST, ())], cores=1), keep=2, most=25)
    assert not found.complete
    assert found.looked_at == 25
    best = found.best[0]
    policy = completed(skeleton, best.values)
    assert best.cost == trained.ratio(policy, 0)
    first_class = trained.ratio(find_policy("first-class"), 0)
    assert first_class is not None
    assert best.cost < first_class
    assert check(policy, Scope(1, 2, 1), cores=1).verdict == HOLDS


# Repair.


def test_a_dropped_call_is_put_back(trained: Measure) -> None:
    """X86 without its fix forgets one assignment; what is found holds where the fault showed."""
    bug = bugs()["A1"]
    asked = asked_of("A1", chosen("A1"), (), (), {})
    result = repair(asked, trained, keep=2, most=100, cores=1)
    assert result.fault.property == bug.property
    assert len(result.repairs) == 2
    for each in result.repairs:
        assert check(each.edit.policy, asked.scope, properties=asked.properties, cores=1).verdict == HOLDS
        assert each.edit.before != each.edit.after
    ratios = [each.ratio for each in result.repairs if each.ratio is not None]
    assert ratios == sorted(ratios)


def test_what_is_right_cannot_be_repaired(trained: Measure) -> None:
    asked = asked_of("linux-6.14", chosen("linux-6.14"), (), (), {"cpus": 1, "tasks": 1, "vcpus": 1})
    with pytest.raises(FpstateError, match="not at fault there: holds"):
        repair(asked, trained, keep=1, most=1)


def test_super_means_the_same_in_an_edited_method() -> None:
    """A method that calls what it overrides calls that still when it is edited, not itself."""
    policy = find_policy("first-class-dirty")
    method = next(m for m in methods_of(policy).values() if m.name == "vcpu_setreg" and m.owner is policy)
    added = [edit for edit in edits(policy, method) if edit.what.startswith("add `cpu.isb()`")]
    assert len(added) > 1
    for edit in added[:2]:
        assert check(edit.policy, Scope(1, 1, 1, 0, ("base", "kvm", "vcpu_writes")), cores=1).verdict == HOLDS


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_other_ways_have_learned_changes_nothing(trained: Measure, data: st.DataObject) -> None:
    """A way costs the same and asks for the same holes, whether its rows are learned anew or were by others."""
    skeleton = chosen("examples/holes.py:Learning")
    learned = _LEARNED
    values = {name: data.draw(st.sampled_from(each.choices)) for name, each in holes_of(skeleton).items()}
    alone, together = completed(skeleton, values), completed(skeleton, values)
    for number in range(len(trained.traces)):
        assert trained.ratio(together, number, learned) == trained.ratio(alone, number)
        assert set(together.completion.asked) == set(alone.completion.asked)  # type: ignore[attr-defined]


_LEARNED: ByFeatures = {}


@pytest.mark.parametrize("name", ["B18", "B26"])
def test_a_repair_is_not_lost_by_events_beyond_its_scope(name: str, trained: Measure) -> None:
    """Even the fixed policy corrupts the recording, which has what that system does not: the repair says so."""
    assert trained.ratio(with_features(bugs()[name].fixed, bugs()[name].features), 0) is None
    result = repair(asked_of(name, chosen(name), (), (), {}), trained, keep=1, most=100, cores=1)
    assert [each.corrupts for each in result.repairs] == [True]
