"""What little of Linux a static program needs beside the machine's own calls: memory, identity, time, and "no"."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from fpstate.machine.elf import PAGE, Program
from fpstate.machine.memory import HEAP, STACK_TOP, Space
from fpstate.machine.signals import KILL, LAST, STOP, Signals
from fpstate.machine.tape import Tape

EFAULT, EBADF, ENOMEM, EINVAL, ENOSYS, ENOENT, ENOTTY, ESRCH = 14, 9, 12, 22, 38, 2, 25, 3
FIRST_PID = 100
RT_SIGRETURN = 139
HEAP_BYTES = 8 << 20
MMAP = 0x20000000
_AT_PHDR, _AT_PHENT, _AT_PHNUM, _AT_PAGESZ, _AT_ENTRY, _AT_HWCAP, _AT_RANDOM, _AT_SECURE = 3, 4, 5, 6, 9, 16, 25, 23
_HWCAP_FP_ASIMD, _HWCAP_SVE = 3, 1 << 22


def initial_stack(space: Space, program: Program, *, sve: bool = False) -> int:
    """Write what Linux puts on a new program's stack (arguments, no environment, auxiliary vector); return SP."""
    hwcap = _HWCAP_FP_ASIMD | (_HWCAP_SVE if sve else 0)
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
        (_AT_ENTRY, program.entry), (_AT_HWCAP, hwcap), (_AT_SECURE, 0), (_AT_RANDOM, STACK_TOP - 256),
        (0, 0),
    ]  # fmt: skip
    words = [len(pointers), *pointers, 0, 0, *(w for pair in vector for w in pair)]
    at = (at - 8 * len(words)) & ~15
    space.write(at, struct.pack(f"<{len(words)}Q", *words))
    return at


class Linux:
    """The system calls of one task, or of a guest that is one: what its own kernel would do.

    Every call not listed answers ENOSYS; which those were is in `refused`. `kill` sends a signal to another process.
    """

    def __init__(self, space: Space, tape: Tape, pid: int, kill: Callable[[int, int], bool]) -> None:
        self.space, self.tape, self.pid, self.kill = space, tape, pid, kill
        self.signals = Signals()
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
            return self.tape.process(self.pid)
        if number in (129, 130):  # kill, tkill
            return self._kill(a[0], a[1])
        if number == 131:  # tgkill
            return self._kill(a[1], a[2])
        if number == 134:  # rt_sigaction
            return self._sigaction(a)
        if number == 135:  # rt_sigprocmask
            return self._sigprocmask(a)
        if number in (174, 175, 176, 177):  # getuid, geteuid, getgid, getegid
            return 0
        if number == 99:  # set_robust_list
            return 0
        if number == 278:  # getrandom
            return a[1] if self.space.write(a[0], self.random.randbytes(min(a[1], 256))) else -EFAULT
        if number == 113:  # clock_gettime: the machine's own time
            now = self.tape.answer(now)
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

    def _kill(self, pid: int, number: int) -> int:
        """Send a signal to itself (0: its process group, which is itself alone) or to another process."""
        number, pid = number & 0xFFFFFFFF, pid & 0xFFFFFFFF
        if number > LAST:
            return -EINVAL
        if pid == 0 or pid == self.tape.process(self.pid):
            if number:
                self.signals.send(number)
            return 0
        return -ESRCH if not self.tape.answer(int(self.kill(pid, number))) else 0

    def _sigaction(self, a: list[int]) -> int:
        number = a[0] & 0xFFFFFFFF
        if not 1 <= number <= LAST or (a[1] and number in (KILL, STOP)) or a[3] != 8:
            return -EINVAL
        actions = self.signals.actions
        handler, flags, restorer = actions.get(number, (0, 0, 0))
        new = self.space.read(a[1], 32) if a[1] else b""
        if new is None or (a[2] and not self.space.write(a[2], struct.pack("<4Q", handler, flags, restorer, 0))):
            return -EFAULT
        if new:
            actions[number] = struct.unpack_from("<3Q", new)
        return 0

    def _sigprocmask(self, a: list[int]) -> int:
        masked = self.signals.masked
        if a[2] and not self.space.write(a[2], struct.pack("<Q", masked)):
            return -EFAULT
        if a[1]:
            data = self.space.read(a[1], 8)
            if data is None or a[0] > 2:
                return -EFAULT if data is None else -EINVAL
            given = int.from_bytes(data, "little")
            self.signals.masked = (masked | given, masked & ~given, given)[a[0]]
        return 0

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
