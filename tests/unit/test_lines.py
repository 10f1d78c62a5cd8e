"""File and line of an address, from a vmlinux: made with the system's compiler, or skipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fpstate.kernel import named
from fpstate.lab.kernel import Kernel
from fpstate.lab.lines import line_of, vmlinux_of

BANNER = b"Linux version 9.9.9-mine (me@here) #1 SMP PREEMPT"


@pytest.fixture
def built(tmp_path: Path) -> tuple[Kernel, int]:
    """Return a kernel beside whose image lies a vmlinux with debug information, and the address of a function."""
    compiler, tool = shutil.which("cc"), shutil.which("addr2line")
    if compiler is None or tool is None:
        pytest.skip("no C compiler, or no addr2line")
    source = tmp_path / "fpsimd.c"
    source.write_text(
        f'const char banner[] = "{BANNER.decode()}";\n\nint saves(int a)\n{{\n\treturn a + banner[0];\n}}\n'
    )
    boot = tmp_path / "arch/arm64/boot"
    boot.mkdir(parents=True)
    words = [compiler, "-g", "-O0", "-nostdlib", "-static", "-no-pie", "-Wl,-e,saves", "-o", "vmlinux", "fpsimd.c"]
    subprocess.run(words, cwd=tmp_path, check=True)
    symbols = subprocess.run(["nm", "vmlinux"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    address = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" saves"))
    return Kernel(BANNER + b"\0", "9.9.9-mine", str(boot / "Image"), None), address


def test_the_line_of_an_instruction(built: tuple[Kernel, int]) -> None:
    kernel, address = built
    assert line_of(kernel, address).endswith("fpsimd.c:4")
    assert line_of(kernel, 0x10) == ""


def test_a_vmlinux_of_another_build_is_none(built: tuple[Kernel, int]) -> None:
    kernel, address = built
    other = Kernel(BANNER.replace(b"#1", b"#2") + b"\0", kernel.version, kernel.source, None)
    assert vmlinux_of(kernel) is not None
    assert vmlinux_of(other) is None
    assert line_of(other, address) == ""


def test_where_a_kernel_decided_has_its_line(built: tuple[Kernel, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What names no instruction stays as it is."""
    kernel, address = built

    class Known:
        symbols = type("Symbols", (), {"address": staticmethod({"saves": address}.get)})

    monkeypatch.setattr("fpstate.lab.capture.known", lambda *_: Known)
    monkeypatch.setattr(named, "_kernel", lambda _: kernel)
    assert named.with_line("kernel:mine", "enters, at saves+0x0").endswith("fpsimd.c:4)")
    assert named.with_line("kernel:mine", "enters, at lost+0x0") == "enters, at lost+0x0"
    assert named.with_line("kernel:mine", "enters") == "enters"
