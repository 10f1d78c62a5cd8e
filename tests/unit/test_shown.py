"""What policies show others: the table that is kept is that of the checks, and agrees with what policies give up."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fpstate.cli.main import app
from fpstate.policies.catalogue import find_policy, policies
from fpstate.policies.shown import shown_by, table

made = runpy.run_path(str(Path(__file__).parents[2] / "docs/shown.py"))["shown"]
UNDECIDED = {("zircon", "timing")}  # its counter makes more worlds than are looked at
GIVEN_UP = {"transient-exposure": "transient exposure", "timing": "timing"}


@pytest.mark.parametrize("name", ["adaptive", "eager", "linux-3.14", "linux-6.8", "save-on-entry", "trap-per-entry"])
def test_the_table_is_what_checks_find(name: str) -> None:
    """These rows are made anew here; all of them by make docs."""
    assert made(name) == table()[name]


def test_all_policies_are_in_it_and_give_up_what_it_says() -> None:
    assert list(table()) == list(policies())
    for name, policy in policies().items():
        for what, given_up in GIVEN_UP.items():
            expected = "violated" if given_up in policy.gives_up else "holds"
            expected = "incomplete" if (name, what) in UNDECIDED else expected
            assert table()[name][what]["verdict"] == expected, (name, what)


def test_of_others_nothing_is_said_but_how_to_find_out(tmp_path: Path) -> None:
    """A user's own policy, also one that is called like one of the package's; a bug's; one with more registers."""
    own = tmp_path / "own.py"
    own.write_text("from fpstate.policies.eager import Eager\nclass Mine(Eager):\n    pass\n")
    assert shown_by(find_policy(f"{own}:Mine")) is None
    assert shown_by(find_policy("A6")) is None
    said = " ".join(CliRunner().invoke(app, ["policies", f"{own}:Mine"]).stdout.split())
    assert f"timing: \N{EM DASH} (not checked: fpstate check {own}:Mine --property timing)" in said
    said = CliRunner().invoke(app, ["policies", "eager"]).stdout
    assert "timing: holds at 1 CPU, 2 tasks, 1 vCPU, events base,kvm" in said
