"""`fpstate fleet` as a user types it, in this process: what is refused, what is printed, and its documents."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from fpstate.cli.fleet import COMMANDS
from fpstate.cli.main import app
from fpstate.errors import FpstateError
from fpstate.fleet.kinds import kind_of
from fpstate.fleet.summary import TOLD
from fpstate.replay.compare import Figures
from tests.fleet.made import traces_in

ROOT = Path(__file__).parents[2]


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["fleet", *words], env={"COLUMNS": "80"})


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """Return a folder with three made-up traces."""
    return traces_in(tmp_path / "traces", 3)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_has_exit_codes_an_example_and_fits(command: str) -> None:
    text = run(command, "--help").stdout
    assert re.search(r"Exit\s+codes: 0 ", text)
    assert f"Example: fpstate fleet {command}" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("compare EMPTY", "holds no files; expected traces in it"),
        ("compare kneon.vh", "there is no file 'kneon.vh'; expected a trace file; did you mean 'kneon.vhe'?"),
        ("compare hvc-fp.vhe -p eagr", "did you mean 'eager'?"),
        ("compare hvc-fp.vhe --costs altra", "did you mean 'altra-vhe'?"),
        ("compare hvc-fp.vhe --vl 17", "a vector length of 17 bytes is impossible"),
        ("compare hvc-fp.vhe --workers 2 --scheduler x", "--workers has no effect with --scheduler"),
        ("check eager --cpus 1,x", "--cpus x; expected numbers, like --cpus 1,2 or --cpus 1-10"),
        ("check eager --cpus 9", "a scope with 9 cpus is impossible"),
        ("check eager --features svee", "did you mean 'sve'?"),
        ("check eager --property integrty", "did you mean 'integrity'?"),
        ("check eager --property timing,integrity", "is searched for alone"),
        ("run rounding+nbod", "did you mean 'nbody'?"),
        ("run --seeds 5-1", "expected the smaller number first, like --seeds 1-5"),
        ("run --seeds 1-9999999", "at most 1,000,000 numbers"),
        ("run -p A22", "needs sme, sve; expected one of FPSIMD and SVE"),
        ("run --cpus 99", "--cpus 99 is impossible"),
        ("search eager", "policy 'eager' has no holes"),
    ],
)
def test_what_is_wrong_is_said_before_anything_begins(words: str, said: str, tmp_path: Path) -> None:
    """One message, and no file."""
    if words.startswith("run"):
        pytest.importorskip("unicorn")
    (tmp_path / "empty").mkdir()
    output = tmp_path / "x.parquet"
    done = run(*words.replace("EMPTY", str(tmp_path / "empty")).split(), "-o", str(output))
    assert isinstance(done.exception, FpstateError)
    assert said in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_options_that_are_missing_or_no_numbers_are_usage() -> None:
    assert "Missing option '--output'" in run("compare", "hvc-fp.vhe").output
    assert run("compare", "hvc-fp.vhe", "-o", "x", "--workers", "-1").exit_code == 2
    assert "Did you mean 'compare'?" in run("compar").output


def test_compare_prints_quantiles_and_goes_on(traces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What corrupts stands last and is told; the table in the folder of traces is none of them."""
    monkeypatch.chdir(traces.parent)
    output = Path("traces/compared.parquet")
    words = ["compare", "traces", "-o", str(output), "-p", "defer-to-put,eager,linux-6.14"]
    done = run(*words)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("9 of 9 rows in ")
    table = [line.split()[0] for line in lines if re.match(r"(eager|linux|defer).* \d", line)]
    assert table[:3] == ["linux-6.14", "eager", "defer-to-put"]
    assert "defer-to-put: corrupts in 3 of 3; first: traces/t0.parquet: " in " ".join(done.stdout.split())
    again = run(*words)
    assert again.stdout.splitlines()[1:] == lines[1:]
    assert ", 9 from before" in " ".join(again.stdout.split())
    more = run(*words[:-1], "eager,adaptive")
    assert more.exit_code == 0
    assert "6 of 6 rows" in more.stdout
    assert len(pq.read_table(output)) == 12


def test_a_trace_that_cannot_be_read_is_named(traces: Path, tmp_path: Path) -> None:
    """Not as many times as there are policies; the others have their figures, and the exit code says so."""
    (traces / "bad.txt").write_text("hello\n")
    (traces / "link.txt").symlink_to(traces / "bad.txt")
    done = run("compare", str(traces), "-o", str(tmp_path / "x.parquet"), "-p", "eager,linux-6.14")
    assert done.exit_code == 3
    said = " ".join(done.stdout.split())
    assert "no answer: 4 of 10 rows" in said
    assert said.count(f"{traces}/bad.txt: is not a trace") == said.count(f"{traces}/link.txt: is not a trace") == 1
    document = json.loads(
        run("compare", str(traces), "-o", str(tmp_path / "x.parquet"), "-p", "eager", "--json").stdout
    )
    assert (document["schema"], document["asked"], document["before"]) == ("fpstate.fleet/1", 5, 3)
    assert [Path(row["trace"]).name for row in document["failed"]] == ["bad.txt", "link.txt"]


def test_check_counts_verdicts_and_tells_the_first_that_is_violated(tmp_path: Path) -> None:
    words = ["--cpus", "1", "--tasks", "1", "--vcpus", "0-1", "--features", "none,sve", "-o", str(tmp_path / "x")]
    done = run("check", "eager", "defer-to-put", *words)
    assert done.exit_code == 1
    said = " ".join(done.stdout.split())
    assert "left out, since they cannot be: 4 combinations; the first: policy 'eager' does not support sve" in said
    assert "defer-to-put: violated in 1 of 2; first: vcpus 1: confidentiality" in said
    assert run("check", "eager", *words).exit_code == 0


def test_run_tells_seeds_and_what_was_wrong(tmp_path: Path) -> None:
    pytest.importorskip("unicorn")
    words = ["--seeds", "1-3", "--slice", "1000", "--softirq", "0.3", "--cpus", "1", "-o", str(tmp_path / "x")]
    done = run("run", "rounding", "-p", "eager,defer-to-put", *words)
    assert done.exit_code == 1
    assert re.search(r"defer-to-put: wrong in \d of 3; first: seed \d: \S+: v0 holds 0x", " ".join(done.stdout.split()))
    assert [row["seed"] for row in pq.read_table(tmp_path / "x").to_pylist()] == [1, 2, 3, 1, 2, 3]
    assert run("run", "rounding", "-p", "eager", *words).exit_code == 0


def test_the_page_of_json_lists_the_columns() -> None:
    """All of each table, in order; figures of compare are those of its own schema."""
    pytest.importorskip("unicorn")
    page = (ROOT / "docs/json.md").read_text()
    for name, told in TOLD.items():
        kind = kind_of(name)
        (row,) = re.findall(rf"^\| `{re.escape(kind.schema)}` \|(.*)\|(.*)\|$", page, re.MULTILINE)
        label, answer = (re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", part)) for part in row)
        assert label == list(kind.label)
        if name == "compare":
            figures = {
                f"{side}_{n}" for side in ("low", "high") for n in Figures.__dataclass_fields__ if n != "charged"
            }
            assert figures < set(kind.answer)
            rest = [n for n in kind.answer if not re.match(r"(low|high)_", n)]
            assert answer[: len(rest)] == rest
        else:
            assert answer == list(kind.answer)
        for outcome in told.outcomes:
            assert f'"{outcome}"' in page
