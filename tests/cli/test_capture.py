"""`fpstate capture` without an emulator: what it lists, prints and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fpstate.lab import apt, doctor, qemu


def run(*words: str, code: int = 0, path: str | None = None) -> str:
    environment = os.environ | ({} if path is None else {"PATH": path})
    done = subprocess.run(
        [sys.executable, "-m", "fpstate", "capture", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code in (0, 1) else done.stderr


def test_list() -> None:
    """Every scenario with what it does, as a table and as JSON."""
    assert "overcommit" in run("--list")
    scenarios = json.loads(run("--list", "--json"))["scenarios"]
    assert {"name": "sve", "cpu_model": "max"}.items() <= next(s for s in scenarios if s["name"] == "sve").items()


def test_print_commands() -> None:
    """Plain lines for a shell."""
    assert "trace-cmd record -C mono" in run("--print-commands")
    assert json.loads(run("--print-commands", "--json", "--seconds", "3"))["schema"] == "fpstate.capture/1"


def test_the_doctor_says_what_is_missing_and_what_installs_it(tmp_path: Path) -> None:
    """Without any program on the path it finds QEMU missing, and says so with exit code 1."""
    checks = json.loads(run("--doctor", "--json", code=1, path=str(tmp_path)))["checks"]
    qemu = checks[0]
    assert not qemu["ok"]
    assert qemu["hint"].startswith("apt-get install qemu-system-arm")
    assert "apt-get install qemu-system-arm" in run("--doctor", code=1, path=str(tmp_path))
    sme = checks[-1]
    assert sme["what"].startswith("SME, SME2, FPMR")
    assert not sme["needed"]
    assert sme["found"] == "there is no qemu-system-aarch64"


@pytest.mark.parametrize(
    ("version", "sme", "found"),
    [
        ("7.2.22 (Debian)", True, "QEMU 7.2.22 has SME"),
        ("11.1.3", True, "QEMU 11.1.3 has SME and SME2 and FPMR"),
        ("7.0.0", False, "QEMU 7.0.0 has none"),
    ],
)
def test_the_doctor_says_what_qemu_has_of_sme(
    monkeypatch: pytest.MonkeyPatch, version: str, sme: bool, found: str
) -> None:
    """And promises no capture of it: it is something to be without."""
    monkeypatch.setattr(doctor, "has_sme", lambda: sme)
    monkeypatch.setattr(doctor, "qemu_version", lambda: version)
    monkeypatch.setattr(qemu, "qemu_version", lambda: version)
    check = doctor.examine()[-1]
    assert (check.ok, check.needed, check.found) == (False, False, found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no scenario given; expected one of contended,"),
        (["contendet"], "did you mean 'contended'?"),
        (["no-such.toml"], "unknown scenario"),
        (["short", "--cpus", "99"], "99 CPUs; expected 1 to 8"),
        (["short", "--cpus", "0"], "0 CPUs"),
        (["hotplug", "--cpus", "1"], "expected 2 to 8 CPUs"),
        (["short", "--seconds", "0"], "0 seconds"),
        (["short", "--seconds", "nan"], "nan seconds"),
        (["short", "--mode", "vhee"], "unknown mode 'vhee'"),
        (["short", "-o", "/no/such/folder/x.txt"], "there is no such folder"),
        (["short", "--modules", "/no/such/folder"], "a folder of kernel modules"),
        (["short", "--kernel", "/no/such/Image"], "cannot read the kernel"),
        (["short", "--kernel", "/dev/null"], "is not an arm64 kernel"),
        (
            ["short", "--kernel", "debian-6.2"],
            "one of debian-5.10, debian-6.1, debian-6.12, debian-6.12-rt, debian-7.2, debian-7.2-rt, debian-7.3",
        ),
        (["short", "--kernel", "debian-6.1", "--modules", "."], "modules without their kernel"),
    ],
)
def test_each_mistake_has_one_error(words: list[str], message: str) -> None:
    """Given, expected, where, and what to do; before anything boots."""
    assert message in run(*words, code=2)


def test_without_qemu_the_way_to_get_it_is_shown(tmp_path: Path) -> None:
    """The error names the package."""
    assert "apt-get install qemu-system-arm" in run("short", code=2, path=str(tmp_path))


def test_a_kernel_with_preempt_rt_is_none_of_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both are fetched from the same suite, and each is found by its own name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert apt.fetched_kernel("debian-6.12") is None
    images = {}
    for name in ("6.12.118+deb13-rt-arm64", "6.12.118+deb13-arm64", "6.1.0-56-arm64"):
        images[name] = apt.cache_folder() / "kernels" / f"linux-image-{name}" / "boot" / f"vmlinuz-{name}"
        images[name].parent.mkdir(parents=True)
        images[name].touch()
    for name, version in (
        ("debian-6.12", "6.12.118+deb13-arm64"), ("debian-6.12-rt", "6.12.118+deb13-rt-arm64"),
        ("debian-6.1", "6.1.0-56-arm64"),
    ):  # fmt: skip
        assert apt.fetched_kernel(name) == images[version]
    assert apt.fetched_kernel("debian-7.3-rt") is None
