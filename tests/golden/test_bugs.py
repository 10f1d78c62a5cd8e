"""The gallery of historical bugs: each is caught where history recorded it, and each fix holds."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
from typer.testing import CliRunner

from fpstate.check import gallery
from fpstate.check.gallery import left_out, show
from fpstate.check.run import HOLDS, VIOLATED, replay_path
from fpstate.cli.main import app
from fpstate.errors import FpstateError
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import bugs, enter

SYSTEMS = {
    "arm64", "kvm_arm64", "x86", "powerpc", "riscv", "mips", "sel4", "xen", "small_kernels", "hypervisors",
}  # fmt: skip


@pytest.mark.parametrize("name", list(bugs()))
def test_the_faulty_policy_is_caught_and_the_fixed_one_holds(name: str) -> None:
    """The property named is broken on a path no longer than recorded; the same scope finds nothing in the fix."""
    shown = show(bugs()[name])
    assert shown.faulty.verdict == VIOLATED
    assert shown.faulty.property == shown.bug.property
    assert shown.faulty.depth <= shown.bug.steps
    assert shown.fixed.verdict == HOLDS
    assert shown.faulty.path is not None
    again = replay_path(
        with_features(shown.bug.faulty, shown.bug.features),
        shown.faulty.scope,
        shown.faulty.path.code,
        properties=(shown.bug.property,),
    )
    assert again.verdict == VIOLATED


def test_two_bugs_with_one_id_are_refused() -> None:
    """The gallery is found without registration, so a second file with the same id must not hide the first."""
    bug = bugs()["A18"]
    module = ModuleType("twice")
    module.__file__ = "arm64/twice.py"
    module.BUG = replace(bug, title="another fault")  # type: ignore[attr-defined]
    with pytest.raises(FpstateError, match=r"'another fault' and .* are both called A18") as caught:
        enter(bugs(), module)
    assert caught.value.where == "arm64/twice.py"


def test_files_are_named_by_the_fault_and_lie_with_their_system() -> None:
    """A name says what went wrong, not where it stands in a list; the id is in the file."""
    for bug in bugs().values():
        *_, system, name = bug.faulty.__module__.split(".")
        assert system in {
            "arm64",
            "kvm_arm64",
            "x86",
            "powerpc",
            "riscv",
            "mips",
            "sel4",
            "xen",
            "small_kernels",
            "hypervisors",
        }
        assert "_" in name
        assert not name.startswith(bug.id.lower())


def test_nothing_is_in_the_gallery_and_left_out_at_once() -> None:
    """Each recorded bug is in one of the two lists, with a reason if it is left out."""
    out = {b.id for b in left_out()}
    assert not out & set(bugs())
    assert len(bugs()) >= 70
    assert all(b.reason for b in left_out())


def test_a_bug_that_is_not_as_it_must_be_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the three: the faulty one not caught, caught later than recorded, the fixed one violated; exit code 1."""
    bug = bugs()["A1"]
    caught = show(bug)
    assert caught.ok
    late = replace(bug, steps=caught.faulty.depth - 1)
    worse = {"not caught": replace(bug, faulty=bug.fixed), "late": late, "not fixed": replace(bug, fixed=bug.faulty)}
    for made in worse.values():
        assert not show(made).ok
    monkeypatch.setattr(gallery, "bugs", lambda: {"A1": late})
    assert CliRunner().invoke(app, ["bugs", "A1"]).exit_code == 1
