"""An arm64 kernel image: its text, version, symbols, and the places in it where probes go."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path

from fpstate.errors import FpstateError
from fpstate.lab.recipe import EVENTS, FUNCTIONS, NEWER, PROBES, SAVERS, Recipe

_MAGIC = b"ARM\x64"  # at 56 of an Image (Documentation/arm64/booting.rst)
_VERSION = re.compile(rb"Linux version (\S+) [^\0\n]*")
_MODULES = ("lib/modules", "usr/lib/modules")
_NEEDED = ("KVM", "FUNCTION_TRACER", "DYNAMIC_FTRACE", "FTRACE_SYSCALLS", "BLK_DEV_INITRD", "KALLSYMS")
_IMAGE_ALIGNED = 1 << 21  # Documentation/arm64/booting.rst
_B_OR_BL, _BRANCH = 0x7C000000, 0x14000000  # Arm ARM, C4.1.66: bit 31 tells BL from B


@dataclass(frozen=True)
class Kernel:
    """An uncompressed Image and what is known about it. `modules` is the folder of its modules, or None."""

    image: bytes
    version: str
    source: str
    modules: Path | None

    @property
    def preemptible(self) -> bool:
        """Whether kernel code can be preempted, as the banner says: PREEMPT, PREEMPT_DYNAMIC, PREEMPT_RT."""
        return b" PREEMPT" in banner(self.image)

    @property
    def preempt_rt(self) -> bool:
        """Whether softirqs are served by threads, as the banner says: PREEMPT_RT."""
        return b" PREEMPT_RT" in banner(self.image)

    @property
    def digest(self) -> str:
        """Return a name for this image, the same wherever it lies."""
        return sha256(self.image).hexdigest()[:16]


def banner(image: bytes) -> bytes:
    """Return what a kernel says of itself as it boots: its version, who built it and when; empty if nothing."""
    found = _VERSION.search(image)
    return found[0] if found else b""


def read_kernel(path: Path, modules: Path | None = None) -> Kernel:
    """Return the kernel in an Image, an Image.gz or an EFI zboot image (vmlinuz.efi), with gzip inside.

    Modules are looked for where a package has them, at ../lib/modules/VERSION (or below usr), or beside the image,
    unless given. A config beside the image (config-VERSION, config, or .config of a build tree) must have what a
    capture needs. Raise FpstateError if it is unusable.
    """
    try:
        image = _unpacked(path.read_bytes())
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise FpstateError(f"cannot read the kernel: {error}", expected="an arm64 Image", where=str(path)) from None
    version = _VERSION.search(image)
    if image[56:60] != _MAGIC or not version:
        raise FpstateError(
            "is not an arm64 kernel", expected="an Image, Image.gz or vmlinuz.efi with gzip inside", where=str(path)
        )
    name = version[1].decode("ascii", "replace")
    _check_config(path, name)
    root = path.resolve().parent.parent
    beside = [folder for part in _MODULES if (folder := root / part / name).is_dir()]
    beside += [folder for folder in (path.resolve().parent,) if folder.name == name]
    return Kernel(image, name, str(path), modules or next(iter(beside), None))


def _unpacked(data: bytes) -> bytes:
    if data[:2] == b"MZ" and data[4:8] == b"zimg":  # include/linux/pe.h: offset and size of the payload, its form
        offset, size = struct.unpack_from("<II", data, 8)
        if data[24:28] != b"gzip":
            return b""
        data = data[offset : offset + size]
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def _check_config(path: Path, version: str) -> None:
    beside = path.with_name(f"config-{version}"), path.with_name("config")
    for config in (*beside, path.resolve().parent / "../../../.config"):
        if not config.is_file():
            continue
        text = config.read_text(errors="replace")
        lacking = [f"CONFIG_{name}" for name in _NEEDED if f"CONFIG_{name}=y" not in text]
        if lacking:
            raise FpstateError(
                f"the kernel is built without {', '.join(lacking)}", expected="them built in", where=str(config)
            )
        return


class Moved(Enum):
    """What moves the first register of a file, as (mask, word) of an instruction (Arm ARM, C7.2 and C8.2)."""

    SAVE_V = 0xFFFFFC1F, 0xAD000400  # STP Q0, Q1, [Xn]
    LOAD_V = 0xFFFFFC1F, 0xAD400400  # LDP Q0, Q1, [Xn]
    SAVE_Z = 0xFFC0E01F, 0xE5804000  # STR Z0, [Xn, #imm, MUL VL]
    LOAD_Z = 0xFFC0E01F, 0x85804000  # LDR Z0, [Xn, #imm, MUL VL]


class Symbols:
    """The symbols of a kernel as its own /proc/kallsyms gives them, booted with `nokaslr`."""

    def __init__(self, kallsyms: str) -> None:
        pairs = [line.split()[:3] for line in kallsyms.splitlines() if "[" not in line]
        self._address = {name: int(address, 16) for address, _, name in reversed(pairs)}
        self._starts = sorted(set(self._address.values()))
        self._names = {address: name for name, address in reversed(self._address.items())}

    def address(self, name: str) -> int | None:
        """Return the address of a symbol, or None."""
        return self._address.get(name)

    def near(self, address: int) -> str:
        """Return an address as NAME+0xOFFSET of the symbol it lies in."""
        i = bisect_right(self._starts, address) - 1
        start = self._starts[max(i, 0)]
        return f"{self._names[start]}+{address - start:#x}"

    def base(self) -> int | None:
        """Return the address of the image's first byte: _text, a multiple of 2 MiB just below _stext, or None."""
        start = self.address("_text") or self.address("_stext")
        return None if start is None else start & ~(_IMAGE_ALIGNED - 1)

    def end(self, start: int) -> int:
        """Return where the symbol at `start` ends: the next one's start."""
        i = bisect_right(self._starts, start)
        return self._starts[i] if i < len(self._starts) else start


def _words(kernel: Kernel, symbols: Symbols, function: str) -> tuple[int, ...]:
    """Return the instructions of a function, by decoding the image; none if it is not there."""
    base, start = symbols.base(), symbols.address(function)
    if base is None or start is None:
        return ()
    return struct.unpack_from(f"<{(symbols.end(start) - start) // 4}I", kernel.image, start - base)


def calls(kernel: Kernel, symbols: Symbols, caller: str, callee: str) -> list[int]:
    """Return the offsets in `caller` of all branches to `callee`, by decoding the image."""
    start, target = symbols.address(caller), symbols.address(callee)
    if start is None or target is None:
        return []
    found = []
    for i, word in enumerate(_words(kernel, symbols, caller)):
        if word & _B_OR_BL != _BRANCH:
            continue
        distance = (word & 0x3FFFFFF) - ((word & 0x2000000) << 1)
        if start + 4 * (i + distance) == target:
            found.append(4 * i)
    return found


def moves(kernel: Kernel, symbols: Symbols, function: str, register: Moved) -> list[int]:
    """Return the offsets in `function` of all instructions that move the first register of a file.

    Since v7.2 the loops that save and load registers stand in their callers; each begins with register 0.
    """
    mask, word = register.value
    return [4 * i for i, found in enumerate(_words(kernel, symbols, function)) if found & mask == word]


def decisions(kernel: Kernel, symbols: Symbols, caller: str, callee: str) -> list[int]:
    """Return the addresses of the conditional branches in `caller` that decide whether it calls `callee`.

    They lead into the straight line of code that ends in the call, or stand just before it (Arm ARM, C4.1.66).
    """
    start, words = symbols.address(caller), _words(kernel, symbols, caller)
    if start is None:
        return []
    found = set()
    for offset in calls(kernel, symbols, caller, callee):
        call = first = offset // 4
        while first and not _is_branch(words[first - 1]):
            first -= 1
        targets = {i: i + distance for i, word in enumerate(words) if (distance := _conditional(word)) is not None}
        found |= {i for i, target in targets.items() if first <= target <= call or i == first - 1}
    return [start + 4 * i for i in sorted(found)]


def opened(kernel: Kernel, symbols: Symbols, function: str, address: int) -> int:
    """Return the address of the instruction before `address` that lets interrupts in, in a straight line to it.

    It is `address` itself if there is none, or if a branch leads in between. Until there, nothing can interrupt.
    """
    start, words = symbols.address(function), _words(kernel, symbols, function)
    if start is None:
        return address
    at = first = (address - start) // 4
    while first and not _is_branch(words[first - 1]) and not _lets_in(words[first]):
        first -= 1
    targets = {i + distance for i, word in enumerate(words) if (distance := _conditional(word)) is not None}
    inside = any(first < target <= at for target in targets)
    return start + 4 * first if _lets_in(words[first]) and not inside else address


def _lets_in(word: int) -> bool:
    """Tell whether a word is MSR DAIFClr or MSR DAIF (Arm ARM, C6.2)."""
    return word & 0xFFFFF0FF == 0xD50340FF or word & 0xFFFFFFE0 == 0xD51B4220


def _is_branch(word: int) -> bool:
    """Tell whether a word is in the group of branches and system instructions, but none of the latter."""
    return word & 0x1C000000 == 0x14000000 and word & 0xFFC00000 != 0xD5000000


def _conditional(word: int) -> int | None:
    """Return how many words a conditional branch skips; None for any other instruction."""
    if word & 0x7E000000 == 0x36000000:  # TBZ, TBNZ
        return (word >> 5 & 0x3FFF) - ((word >> 18 & 1) << 14)
    if word & 0x7E000000 == 0x34000000 or word & 0xFF000010 == 0x54000000:  # CBZ, CBNZ; B.cond
        return (word >> 5 & 0x7FFFF) - ((word >> 23 & 1) << 19)
    return None


def recipe_for(kernel: Kernel, symbols: Symbols, functions: set[str], events: set[str]) -> Recipe:
    """Return what can be recorded of this kernel, given what its tracefs says is available."""
    probes = {}
    missing = [name for name in EVENTS if name.replace("/", ":") not in events]
    missing += [name for name in FUNCTIONS if name not in functions and name not in NEWER]
    inline = {"hw_save": Moved.SAVE_V, "hw_sve_save": Moved.SAVE_Z}
    for name, callee in PROBES.items():
        places = [f"{saver}+{offset:#x}" for saver in SAVERS for offset in calls(kernel, symbols, saver, callee)]
        places = places or [f"{f}+{offset:#x}" for f in SAVERS for offset in moves(kernel, symbols, f, inline[name])]
        if len(places) == 1:
            probes[name] = places[0]
        else:
            missing.append(name)
    return Recipe(
        tuple(name for name in EVENTS if name not in missing),
        tuple(name for name in FUNCTIONS if name in functions),
        probes,
        tuple(missing),
    )


def depends(module: bytes) -> list[str]:
    """Return the modules a module says it depends on."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.decode().replace("_", "-") for name in found[1].split(b",") if name] if found else []


def with_dependencies(kernel: Kernel, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return modules by file name, those a module depends on before it; names that are built in are left out."""
    if kernel.modules is None:
        return {}
    files = {path.name.split(".ko")[0].replace("_", "-"): path for path in kernel.modules.rglob("*.ko*")}
    result: dict[str, bytes] = {}

    def add(name: str) -> None:
        path = files.get(name.replace("_", "-"))
        if path is None or f"{name}.ko" in result:
            return
        content = _plain_module(path)
        for other in depends(content):
            add(other)
        result[f"{name}.ko"] = content

    for name in names:
        add(name.replace("_", "-"))
    return result


def _plain_module(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        import lzma

        return lzma.decompress(content)
    return gzip.decompress(content) if path.suffix == ".gz" else content
