"""`search` and `repair` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fpstate.cli.main import app
from fpstate.errors import FpstateError

SEARCH = ["search", "examples/holes.py:Learning", "--traces", "kneon.vhe", "--max-ways", "12"]


def run(*words: str, code: int) -> str:
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "80"})
    assert done.exit_code == code, done.output
    return done.stdout


def test_what_is_found_is_printed_and_written_as_a_policy(tmp_path: Path) -> None:
    """A bound that is reached ends with 3; the file is a policy that `compare` charges what was said."""
    found = tmp_path / "found.py"
    text = run(*SEARCH, "--keep", "1", "--held-back", "hvc-fp.vhe", "-o", str(found), code=3)
    assert max(map(len, text.splitlines())) <= 80
    assert "held back: hvc-fp.vhe" in text
    assert "the bound of 12 ways was reached" in " ".join(text.split())
    document = json.loads(run(*SEARCH, "--keep", "1", "--json", code=3))
    assert document["schema"] == "fpstate.search/1"
    assert sum(document["outcomes"].values()) == 12
    (best,) = document["best"]
    compared = json.loads(run("compare", "kneon.vhe", "-p", f"{found}:Learning", "--json", code=0))
    assert compared["policies"][0]["ratio_high"] == pytest.approx(best["cost"])
    assert "hole(" not in found.read_text()


def test_wrong_input(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.py"
    theirs.write_text("print('mine')\n")
    for words, said in (
        (["search", "eager"], "'eager' has no holes"),
        ([*SEARCH, "-o", str(theirs)], "is none of ours"),
        ([*SEARCH, "-o", "examples/holes.py"], "another name"),
        (["repair", "eager", "--cpus", "1", "--tasks", "1", "--vcpus", "1"], "not at fault there: holds"),
        ([*SEARCH, "--features", "nosuch"], "unknown feature 'nosuch'"),
        (["check", "linux-6.8", "--property", "timing", "--pytest"], "no test follows it"),
        (["compare", "hvc-fp.vhe", "-p", ""], "names nothing"),
        (["search", f"{theirs}:X"], "unknown policy class 'X'; expected a policy class that is there: there is none"),
        (["repair", "K99"], "unknown policy 'K99'"),
    ):
        done = CliRunner().invoke(app, words)
        assert isinstance(done.exception, FpstateError), (words, done.output)
        assert said in str(done.exception)
    assert theirs.read_text() == "print('mine')\n"


def test_a_repair_is_a_difference() -> None:
    text = run("repair", "A1", "--keep", "1", code=0)
    assert "at fault: integrity" in " ".join(text.split())
    assert "\n+" in text
    document = json.loads(run("repair", "A1", "--keep", "1", "--json", code=0))
    assert document["schema"] == "fpstate.repair/1"
    assert document["fault"]["verdict"] == "violated"
    assert len(document["repairs"]) == 1
    text = run("repair", "A1", "--max-edits", "2", code=3)
    assert "the bound of 2 edits was reached, and none makes it hold" in " ".join(text.split())
