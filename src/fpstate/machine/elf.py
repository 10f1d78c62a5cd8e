"""Reading programs: freestanding static AArch64 ELF files, and one clear error for anything else."""

from __future__ import annotations

import functools
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from fpstate.errors import FpstateError, unknown_name

PAGE = 4096
LOWEST, HIGHEST = 0x10000, 0x7000000  # where a program may lie; above are its heap, its stack and its device
PIE_BASE = 0x400000
MAX_BYTES = 64 << 20
_EXPECTED = "a static AArch64 ELF program (aarch64-linux-gnu-gcc -static -nostdlib)"


@dataclass(frozen=True)
class Segment:
    """One piece of a program in memory: address, bytes (zeros up to `size` behind them), what may be done with it."""

    address: int
    data: bytes
    size: int
    writable: bool
    executable: bool


@dataclass(frozen=True, eq=False)
class Program:
    """A program that can be run: its segments, its entry, and what Linux tells it of itself (AT_PHDR, AT_PHNUM)."""

    name: str
    segments: tuple[Segment, ...]
    entry: int
    headers: int
    header_count: int
    symbols: dict[str, int]
    arguments: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """Return the first address behind the program."""
        return max(s.address + s.size for s in self.segments)


def _folder() -> Path:
    return Path(__file__).parent / "programs"


INTERNAL = ("kernel", "pattern", "vmm")
"""Programs the machine uses itself."""

NEEDS_SVE = "sve"


def bundled_names() -> list[str]:
    """Return the names of the bundled programs that need no SVE, in order."""
    return sorted(path.stem for path in _folder().glob("*.elf") if path.stem not in (*INTERNAL, NEEDS_SVE))


@functools.cache
def bundled(name: str) -> Program:
    """Return a program of this package."""
    return read_program(_folder() / f"{name}.elf", name)


def find_program(name: str) -> Program:
    """Return a bundled program by its name, or the one in a user's own file, with arguments behind it.

    Raise FpstateError when it is neither.
    """
    file, *arguments = [name] if Path(name).is_file() else shlex.split(name) or [""]
    path, name = Path(file), file
    if name in (*bundled_names(), NEEDS_SVE) and not path.is_file():
        return bundled(name)
    if not path.is_file():
        error = unknown_name("program", name, bundled_names())
        error.expected += ", or the path of an ELF file"
        raise error
    return replace(read_program(path, path.stem), arguments=tuple(arguments))


def read_program(path: Path, name: str) -> Program:
    """Read an ELF file. Raise FpstateError when it is not one this machine can run."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    def refused(what: str, hint: str = "") -> FpstateError:
        return FpstateError(what, expected=_EXPECTED, where=str(path), hint=hint)

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            elf = ELFFile(file)
            header = elf.header
            if elf.elfclass != 64:
                raise refused("is a 32-bit program")
            if elf["e_machine"] != "EM_AARCH64" or not elf.little_endian:
                machine = str(elf["e_machine"]).removeprefix("EM_").lower()
                raise refused(f"is a program for {machine}{'' if elf.little_endian else ', big-endian'}")
            if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
                raise refused("is not linked" if elf["e_type"] == "ET_REL" else "is not a program")
            bias = PIE_BASE if elf["e_type"] == "ET_DYN" else 0
            found = list(elf.iter_segments())
            if any(s["p_type"] == "PT_INTERP" for s in found):
                raise refused("is dynamically linked", "link it with -static")
            loaded = [s for s in found if s["p_type"] == "PT_LOAD" and s["p_memsz"]]
            if not loaded:
                raise refused("has nothing to load")
            segments = []
            for s in loaded:
                start, length, flags = s["p_vaddr"] + bias, s["p_memsz"], s["p_flags"]
                if s["p_offset"] + s["p_filesz"] > size:
                    raise refused("is cut short: a segment ends behind the end of the file")
                if s["p_filesz"] > length:
                    raise refused("is damaged: a segment is larger in the file than in memory")
                if not (start >= LOWEST and start + length <= HIGHEST):
                    raise refused(f"lies at {start:#x}", f"link it between {LOWEST:#x} and {HIGHEST:#x}")
                if flags & 3 == 3:
                    raise refused(f"has code at {start:#x} that can be written", "link it with -Wl,-z,separate-code")
                file.seek(s["p_offset"])
                segments.append(Segment(start, file.read(s["p_filesz"]), length, bool(flags & 2), bool(flags & 1)))
            if sum(s.size for s in segments) > MAX_BYTES:
                raise refused(f"takes more than {MAX_BYTES >> 20} MiB")
            entry = header["e_entry"] + bias
            if not any(s.executable and s.address <= entry < s.address + len(s.data) for s in segments):
                raise refused(f"has its entry at {entry:#x}, outside its code")
            if entry % 4:
                raise refused(f"has its entry at {entry:#x}, which is not aligned")
            first = loaded[0]
            headers = first["p_vaddr"] + bias + header["e_phoff"] - first["p_offset"]
            table = elf.get_section_by_name(".symtab")
            symbols = {s.name: s["st_value"] + bias for s in table.iter_symbols()} if table else {}
    except ELFError as error:
        raise refused(f"is not an ELF file or is damaged: {error}" if str(error) else "is not an ELF file") from None
    except (KeyError, ValueError, TypeError, IndexError, UnicodeDecodeError, OverflowError, AttributeError) as error:
        raise refused(f"is a damaged ELF file: {type(error).__name__}") from None
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror}") from None
    return Program(name, tuple(segments), entry, headers, header["e_phnum"], symbols)
