"""Signals as Linux delivers them to a task: what each does by default, and the frame on the user's stack.

Layout (include/uapi/asm-generic/ucontext.h, arch/arm64/include/uapi/asm/sigcontext.h): siginfo of 128 bytes, ucontext
with struct sigcontext 176 bytes behind its start, whose records begin with the FPSIMD one; then the frame record. A
record of SVE is behind it, or, where it is too long, behind the frame and pointed to by an `extra_context`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from fpstate.machine.engine import PC, PSTATE, SP, V_BYTES, Registers
from fpstate.machine.memory import Space

USR1, USR2, STOP, KILL, LAST = 10, 12, 19, 9, 64
IGNORED_BY_DEFAULT = (17, 18, 23, 28)  # SIGCHLD, SIGCONT, SIGURG, SIGWINCH
NAMES = {2: "SIGINT", 6: "SIGABRT", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 15: "SIGTERM"}
SIG_DFL, SIG_IGN = 0, 1
SA_RESTORER = 0x04000000

TRAMPOLINE = 0x7E000000
TRAMPOLINE_CODE = (0xD2801168, 0xD4000001)  # mov x8, #139 (rt_sigreturn); svc #0: what the vDSO has for this

_UCONTEXT = 128
_MCONTEXT = _UCONTEXT + 176
_REGISTERS = _MCONTEXT + 8
_RECORDS = _MCONTEXT + 288
_FPSIMD_MAGIC, _FPSIMD_SIZE = 0x46508001, 528
_SVE_MAGIC, _EXTRA_MAGIC, _EXTRA_SIZE, _END_SIZE = 0x53564501, 0x45585401, 32, 16
_ROOM = 4096
_SIZE = _RECORDS + _ROOM
_X29, _X30 = 29, 30


@dataclass
class Signals:
    """What a task does with signals. One handler runs at a time; what comes meanwhile waits for its end."""

    actions: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # handler, flags, restorer
    masked: int = 0  # bit n - 1: signal n
    waiting: list[int] = field(default_factory=list)
    in_handler: bool = False

    def handles(self, number: int) -> bool:
        """Tell whether the task has a handler of its own for a signal."""
        return self.actions.get(number, (SIG_DFL, 0, 0))[0] > SIG_IGN

    def send(self, number: int) -> None:
        """Let a signal wait until the task's next return to user mode; like one that waits, it is sent once."""
        handler = self.actions.get(number, (SIG_DFL, 0, 0))[0]
        ignored = handler == SIG_IGN or (handler == SIG_DFL and number in IGNORED_BY_DEFAULT)
        if number not in self.waiting and not ignored:
            self.waiting.append(number)

    def due(self) -> int:
        """Return the signal to deliver now, 0 if there is none; it waits no longer."""
        for number in sorted(self.waiting):
            if number == KILL or not (self.masked >> number - 1 & 1 or (self.in_handler and self.handles(number))):
                self.waiting.remove(number)
                return number
        return 0


def default_action(number: int) -> str:
    """Return why a task without a handler ends by a signal."""
    return f"killed by signal {number}" + (f" ({NAMES[number]})" if number in NAMES else "")


@dataclass(frozen=True)
class Saved:
    """What a frame holds of a task's FP state: V0-V31, FPSR and FPCR, and Z0-Z31, P0-P15 and FFR or nothing."""

    fp: bytes
    sve: bytes = b""

    def record(self) -> bytes:
        """Return the SVE record, with zeros behind it that end the records."""
        if not self.sve:
            return b""
        length = len(self.sve) * 8 // 273  # 32 registers of that many bytes, 17 of an eighth
        size = (16 + len(self.sve) + 15) & ~15
        head = struct.pack("<IIHHI", _SVE_MAGIC, size, length, 0, 0)
        return (head + self.sve).ljust(size + _END_SIZE, b"\0")


def build_frame(space: Space, registers: Registers, signals: Signals, number: int, saved: Saved) -> bool:
    """Put a frame on the task's stack and let it go on in its handler; return whether there was room."""
    fp, sve = saved.fp, saved.record()
    within = _FPSIMD_SIZE + len(sve) <= _ROOM
    handler, flags, restorer = signals.actions[number]
    v = registers.values
    record = (v[SP] & ~15) - 16
    size = _SIZE if within else (_SIZE + 15 & ~15) + len(sve)
    at = (record - size) & ~15
    frame = bytearray(size)
    struct.pack_into("<i", frame, 0, number)
    struct.pack_into("<34Q", frame, _REGISTERS, *v[:31], v[SP], v[PC], v[PSTATE])
    struct.pack_into("<II", frame, _RECORDS, _FPSIMD_MAGIC, _FPSIMD_SIZE)
    frame[_RECORDS + 8 : _RECORDS + 16] = fp[512:520]
    frame[_RECORDS + 16 : _RECORDS + 528] = fp[:512]
    second = _RECORDS + _FPSIMD_SIZE
    if within:
        frame[second : second + len(sve)] = sve
    else:
        struct.pack_into("<IIQI", frame, second, _EXTRA_MAGIC, _EXTRA_SIZE, at + size - len(sve), len(sve))
        frame[size - len(sve) :] = sve
    if not (space.write(at, bytes(frame)) and space.write(record, struct.pack("<QQ", v[_X29], v[_X30]))):
        return False
    v[0], v[1], v[2] = number, at, at + _UCONTEXT
    v[_X29], v[_X30] = record, restorer if flags & SA_RESTORER else TRAMPOLINE
    v[SP], v[PC] = at, handler
    if not flags & SA_RESTORER and space.offset(TRAMPOLINE) is None:
        space.map_code(TRAMPOLINE, TRAMPOLINE_CODE)
    signals.in_handler = True
    return True


def read_frame(space: Space, registers: Registers) -> Saved | None:
    """Take the general registers from the frame at SP; return the FP state in it, None if it is none."""
    frame = space.read(registers.values[SP], _SIZE)
    if frame is None or struct.unpack_from("<II", frame, _RECORDS) != (_FPSIMD_MAGIC, _FPSIMD_SIZE):
        return None
    *general, sp, pc, pstate = struct.unpack_from("<34Q", frame, _REGISTERS)
    v = registers.values
    v[:31] = general
    v[SP], v[PC], v[PSTATE] = sp, pc, pstate & 0xF0000000
    fp = frame[_RECORDS + 16 : _RECORDS + 528] + frame[_RECORDS + 8 : _RECORDS + 16] + bytes(V_BYTES - 520)
    second = _RECORDS + _FPSIMD_SIZE
    data: bytes | None = frame[second:]
    if struct.unpack_from("<I", frame, second)[0] == _EXTRA_MAGIC:
        data = space.read(*struct.unpack_from("<QI", frame, second + 8))
    if data is None or len(data) < _END_SIZE or struct.unpack_from("<I", data)[0] != _SVE_MAGIC:
        return Saved(fp)
    length = struct.unpack_from("<H", data, 8)[0]
    return Saved(fp, bytes(data[16 : 16 + 32 * length + 17 * length // 8]))
