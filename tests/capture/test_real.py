"""A real capture: QEMU, Debian's kernel, guests. Skipped where those are missing, unless FPSTATE_CAPTURE=required."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fpstate.errors import FpstateError
from fpstate.lab.apt import fetch_kernel
from fpstate.lab.qemu import QEMU
from fpstate.policies.catalogue import find_policy
from fpstate.replay.validate import policy_of_kernel, validate
from fpstate.traces.read import read_trace
from fpstate.world.events import MAYBE


def need(wanted: bool, what: str) -> None:
    if not wanted and os.environ.get("FPSTATE_CAPTURE") == "required":
        pytest.fail(f"required, but {what}")
    if not wanted:
        pytest.skip(f"no real capture: {what}")


@pytest.fixture(scope="module", autouse=True)
def _machine() -> None:
    need(shutil.which(QEMU) is not None, f"there is no {QEMU}")
    try:
        fetch_kernel(lambda _: None)
    except FpstateError as error:
        need(False, str(error))


def fpstate(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fpstate", *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def captured(path: Path, *words: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(fpstate("capture", "short", "-o", str(path), "--json", *words))
    return result


@pytest.mark.long
@pytest.mark.parametrize(("model", "mode"), [("neoverse-n1", "vhe"), ("cortex-a57", "nvhe")])
def test_a_fresh_capture_is_predicted_exactly(tmp_path: Path, model: str, mode: str) -> None:
    """Every deed of the kernel and every trap of its hypervisor, in order; and nothing is left unknown."""
    path = tmp_path / "short.trace.txt.gz"
    said = captured(path, "--cpu-model", model)
    assert said["mode"] == mode
    assert said["lost"] == 0
    assert said["missing"] == []
    assert said["unfinished"] == 0
    trace = read_trace(path)
    assert trace.header.mode == mode
    assert trace.header.kernel == said["kernel"]
    assert not np.isin(trace.event, list(MAYBE)).any()
    result = validate(trace, find_policy("linux-6.14"))
    assert result.exact, result.first
    assert result.observed["guest_fp_trap"] == said["traps"]["guest_fp"] >= 40
    assert result.observed["hw_save"] > 40


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["short", "mmio-fp"])
def test_a_kernel_of_today_is_predicted_by_its_own_code(tmp_path: Path, scenario: str) -> None:
    """7.3 is preemptible, and stores registers inline: what it was seen to do is what its code says, in order."""
    pytest.importorskip("unicorn")
    path = tmp_path / "today.trace.txt.gz"
    said = json.loads(fpstate("capture", scenario, "--kernel", "debian-7.3", "-o", str(path), "--json"))
    assert said["missing"] == ["task_fpsimd_load"]
    fpstate("validate", str(path), "-p", "kernel:debian-7.3")
    result = validate(read_trace(path), find_policy("linux-3.14"))
    assert not result.exact
    assert result.observed["hw_save"] > 40


@pytest.mark.long
@pytest.mark.parametrize("scenario", ["kneon", "sve"])
def test_a_kernel_with_preempt_rt_is_predicted_exactly(tmp_path: Path, scenario: str) -> None:
    """Its threads are preempted in sections of kernel NEON, in SVE traps and on their way to user mode."""
    path = tmp_path / "rt.trace.txt.gz"
    said = json.loads(fpstate("capture", scenario, "--kernel", "debian-6.12-rt", "-o", str(path), "--json"))
    assert said["missing"] == []
    trace = read_trace(path)
    assert trace.header.holes == []
    result = validate(trace, find_policy("linux-6.12.y"))
    assert result.exact, result.first
    assert policy_of_kernel(trace) == "linux-6.12.y"


@pytest.mark.long
def test_without_the_emulators_help_fp_use_stays_unknown(tmp_path: Path) -> None:
    """--no-emulator records what a kernel alone can show."""
    path = tmp_path / "plain.txt"
    said = captured(path, "--no-emulator", "--cpus", "1")
    assert said["observed"] is False
    assert " user_run: " not in path.read_text()
    assert np.isin(read_trace(path).event, list(MAYBE)).any()


@pytest.mark.long
def test_what_fails_in_the_machine_is_said(tmp_path: Path) -> None:
    """A 32-bit guest on a CPU without 32-bit EL1, and a mode the CPU does not have; no file is left."""
    out = tmp_path / "x.txt"
    text = fpstate("capture", "guest-32bit", "--cpu-model", "neoverse-n1", "-o", str(out), code=2)
    assert "this CPU model cannot run 32-bit guests" in text
    text = fpstate("capture", "short", "--cpu-model", "cortex-a57", "--mode", "vhe", "-o", str(out), code=2)
    assert re.search("asked for vhe, but KVM chose nvhe", text)
    assert list(tmp_path.iterdir()) == []


def test_a_cpu_model_that_there_is_not() -> None:
    """The nearest name is offered."""
    assert "did you mean 'neoverse-n1'" in fpstate("capture", "short", "--cpu-model", "neoverse-n2x", code=2)
