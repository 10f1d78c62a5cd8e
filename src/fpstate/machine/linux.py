"""What little of Linux a static program needs beside the machine's own calls: memory, identity, time, and "no"."""

from __future__ import annotations

import random
import struct

from fpstate.machine.elf import PAGE, Program
from fpstate.machine.memory import HEAP, STACK_TOP, Space

EFAULT, EBADF, ENOMEM, EINVAL, ENOSYS, ENOENT, ENOTTY = 14, 9, 12, 22, 38, 2, 25
HEAP_BYTES = 8 << 20
MMAP = 0x20000000
_AT_PHDR, _AT_PHENT, _AT_PHNUM, _AT_PAGESZ, _AT_ENTRY, _AT_HWCAP, _AT_RANDOM, _AT_SECURE = 3, 4, 5, 6, 9, 16, 25, 23
_HWCAP_FP_ASIMD = 3


def initial_stack(space: Space, program: Program) -> int:
    """Write what Linux puts on a new program's stack (arguments, no environment, auxiliary vector); return SP."""
    at = STACK_TOP - 256
    space.write(at, bytes(range(16)))  # AT_RANDOM: the same in every run, so that results are
    pointers = []
    for text in (program.name, *program.arguments):
        data = text.encode() + b"\0"
        at -= len(data)
        space.write(at, data)
        pointers.append(at)
    vector = [
        (_AT_PHDR, program.headers), (_AT_PHENT, 56), (_AT_PHNUM, program.header_count), (_AT_PAGESZ, PAGE),
        (_AT_ENTRY, program.entry), (_AT_HWCAP, _HWCAP_FP_ASIMD), (_AT_SECURE, 0), (_AT_RANDOM, STACK_TOP - 256),
        (0, 0),
    ]  # fmt: skip
    words = [len(pointers), *pointers, 0, 0, *(w for pair in vector for w in pair)]
    at = (at - 8 * len(words)) & ~15
    space.write(at, struct.pack(f"<{len(words)}Q", *words))
    return at


class Linux:
    """The system calls of one task. Every call not listed answers ENOSYS; which those were is in `refused`."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.break_ = self.mapped_to = HEAP
        self.next_map = MMAP
        self.random = random.Random(0)  # noqa: S311 - repeatable, not secret
        self.refused: set[int] = set()

    def call(self, number: int, a: list[int], output: bytearray, now: int) -> int:
        """Return the answer to a call; negative numbers are errors, as in Linux."""
        if number == 64:  # write
            data = self.space.read(a[1], min(a[2], 1 << 20)) if a[0] in (1, 2) else None
            if data is None:
                return -EFAULT if a[0] in (1, 2) else -EBADF
            output += data
            return len(data)
        if number == 66:  # writev
            return self._writev(a, output)
        if number == 214:  # brk
            return self._brk(a[0])
        if number == 222:  # mmap
            return self._mmap(a)
        if number in (215, 226, 233):  # munmap, mprotect, madvise: all is mapped for good
            return 0
        if number in (172, 178, 96):  # getpid, gettid, set_tid_address
            return 1
        if number in (174, 175, 176, 177):  # getuid, geteuid, getgid, getegid
            return 0
        if number in (99, 134, 135):  # set_robust_list, rt_sigaction, rt_sigprocmask: there are no signals
            return 0
        if number == 278:  # getrandom
            return a[1] if self.space.write(a[0], self.random.randbytes(min(a[1], 256))) else -EFAULT
        if number == 113:  # clock_gettime: the machine's own time
            time = struct.pack("<QQ", now // 10**9, now % 10**9)
            return 0 if self.space.write(a[1], time) else -EFAULT
        if number == 160:  # uname
            names = ("Linux", "fpstate", "6.1.0", "#1", "aarch64", "")
            data = b"".join(name.encode().ljust(65, b"\0") for name in names)
            return 0 if self.space.write(a[0], data) else -EFAULT
        if number in (29, 25, 57):  # ioctl, fcntl, close
            return -ENOTTY if number == 29 else 0
        if number in (56, 48, 78, 79):  # openat, faccessat, readlinkat, newfstatat: there are no files
            return -ENOENT
        self.refused.add(number)
        return -ENOSYS

    def _writev(self, a: list[int], output: bytearray) -> int:
        total = 0
        for i in range(min(a[2], 64)):
            entry = self.space.read(a[1] + 16 * i, 16)
            if entry is None:
                return -EFAULT
            base, size = struct.unpack("<QQ", entry)
            data = self.space.read(base, min(size, 1 << 20))
            if data is None:
                return -EFAULT
            output += data
            total += len(data)
        return total

    def _brk(self, wanted: int) -> int:
        if HEAP <= wanted <= HEAP + HEAP_BYTES:
            if wanted > self.mapped_to:
                size = -(-(wanted - self.mapped_to) // PAGE) * PAGE
                self.space.map(self.mapped_to, size)
                self.mapped_to += size
            self.break_ = wanted
        return self.break_

    def _mmap(self, a: list[int]) -> int:
        size = -(-a[1] // PAGE) * PAGE
        if not a[3] & 0x20:  # MAP_ANONYMOUS
            return -EBADF
        if not 0 < size <= HEAP_BYTES:
            return -ENOMEM
        at = self.next_map
        self.next_map += size + PAGE
        self.space.map(at, size)
        return at
