"""The machine's memory: one RAM for all CPUs, and address spaces that map parts of it.

For every page of code there is a second one, for instruction fetch only, in which each FP/SIMD word is an undefined
instruction: a CPU whose FP registers are to trap fetches from that. Code that reads counter or ID registers is fetched
from copies in which those words are undefined, too: the engine would answer by a clock and features of its own.
"""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

from fpstate.errors import FpstateError
from fpstate.machine.elf import PAGE, Program
from fpstate.machine.words import UDF, is_fp, is_read

RAM_BASE = 0x4000_0000
READ, WRITE, EXECUTE = 1, 2, 4  # as Unicorn numbers them

RUN_PAGE = 0x8000000  # the page a VMM shares with the kernel
DEVICE = 0x9000000  # never mapped
HEAP = 0x10000000
STACK_TOP = 0x7F000000
KERNEL_BUFFER = 0x7000000


class Ram:
    """RAM of a fixed size, handed out in pages: data from the bottom until `reset`, code from the top for good."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.map = mmap.mmap(-1, size)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self.used, self.top = 0, size

    def take(self, size: int, *, for_good: bool = False) -> int:
        """Return the offset of `size` fresh bytes of zeros, on a page boundary."""
        pages = -(-size // PAGE) * PAGE
        if self.used + pages > self.top:
            raise FpstateError(f"the machine's memory of {self.size >> 20} MiB is full", hint="run fewer programs")
        if for_good:
            self.top -= pages
            return self.top
        self.used += pages
        return self.used - pages

    def reset(self) -> None:
        """Take back all that was not handed out for good. It is zeros again."""
        self.map[: self.used] = bytes(self.used)
        self.used = 0

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset."""
        self.map[offset : offset + len(data)] = data


class Text:
    """The code of a program, shared by all that run it: its pages as data, and as code with FP on and off."""

    def __init__(self, ram: Ram, program: Program) -> None:
        self.pages: dict[int, int] = {}  # virtual page -> physical address
        self.fetched: dict[int, int] = {}  # where that is not the same page
        self.masked: dict[int, int] = {}
        for s in program.segments:
            if s.writable:
                continue
            first, last = s.address // PAGE, (s.address + s.size - 1) // PAGE
            pieces = bytearray((last - first + 1) * PAGE)
            at = s.address - first * PAGE
            pieces[at : at + len(s.data)] = s.data
            self._place(ram, self.pages, first, bytes(pieces))
            if s.executable:
                words = np.frombuffer(bytes(pieces), np.uint32)
                words = np.where(is_read(words), np.uint32(UDF), words)
                if words.tobytes() != bytes(pieces):
                    self._place(ram, self.fetched, first, words.tobytes())
                self._place(ram, self.masked, first, np.where(is_fp(words), np.uint32(UDF), words).tobytes())

    def _place(self, ram: Ram, pages: dict[int, int], first: int, data: bytes) -> None:
        offset = ram.take(len(data), for_good=True)
        ram.write(offset, data)
        for i in range(len(data) // PAGE):
            pages[first + i] = RAM_BASE + offset + i * PAGE


class Space:
    """An address space: what each virtual page maps to, as (physical address, permissions)."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.pages: dict[int, tuple[int, int]] = {}
        self.fetched: dict[int, tuple[int, int]] = {}
        self.masked: dict[int, tuple[int, int]] = {}

    def map(self, address: int, size: int, permissions: int = READ | WRITE) -> None:
        """Map fresh zeroed memory."""
        first, last = address // PAGE, (address + size - 1) // PAGE
        offset = self.ram.take((last - first + 1) * PAGE)
        for i in range(last - first + 1):
            self.pages[first + i] = RAM_BASE + offset + i * PAGE, permissions

    def map_code(self, address: int, words: tuple[int, ...]) -> None:
        """Map a page of code without FP instructions."""
        self.map(address, PAGE, READ | EXECUTE)
        self.write(address, b"".join(word.to_bytes(4, "little") for word in words))
        self.masked[address // PAGE] = self.pages[address // PAGE]

    def load(self, program: Program, text: Text) -> None:
        """Map a program: its shared code and constants, and its own writable data."""
        for page, where in text.pages.items():
            self.pages[page] = where, READ | (EXECUTE if page in text.masked else 0)
        for into, pages in ((self.fetched, text.fetched), (self.masked, text.masked)):
            for page, where in pages.items():
                into[page] = where, EXECUTE
        for s in program.segments:
            if s.writable:
                self.map(s.address, s.size)
                self.write(s.address, s.data)

    def offset(self, address: int) -> int | None:
        """Return where in RAM a virtual address lies, or None if it is not mapped."""
        found = self.pages.get(address // PAGE)
        return None if found is None else found[0] - RAM_BASE + address % PAGE

    def read(self, address: int, size: int) -> bytes | None:
        """Return bytes at a virtual address, or None if not all of them are mapped."""
        pieces = []
        while size > 0:
            offset = self.offset(address)
            if offset is None:
                return None
            n = min(size, PAGE - address % PAGE)
            pieces.append(self.ram.map[offset : offset + n])
            address, size = address + n, size - n
        return b"".join(pieces)

    def write(self, address: int, data: bytes) -> bool:
        """Write bytes at a virtual address; return whether all of them are mapped."""
        while data:
            offset = self.offset(address)
            if offset is None:
                return False
            n = min(len(data), PAGE - address % PAGE)
            self.ram.write(offset, data[:n])
            address, data = address + n, data[n:]
        return True

    def word(self, address: int) -> int:
        """Return the instruction at a virtual address, 0 if there is none."""
        offset = self.offset(address)
        return 0 if offset is None else int.from_bytes(self.ram.map[offset : offset + 4], "little")
