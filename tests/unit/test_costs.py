"""Cost profiles: the bundled ones are complete, and every mistake in a user's own is named."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fpstate.cli.costs import command
from fpstate.costs import OPERATIONS, load_profile, profile_names
from fpstate.errors import FpstateError

GOOD = """
name = "mine"
title = "My board"
cpu = "Some CPU"
clock_ghz = 2.0
clock_source = "measured"
""" + "".join(
    f"""
[operations.{name}]
cycles = 10
low = 5
high = 20
status = "read"
source = "my notebook, page 1"
"""
    for name in OPERATIONS
)


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(folder: Path, old: str, new: str) -> FpstateError:
    """Return the error for the good profile with the first `old` replaced by `new`."""
    assert old in GOOD
    with pytest.raises(FpstateError) as caught:
        load_profile(written(folder, GOOD.replace(old, new, 1)))
    return caught.value


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0
    return result.output


def test_the_bundled_profiles_are_the_five_named_ones() -> None:
    """All five profiles are found beside the module, without being listed anywhere."""
    assert profile_names() == ["a53-nvhe", "altra-vhe", "x86-skl", "x86-spr", "xgene-2016"]


@pytest.mark.parametrize("name", profile_names())
def test_each_bundled_profile_has_every_operation_with_a_source(name: str) -> None:
    """A bundled profile loads under its own name, and each figure in it has a source and an honest range."""
    profile = load_profile(name)
    assert profile.name == name
    assert tuple(profile.operations) == OPERATIONS
    for op in profile.operations.values():
        assert len(op.source) > 20
        assert 0 < op.low < op.high
        assert op.low <= op.cycles <= op.high


@pytest.mark.parametrize("name", profile_names())
def test_a_bundled_figure_that_is_not_simply_read_shows_its_arithmetic(name: str) -> None:
    """A derived or assumed figure says in its note how it came about."""
    for op in load_profile(name).operations.values():
        assert op.note or op.status == "read"


def test_halves_of_a_published_pair_add_up_to_it() -> None:
    """On a Cortex-A53 only save plus load is published, 147 cycles, and the two halves add up to that."""
    operations = load_profile("a53-nvhe").operations
    assert operations["save"].cycles + operations["load"].cycles == 147


def test_times_are_converted_with_the_clock_of_the_profile() -> None:
    """The upper end of a guest's FP trap is a whole hypercall: 306 ns at 3.0 GHz, 4,530 ns at 0.95 GHz."""
    for name, ns in (("altra-vhe", 306), ("a53-nvhe", 4530)):
        profile = load_profile(name)
        assert profile.operations["guest_trap"].high == pytest.approx(ns * profile.clock_ghz, abs=1)


def test_weak_names_what_is_not_fully_read() -> None:
    """Figures read, or derived from read ones, are not weak; all others are, each in one sentence that names it."""
    skylake = load_profile("x86-skl").weak
    assert [sentence.split(":")[0] for sentence in skylake] == ["clear", "guest_trap", "ipi"]
    assert len(load_profile("xgene-2016").weak) == len(OPERATIONS)
    assert "save: 282 cycles (16 to 321) is recalled" in load_profile("xgene-2016").weak[0]
    assert "derived from a figure that is read only in an excerpt" in load_profile("a53-nvhe").weak[0]


def test_a_users_own_file_is_loaded_by_path(tmp_path: Path) -> None:
    """Anything with a slash or ending in .toml is a path; whole numbers and missing notes are fine."""
    profile = load_profile(str(written(tmp_path, GOOD)))
    assert profile == load_profile(tmp_path / "mine.toml")
    assert (profile.title, profile.clock_ghz, profile.notes, profile.weak) == ("My board", 2.0, "", [])
    assert profile.operations["save"].cycles == 10


def test_an_unknown_profile_name_gets_the_nearest() -> None:
    """A misspelt bundled name is answered with the nearest one and the list of all."""
    with pytest.raises(FpstateError, match=r"unknown cost profile 'altra-vh'.*did you mean 'altra-vhe'"):
        load_profile("altra-vh")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A path where there is no file is reported with the path and the bundled names."""
    with pytest.raises(FpstateError, match=r"No such file.*altra-vhe") as caught:
        load_profile(tmp_path / "none.toml")
    assert caught.value.where.endswith("none.toml")


def test_a_folder_is_not_a_profile(tmp_path: Path) -> None:
    """A path that cannot be read as a file is an error of the one shape, not a traceback."""
    with pytest.raises(FpstateError, match="is not a regular file"):
        load_profile(f"{tmp_path}/")


def test_bad_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    """A syntax error is reported as file:line."""
    error = error_of(tmp_path, 'cpu = "Some CPU"', "cpu = Some CPU")
    assert error.where.endswith("mine.toml:4")
    assert "not TOML" in error.given


def test_toml_cut_off_at_the_end_is_reported_with_its_last_line(tmp_path: Path) -> None:
    """A file that stops in the middle of a table name is reported at its last line."""
    with pytest.raises(FpstateError) as caught:
        load_profile(written(tmp_path, 'name = "mine"\n[operations'))
    assert caught.value.where.endswith("mine.toml:2")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are refused with a message."""
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FpstateError, match="not UTF-8 text"):
        load_profile(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[operations.save]", "[operations.safe]", "unknown operation 'safe'.*did you mean 'save'"),
        ("clock_ghz", "clock_gz", "unknown key 'clock_gz'.*did you mean 'clock_ghz'"),
        ("high", "hihg", "unknown key 'hihg'.*did you mean 'high'"),
        ("cycles = 10", "cycles = -1", "cycles is -1; expected a number from 0 to 1e.12"),
        ("cycles = 10", 'cycles = "ten"', "cycles is 'ten'; expected a number"),
        ("cycles = 10", "cycles = true", "cycles is True; expected a number"),
        ("cycles = 10", "cycles = nan", "cycles is nan; expected a number"),
        ("cycles = 10", "", "cycles is missing; expected a number"),
        ("cycles = 10", "cycles = 4", "low 5, cycles 4, high 20; expected low <= cycles <= high"),
        ("cycles = 10", "cycles = 21", "low 5, cycles 21, high 20; expected low <= cycles <= high"),
        ('status = "read"', 'status = "raed"', "unknown status 'raed'.*did you mean 'read'"),
        ('status = "read"', "", "status is missing"),
        ('status = "read"', 'status = "derived"', "basis is missing"),
        ('status = "read"', 'status = "derived"\nbasis = "derived"', "unknown basis 'derived'"),
        ('status = "read"', 'status = "read"\nbasis = "read"', "basis given for a cost that is read"),
        ('source = "my notebook, page 1"', "", "source is missing"),
        ('source = "my notebook, page 1"', 'source = " "', "source is missing or empty"),
        ('source = "my notebook, page 1"', "source = 1", "source is 1; expected text"),
        ("clock_ghz = 2.0", "clock_ghz = 0", "clock_ghz is 0; expected a number of GHz above 0"),
        ('clock_source = "measured"', "", "clock_source is missing"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each mistake in an otherwise good profile is an error that names the file, the value and what was expected."""
    error = error_of(tmp_path, old, new)
    assert "mine.toml" in error.where
    with pytest.raises(FpstateError, match=message):
        raise error


def test_an_error_in_an_operation_names_its_table(tmp_path: Path) -> None:
    """The place of an error within an operation holds the name of its table."""
    assert error_of(tmp_path, "cycles = 10", "cycles = -1").where.endswith("mine.toml [operations.save]")


def test_a_missing_operation_is_named(tmp_path: Path) -> None:
    """Leaving out an operation is an error, as is leaving out all or giving a number in place of its table."""
    start = GOOD.index("[operations.user_trap]")
    for text, message in (
        (GOOD[:start], "'user_trap' is missing"),
        (GOOD[: GOOD.index("[operations.save]")], "'operations' is missing"),
        (GOOD[: GOOD.index("[operations.save]")] + "[operations]\nsave = 3\n", "'save' is not a table"),
    ):
        with pytest.raises(FpstateError, match=message):
            load_profile(written(tmp_path, text))


def test_the_command_lists_all_profiles() -> None:
    """Without a profile, `fpstate costs` lists every bundled one."""
    output = run()
    assert all(name in output for name in profile_names())


def test_the_command_shows_every_operation_with_its_whole_source() -> None:
    """With a profile, the table holds each operation's figures, and no citation is cut short."""
    output = run("altra-vhe")
    for name, op in load_profile("altra-vhe").operations.items():
        assert f"{name}: {op.note}"[:40] in output
        assert f"{op.low:g}-{op.high:g}" in output
    assert "…" not in output
    assert "Weak figures:" in output


def test_the_commands_json_holds_the_same_as_the_file() -> None:
    """`--json` gives schema fpstate.costs/1, with the figures and sources of the file unchanged."""
    document: dict[str, Any] = json.loads(run("xgene-2016", "--json"))
    assert document["schema"] == "fpstate.costs/1"
    (profile,) = document["profiles"]
    assert profile["weak"] == load_profile("xgene-2016").weak
    path = Path(__file__).parents[2] / "src/fpstate/costs/xgene-2016.toml"
    for name, given in tomllib.loads(path.read_text(encoding="utf-8"))["operations"].items():
        assert profile["operations"][name] == {"basis": "", "note": ""} | given
    assert len(json.loads(run("--json"))["profiles"]) == len(profile_names())


def test_a_file_in_the_current_folder_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that ends in .toml is a file, not a bundled profile."""
    written(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_profile("mine.toml").title == "My board"
