"""`fpstate run` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("elftools")


def fpstate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fpstate", *words], capture_output=True, text=True, check=False)


def test_json_and_trace(tmp_path: Path) -> None:
    trace = tmp_path / "run.parquet"
    done = fpstate("run", "matrix", "fpregs", "--slice", "2000", "--seed", "3", "--trace", str(trace), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["schema"] == "fpstate.run/1"
    assert result["ok"] is True
    assert result["settings"]["seed"] == 3
    assert [p["name"] for p in result["programs"][:4]] == ["matrix", "fpregs", "guest-matrix", "guest-fpregs"]
    for p in result["programs"]:
        assert {"name", "ok", "result", "saves", "loads", "traps", "instructions"} <= set(p)
    compared = json.loads(fpstate("compare", str(trace), "--policy", "linux-6.14", "--json").stdout)
    figures = compared["policies"][0]
    assert figures["low"] == figures["high"]
    assert [figures["low"][k] for k in ("saves", "loads", "traps")] == [result[k] for k in ("saves", "loads", "traps")]


def test_a_faulty_policy_ends_with_exit_code_one_and_its_path() -> None:
    done = fpstate("run", "rounding", "fpregs", "--policy", "defer-to-put", "--slice", "1000", "--softirq", "0.5")
    assert done.returncode == 1
    assert "first wrong value: v0 holds 0x" in done.stdout
    assert "decided at step" in done.stdout
    assert "WRONG" in done.stdout


def test_what_still_runs_at_the_bound_ends_with_exit_code_three() -> None:
    done = fpstate("run", "matrix", "rounding", "--vcpus", "0", "--instructions", "60000", "--json")
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    assert (result["ok"], result["running"], result["instructions"]) == (True, 1, 60000)
    assert [p["running"] for p in result["programs"]] == [True, False]
    text = fpstate("run", "matrix", "rounding", "--vcpus", "0", "--instructions", "60000").stdout
    assert "1 of 2 still running at the bound of the run" in text
    assert [line.split()[0] for line in text.splitlines()[3:5]] == ["running", "identical"]


def test_a_bound_that_is_not_reached_changes_nothing() -> None:
    assert fpstate("run", "rounding", "--seconds", "60").stdout == fpstate("run", "rounding").stdout


def test_sve_is_there_because_a_program_uses_it() -> None:
    done = fpstate("run", "sve")
    assert done.returncode == 0, done.stderr
    assert "with SVE of 32 bytes" in done.stdout


def test_a_path_is_shown_in_hex() -> None:
    code = "2/5/1/1/0/1/0/1/0"
    done = fpstate("run", "--policy", "M-defer", "--cpus", "1", "--tasks", "1", "--vcpus", "1", "--path", code)
    assert done.returncode == 1
    assert "step 9: vcpu0: v0 is 0x" in done.stdout
    assert "the registers hold softirq's" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "unknown program 'nothing'"),
        (["--policy", "nobody"], "unknown policy 'nobody'"),
        (["--cpus", "0"], "--cpus 0 is impossible"),
        (["--cpus", "99"], "--cpus 99 is impossible"),
        (["--vcpus", "1000"], "--vcpus 1000 is impossible"),
        (["--tasks", "-1"], "--tasks -1 is impossible"),
        (["--slice", "1"], "--slice 1 is impossible"),
        (["--tasks", "0", "--vcpus", "0"], "nothing to run"),
        (["--kthreads", "1"], "without --path"),
        (["--path", "0", "matrix"], "a program has no effect with --path"),
        (["--path", "77", "--cpus", "1", "--tasks", "1", "--vcpus", "0"], "the path's step 1 is '77'"),
        (["--policy", "N2", "--vcpus", "2"], "handles no guests"),
        (["/etc/hostname"], "is not an ELF file"),
        (["matrix", "--trace", "/dev/null"], "not a regular file"),
        (["--instructions", "0"], "a run with --instructions 0 is impossible"),
        (["--seconds", "0"], "a run with --seconds 0.0 is impossible"),
        (["--path", "0", "--instructions", "5"], "--instructions has no effect with --path"),
        (["--signals", "0.5", "--policy", "B5"], "the policy 'b5-faulty' handles no signals"),
        (["sve", "--policy", "eager"], "'sve' uses SVE, which policy 'eager' does not support"),
        (["sve", "--vcpus", "1"], "sve uses SVE, which guests do not have"),
        (["--policy", "A20"], "needs fpmr, sme, sve"),
    ],
)
def test_wrong_input_gets_one_error(words: list[str], said: str) -> None:
    done = fpstate("run", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
