"""One run of the emulated machine: QEMU, a kernel, the payload and its plan; files come back by semihosting."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fpstate.errors import FpstateError, unknown_name
from fpstate.lab.initramfs import initramfs
from fpstate.lab.kernel import Kernel
from fpstate.lab.payload import payload

QEMU = "qemu-system-aarch64"
MODES = {"vhe": "", "nvhe": "kvm-arm.mode=nvhe", "hvhe": "arm64_sw.hvhe=1 id_aa64mmfr1.vh=0"}
"""Kernel command lines (Documentation/admin-guide/kernel-parameters.txt). hvhe: nVHE's code in the VHE form of EL2."""

_EXTRA = {"max": "max,pauth-impdef=on"}  # its own pointer authentication is an order of magnitude slower to emulate
_SAID = re.compile(r"(\w+) mode initialized successfully")  # arch/arm64/kvm/arm.c: VHE, hVHE, nVHE, or Hyp for nVHE
_SLOW_START = 75  # seconds a boot and reading the trace may take on a busy machine


@dataclass(frozen=True)
class Machine:
    """What is emulated. `mode` is one of MODES, or empty for what the kernel chooses; `options` are the model's own."""

    cpu_model: str
    cpus: int
    mode: str = ""
    options: str = ""

    @property
    def name(self) -> str:
        """A name for it that a file may have, but for the number of its CPUs."""
        return "-".join(filter(None, (self.cpu_model, self.options, self.mode or "vhe")))


@dataclass(frozen=True)
class Message:
    """Something the payload told: what, about whom, and a number (minus errno, mostly)."""

    what: str
    about: str
    number: int


@dataclass(frozen=True)
class Run:
    """What came back: `folder` holds the files copied; the emulator's logs are those that match qemu.*."""

    folder: Path
    messages: list[Message]

    def text(self, name: str) -> str:
        """Return a file the plan copied; empty when it was not there."""
        path = self.folder / name
        return path.read_text(errors="backslashreplace") if path.is_file() else ""

    def logs(self) -> list[Path]:
        """Return the emulator's logs, one for each of its threads."""
        return sorted(self.folder.glob("qemu.*"))


@cache
def cpu_models() -> list[str]:
    """Return the 64-bit CPU models QEMU has with EL2. Raise FpstateError without QEMU."""
    names = re.findall(r"^\s+(\S+)$", _ask("-M", "virt", "-cpu", "help"), re.M)
    return [name for name in names if name == "max" or name.startswith(("cortex-a5", "cortex-a7", "neoverse", "a64fx"))]


@cache
def qemu_version() -> str:
    """Return what QEMU says of its version. Raise FpstateError without QEMU."""
    return _ask("--version").splitlines()[0].removeprefix("QEMU emulator version ")


@cache
def has_sme() -> bool:
    """Return whether QEMU's CPU model max has SME. Raise FpstateError without QEMU."""
    return re.search(r"^\s+sme=<bool>", _ask("-M", "virt", "-device", "max-arm-cpu,help"), re.M) is not None


def version_number() -> tuple[int, ...]:
    """Return the first two numbers of QEMU's version. Raise FpstateError without QEMU."""
    return tuple(int(part) if part.isdigit() else 0 for part in qemu_version().split()[0].split(".")[:2])


def _ask(*words: str) -> str:
    try:
        done = subprocess.run([QEMU, *words], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        hint = "apt-get install qemu-system-arm   (see fpstate capture --doctor)"
        raise FpstateError(f"there is no {QEMU}", expected="QEMU 7.2 or newer", hint=hint) from None
    except subprocess.CalledProcessError as error:
        raise FpstateError(f"{QEMU} failed: {error.stderr.strip()[-200:]}", expected="QEMU 7.2 or newer") from None
    return done.stdout


def check_machine(machine: Machine) -> None:
    """Raise FpstateError for a CPU model or mode that there is not."""
    if machine.mode and machine.mode not in MODES:
        raise unknown_name("mode", machine.mode, MODES)
    if machine.cpu_model not in cpu_models():
        raise unknown_name("CPU model", machine.cpu_model, cpu_models())


def emulated(machine: Machine, megabytes: int) -> list[str]:
    """Return QEMU and its options for a machine with nothing attached."""
    model = ",".join(filter(None, (_EXTRA.get(machine.cpu_model, machine.cpu_model), machine.options)))
    words = [QEMU, "-M", "virt,virtualization=on,gic-version=3", "-cpu", model, "-smp", str(machine.cpus)]
    return [*words, "-m", str(megabytes), "-nodefaults", "-display", "none", "-no-reboot"]


def mode_of(messages_of_kernel: str) -> str:
    """Return the mode KVM says it runs in, one of MODES; empty when it does not run."""
    said = _SAID.findall(messages_of_kernel)
    return {"VHE": "vhe", "hVHE": "hvhe", "nVHE": "nvhe", "Hyp": "nvhe"}.get(said[-1], "") if said else ""


def run(
    kernel: Kernel,
    machine: Machine,
    plan: Sequence[str],
    folder: Path,
    *,
    modules: Mapping[str, bytes] | None = None,
    plugin: str = "",
    seconds: float = 0,
) -> Run:
    """Boot, carry out the plan, and return what came back in `folder`.

    With `plugin` (QEMU's argument for it) the emulator's logs are kept. Raise FpstateError if it does not finish.
    """
    (folder / "Image").write_bytes(kernel.image)
    (folder / "initrd").write_bytes(initramfs(payload(), "\n".join(plan) + "\n", modules or {}))
    words = emulated(machine, 1536)
    words += ["-serial", "file:console", "-kernel", "Image", "-initrd", "initrd"]
    words += ["-append", f"console=ttyAMA0 quiet nokaslr panic=-1 rdinit=/init {MODES[machine.mode or 'vhe']}".strip()]
    words += ["-semihosting-config", "enable=on,target=native,userspace=on"]
    if plugin:
        words += ["-plugin", plugin, "-d", "int,plugin,tid", "-D", "qemu.%d"]
    said = _carry_out(words, folder, seconds + _SLOW_START)
    done = Run(folder, _messages(folder / "log"))
    if not any(message.what == "finished" for message in done.messages):
        console = [line for line in (said + done.text("console")).splitlines() if line.strip()]
        panic = [line for line in console if "panic" in line]
        raise FpstateError(
            "the emulated machine did not finish: " + (" | ".join(panic or console[-3:]) or "it said nothing"),
            expected="a kernel that boots on QEMU's virt machine with this CPU model",
            where=kernel.source,
        )
    return done


def _carry_out(words: list[str], folder: Path, limit: float) -> str:
    with subprocess.Popen(
        words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            return process.communicate(timeout=limit)[1]
        except subprocess.TimeoutExpired:
            return f"stopped after {limit:.0f} s\n"
        finally:
            process.kill()


def _messages(path: Path) -> list[Message]:
    result = []
    for line in path.read_text(errors="backslashreplace").splitlines() if path.is_file() else []:
        what, about, number = [*line.split("\t"), "", ""][:3]
        result.append(Message(what, about, int(number) if number.lstrip("-").isdigit() else 0))
    return result
