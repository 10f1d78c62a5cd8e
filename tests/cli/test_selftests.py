"""Programs that others wrote judge the machine: the kernel's own FP stress tests, as a user runs them.

`tests/selftests/build.sh` builds them from Debian's source package of the kernel; FPSTATE_SELFTESTS names their folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("unicorn")
pytest.importorskip("elftools")

from fpstate.policies.catalogue import find_policy
from tests.selftests.run import WITH_SIGNALS, WITH_SVE, Stress, clean, mismatches

FOLDER = Path(os.environ.get("FPSTATE_SELFTESTS") or "/nonexistent")
pytestmark = pytest.mark.skipif(
    not (FOLDER / "fpsimd-test").is_file(), reason="FPSTATE_SELFTESTS names no folder made by tests/selftests/build.sh"
)


def fpstate(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fpstate", "run", str(FOLDER / program), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_still_runs_at_the_bound_is_running_and_not_wrong() -> None:
    done = fpstate("fpsimd-test", "--tasks", "4", "--vcpus", "4", "--instructions", "1000000", "--json")
    assert done.returncode == 3, done.stderr
    result = json.loads(done.stdout)
    assert (result["ok"], result["running"], result["instructions"]) == (True, 12, 1_000_000)
    assert all(p["ok"] and p["running"] and p["identical"] for p in result["programs"])
    pids = [p["result"].split("\t")[-1] for p in result["programs"] if p["kind"] != "vmm"]
    assert len(set(pids)) == 8
    assert all(p["result"].startswith("Vector length:\t128 bits\nPID:\t") for p in result["programs"] if p["result"])


def test_under_a_faulty_policy_the_kernels_test_prints_its_mismatch() -> None:
    done = fpstate("fpsimd-test", "--tasks", "4", "--vcpus", "4", "--instructions", "2000000", "--policy", "M-defer")
    assert done.returncode == 1, done.stderr
    assert "Mismatch: PID=" in done.stdout
    assert "Expected [" in done.stdout
    assert "Got      [" in done.stdout


def test_a_wrong_signal_frame_is_a_mismatch_too() -> None:
    words = ("--tasks", "2", "--instructions", "1000000", "--signals", "0.3", "--policy")
    right = fpstate("fpsimd-test", *words, "linux-6.14")
    assert right.returncode == 3, right.stdout + right.stderr
    wrong = fpstate("fpsimd-test", *words, "R1")
    assert wrong.returncode == 1
    assert "Mismatch: PID=" in wrong.stdout


def test_sve_is_there_because_a_program_uses_it() -> None:
    both = (str(FOLDER / "fpsimd-test"), "--tasks", "4", "--vcpus", "2", "--instructions", "1000000")
    done = fpstate("sve-test", *both)
    assert done.returncode == 3, done.stderr
    assert "2 CPUs with SVE of 32 bytes" in done.stdout
    assert "guest-fpsimd-test.2" in done.stdout
    assert "guest-sve-test" not in done.stdout
    longer = fpstate("sve-test", "--instructions", "300000", "--vl", "64", "--json")
    assert json.loads(longer.stdout)["programs"][0]["result"].startswith("Vector length:\t512 bits\n")


@pytest.mark.parametrize(
    ("program", "words", "said"),
    [
        ("za-test", [], "'za-test' uses SME (0xd503457f at 0x"),
        ("sve-test", ["--policy", "eager"], "'sve-test' uses SVE, which policy 'eager' does not support"),
        ("sve-test", ["--vcpus", "1"], "sve-test uses SVE, which guests do not have"),
    ],
)
def test_what_the_machine_lacks_is_said_in_a_sentence(program: str, words: list[str], said: str) -> None:
    done = fpstate(program, "--instructions", "100000", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_the_benchmark_of_system_calls_counts_time() -> None:
    """It reads CNTVCT_EL0 before and after 2,560,000 system calls: more than this bound."""
    done = fpstate("fp-pidbench", "--tasks", "1", "--instructions", "100000", "--json")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["programs"][0]["result"] == "Iterations per test: 2560000\nNo SVE: "


@pytest.mark.long
def test_they_run_clean_for_a_hundred_million_instructions() -> None:
    """A sample of policies; `python -m tests.selftests.run` runs them all."""
    stress = Stress(FOLDER)
    for name in ("eager", "linux-4.15", "linux-6.14"):
        assert clean(stress.run(find_policy(name), 100_000_000)), name
    assert clean(stress.run(find_policy("linux-6.14"), 100_000_000, WITH_SIGNALS))
    assert clean(stress.run(find_policy("linux-6.14"), 100_000_000, WITH_SVE))
    assert mismatches(stress.run(find_policy("defer-to-put"), 100_000_000)) == 4
