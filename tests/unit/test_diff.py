"""Two policies row by row."""

from __future__ import annotations

import pytest

from fpstate.check.diff import diff
from fpstate.errors import FpstateError
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import find_policy

SMALL = Scope(1, 1, 1)


def test_policies_that_keep_other_books_are_the_same() -> None:
    """mark-foreign does what linux-4.18 does, and each of its rows is equal."""
    found = diff(find_policy("linux-4.18"), find_policy("mark-foreign"), SMALL)
    assert found.verdict == "same"
    assert found.equal == len(found.lines) > 20


def test_rows_that_differ_are_shown_with_both() -> None:
    """linux-6.14 saves the host when a vCPU is loaded; linux-6.8 leaves that to the hypervisor."""
    found = diff(find_policy("linux-6.8"), find_policy("linux-6.14"), SMALL)
    assert found.verdict == "different"
    different = {line.event: line for line in found.lines if not line.equal}
    assert {"vcpu_load", "guest_fp_trap"} <= set(different)
    line = different["guest_fp_trap"]
    assert line.first is not None
    assert line.second is not None
    assert ("save task" in line.first.then, "save task" in line.second.then) == (True, False)


def test_a_fault_in_one_of_them_sets_them_apart() -> None:
    """Nothing is compared beyond the first step that only one can take."""
    right = find_policy("linux-4.18")

    class Crashes(right):  # type: ignore[misc, valid-type]
        name = "crashes"

        def exec(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
            cpu.save(None)

    assert diff(right, Crashes, SMALL).verdict == "apart"


def test_a_handler_that_only_one_has_is_said_to_be_only_there() -> None:
    """With nothing on the other side; it is equal if it asks for nothing."""
    right = find_policy("linux-4.18")

    class More(right):  # type: ignore[misc, valid-type]
        name = "more"

        def exit(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
            pass

    found = diff(More, right, SMALL)
    alone = [line for line in found.lines if line.event == "exit"]
    assert [(line.second, line.equal) for line in alone] == [(None, True)]
    assert found.verdict == "same"


def test_worlds_with_other_registers_are_not_compared() -> None:
    """One sentence."""
    with pytest.raises(FpstateError, match="features none beside FPSIMD"):
        diff(find_policy("eager"), with_features(find_policy("linux-6.14"), ["sve"]), SMALL)
