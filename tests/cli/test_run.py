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
    ],
)
def test_wrong_input_gets_one_error(words: list[str], said: str) -> None:
    done = fpstate("run", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
