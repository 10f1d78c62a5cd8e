"""A dump of a booted kernel: its memory and system registers at a quiet place, kept under the image's digest."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

from fpstate.errors import FpstateError
from fpstate.lab.apt import cache_folder, new_folder
from fpstate.lab.capture import known
from fpstate.lab.gdb import connected, registers
from fpstate.lab.kernel import Kernel, Symbols
from fpstate.lab.qemu import MODES, Machine, check_machine, emulated

RAM_AT = 0x40000000
"""Where the memory of QEMU's virt machine begins (hw/arm/virt.c)."""
RAM_SIZE = 256 << 20
SPARE = 1 << 20
"""How much of it, at its end, the kernel is not told of: room for others that it maps where it would map its own."""
FORM = 2
"""What is kept is this form of dump; others are not read."""
QUIET = "end Kernel panic"
"""What the console says when nothing will happen any more: the machine has no root file system."""
BOOT_SECONDS = 90

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Dump:
    """A machine's memory in `ram` (a file, RAM_SIZE bytes from RAM_AT), and its registers by name."""

    kernel: Kernel
    machine: Machine
    symbols: Symbols
    registers: dict[str, int]
    ram: Path

    @property
    def mode(self) -> str:
        """KVM's mode, one of MODES: "vhe" at EL2; below it HCR_EL2.E2H, bit 34, tells (Arm ARM, D19.2.48)."""
        if self.registers["CPSR"] & 12 == 8:
            return "vhe"
        return "hvhe" if self.registers["HCR_EL2"] >> 34 & 1 else "nvhe"

    @property
    def has_sve(self) -> bool:
        """Whether the CPU has SVE."""
        return "ZCR_EL1" in self.registers


def dump_of(kernel: Kernel, machine: Machine, tell: Tell) -> Dump:
    """Return the dump of a kernel on a machine: from the cache, or from a boot.

    Raise FpstateError if it does not boot that far.
    """
    folder = cache_folder() / "dumps" / f"{kernel.digest}-{machine.name}-{FORM}"
    found = _kept(folder)
    if found is None:
        check_machine(machine)
    symbols = known(kernel, tell).symbols
    if found is None:
        tell(f"booting Linux {kernel.version} on {machine.cpu_model} for a dump of its memory")
        with new_folder(folder) as part:
            _boot(kernel, machine, part)
        found = _kept(folder)
    if found is None:
        raise FpstateError("the dump cannot be read back", expected="a file that stays as it is", where=str(folder))
    return Dump(kernel, machine, symbols, found, folder / "ram")


def _kept(folder: Path) -> dict[str, int] | None:
    """Return the registers of a dump kept in a folder, if it is there and whole."""
    try:
        about = json.loads((folder / "about.json").read_text())
        with (folder / "ram").open("rb") as ram:
            digest = sha256()
            while block := ram.read(1 << 20):
                digest.update(block)
        return dict(about["registers"]) if about["sha256"] == digest.hexdigest() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _boot(kernel: Kernel, machine: Machine, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fpstate-") as short:  # names of sockets may be 107 bytes long
        sockets = Path(short)
        (folder / "Image").write_bytes(kernel.image)
        words = emulated(machine, RAM_SIZE >> 20)
        words += ["-serial", "file:console", "-kernel", "Image"]
        said = f"console=ttyAMA0 nokaslr panic=0 mem={RAM_SIZE - SPARE >> 20}M {MODES[machine.mode or 'vhe']}"
        words += ["-append", said.strip()]
        words += ["-qmp", f"unix:{sockets}/qmp,server=on,wait=off", "-gdb", f"unix:{sockets}/gdb,server=on,wait=off"]
        with subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait(process, folder / "console", kernel)
                with connected(sockets / "qmp", "rw", 60) as file:
                    control = _Control(file)
                    control.ask("stop")
                    control.ask("pmemsave", val=RAM_AT, size=RAM_SIZE, filename=str(folder / "ram"))
                    found = registers(sockets / "gdb")
            finally:
                process.kill()
    (folder / "Image").unlink()
    digest = sha256((folder / "ram").read_bytes()).hexdigest()
    (folder / "about.json").write_text(json.dumps({"sha256": digest, "registers": found}))


def _wait(process: subprocess.Popen[bytes], console: Path, kernel: Kernel) -> None:
    """Wait until the kernel has given up for want of a root file system."""
    until = time.monotonic() + BOOT_SECONDS
    while True:
        said = console.read_text(errors="replace") if console.exists() else ""
        if QUIET in said:
            return
        if process.poll() is not None or time.monotonic() > until:
            last = [line for line in said.splitlines() if line.strip()][-1:]
            raise FpstateError(
                f"the kernel does not boot: {' '.join(last) or 'it said nothing'}",
                expected="a kernel that boots on QEMU's virt machine up to where it looks for a root file system",
                where=kernel.source,
            )
        time.sleep(0.1)


class _Control:
    """QEMU's own control socket (QMP)."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> None:
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while line := self._file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise FpstateError(f"QEMU refuses {command}: {answer['error'].get('desc', '')}", expected="it done")
            if "return" in answer:
                return
