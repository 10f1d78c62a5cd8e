"""A processor that runs functions of a dumped kernel, and notes every access to memory; afterwards all is as before.

Unicorn runs at EL1. What runs at EL2, a kernel with VHE or the hypervisor's part of one without, runs there too: its
registers of EL2 are undefined at EL1, and what it reads and writes there is kept here by their encodings. Addresses are
looked up in the kernel's own tables (Arm ARM, D8.3), those of the lower half in the hypervisor's. The end of memory is
ours (`own`), at the places where the kernel's linear map and the hypervisor's would have it.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate import emulator
from fpstate.errors import FpstateError
from fpstate.kernel.accesses import COLUMNS, IRQS_OFF, IS_WRITE, MOST, PC, POINT, Bytes, Log, Rows, written_over
from fpstate.lab.dump import RAM_AT, RAM_SIZE, SPARE, Dump
from fpstate.lab.kernel import Symbols

OWN_AT: Final = RAM_AT + RAM_SIZE - SPARE
OWN_SIZE: Final = SPARE
PAGE: Final = 0x3FF  # Unicorn's pages of arm64 are of 1 KiB
ADDRESS: Final = 0xFFFFFFFFF000
LIMIT: Final = 100_000  # instructions; a path of this kind takes some hundred
USER: Final = 0x400000  # user addresses of what user mode hands in
USER_SIZE: Final = 0x10000
FRAME: Final = 0xC0000  # where in our memory that lies
EL1H: Final = 5  # PSTATE: EL1 with its own stack pointer, interrupts not masked
MASK: Final = (1 << 64) - 1
BRK_BUG: Final = 0xD4210000  # BRK #0x800: WARN and BUG (arch/arm64/include/asm/brk-imm.h)

HYP_INSIDE: Final = "__kvm_nvhe___guest_enter"
MOVES_EL1: Final = np.uint32(0xD5180000)  # MRS and MSR of op0 3, op1 0
CONTEXT_CRN: Final = (1, 2, 5, 6, 7, 10, 12, 13, 14)  # control, translation, exceptions, memory types, threads, timers
SPSR_AND_ELR: Final = (0, 1)  # CRm and op2 of CRn 4
EL1_KEPT: Final = 7  # op1 of what the hypervisor keeps of EL1
MRS_CURRENT_EL: Final = np.uint32(0xD5384240)  # of register x0
MOV_8: Final = np.uint32(0xD2800100)  # EL2 in bits 3 and 2
MRS_DCZID: Final = np.uint32(0xD53B00E0)
MOV_16: Final = np.uint32(0xD2800200)  # DCZID_EL0.DZP: DC ZVA, of which Unicorn tells nothing, is not to be used

Places = slice | NDArray[np.int64]
"""Where bytes stand in RAM."""
RETURNED, STOPPED, HALTED, OOPS, BUG = "returned", "stopped", "halted", "oops", "bug"


def encoding(op0: int, op1: int, crn: int, crm: int, op2: int) -> int:
    """Return bits 19 to 5 of MRS and MSR for a system register (Arm ARM, C5.2); the top bit of op0 is always set."""
    return (op0 & 1) << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


EL2_REGISTERS: Final = {
    "TPIDR_EL2": encoding(3, 4, 13, 0, 2), "HCR_EL2": encoding(3, 4, 1, 1, 0), "MDCR_EL2": encoding(3, 4, 1, 1, 1),
    "CPTR_EL2": encoding(3, 4, 1, 1, 2), "HSTR_EL2": encoding(3, 4, 1, 1, 3), "VTCR_EL2": encoding(3, 4, 2, 1, 2),
    "VTTBR_EL2": encoding(3, 4, 2, 1, 0), "SCTLR_EL2": encoding(3, 4, 1, 0, 0), "TCR_EL2": encoding(3, 4, 2, 0, 2),
    "TTBR0_EL2": encoding(3, 4, 2, 0, 0), "TTBR1_EL2": encoding(3, 4, 2, 0, 1), "VBAR_EL2": encoding(3, 4, 12, 0, 0),
    "VPIDR_EL2": encoding(3, 4, 0, 0, 0), "CNTHCTL_EL2": encoding(3, 4, 14, 1, 0),
    "VMPIDR_EL2": encoding(3, 4, 0, 0, 5), "FPEXC32_EL2": encoding(3, 4, 5, 3, 0), "MAIR_EL2": encoding(3, 4, 10, 2, 0),
}  # fmt: skip
"""Registers of EL2 that begin as the dump has them; all others begin as zero."""
CPTR_EL2: Final = EL2_REGISTERS["CPTR_EL2"]
CPACR_KEPT: Final = encoding(3, EL1_KEPT, 1, 0, 2)
ZCR_EL2: Final = encoding(3, 4, 1, 2, 0)
ZCR_OF_GUEST: Final = encoding(3, 5, 1, 2, 0)  # ZCR_EL12
ZCR_KEPT: Final = encoding(3, EL1_KEPT, 1, 2, 0)
GATES_BELOW: Final = {CPACR_KEPT: "CPTR_EL2", ZCR_KEPT: "ZCR_EL2"}
GATES_OF_HYP: Final = {ZCR_KEPT: "ZCR_EL12", ZCR_EL2: "ZCR_EL2"}
"""The same of a kernel below its hypervisor, whose registers are those of EL1, and of that: a guest has ZCR_EL1 too."""
OWN_ZCR, CHANGED_ZCR = 9, 11
"""What a guest's own ZCR_EL1 is loaded with from memory, and what the guest has put there until it is left."""
NO_LIMIT: Final = 6
"""What ZCR_EL2 holds while a host below the hypervisor runs: the longest length there is."""
LIMITED, GUEST_LIMIT, HOST_TRAPPED = "limited", "limit of the guest", "the host is trapped"
"""Noted where the hypervisor is left: ZCR_EL2 is less than NO_LIMIT for the host; what it is for a guest that may use
SVE; the host's use of FP or SVE would trap to it."""
FPEXC: Final = {EL2_REGISTERS["FPEXC32_EL2"]: "FPEXC32_EL2"}
GATES: Final = {CPTR_EL2: "CPTR_EL2", ZCR_EL2: "ZCR_EL2", ZCR_OF_GUEST: "ZCR_EL12"}
"""Registers of which it is noted that they are read and written: of 32-bit guests; of a kernel with VHE and SVE."""
GATE_MOVES: Final = (0xD5181040, 0xD5181200)  # MSR CPACR_EL1, ZCR_EL1, of x0; bit 21 makes it MRS
CPACR_EL1, ZCR_EL1 = (3, 0, 1, 0, 2), (3, 0, 1, 2, 0)
UNBOUND: Final = (((3, 6, 1, 1, 2), 0x100), ((3, 6, 1, 2, 0), 15), ((3, 4, 1, 2, 0), 15))
"""CPTR_EL3.EZ, ZCR_EL3, ZCR_EL2: levels above do not limit SVE."""
CALLS_OF_FIRMWARE: Final = (0xD4000002, 0xD4000003)  # HVC #0, SMC #0
UDF: Final = 0
GFP_ZERO: Final = 0x100  # include/linux/gfp_types.h


class Note(NamedTuple):
    """Something noted: a function's name, or one of GATES with `read` or `write`; the value moved; accesses before."""

    what: str
    value: int
    before: int


@dataclass(frozen=True)
class Saved:
    """A run where it stands: registers, those of EL2, and each byte it has written."""

    registers: Any
    system: dict[int, int]
    memory: Bytes


@dataclass
class Ran:
    """How a run ended (RETURNED, STOPPED at an address asked for, HALTED at a point, OOPS, BUG), and what it did."""

    end: str = RETURNED
    pc: int = 0
    accesses: Rows = field(default_factory=lambda: np.zeros((0, COLUMNS), np.int64))
    warned: list[int] = field(default_factory=list)  # addresses of WARNs that it ran into
    notes: list[Note] = field(default_factory=list)
    points: list[int] = field(default_factory=list)  # at each, the number of accesses before it


class Processor:
    """The processor. `own` is memory of ours; `linear` less a physical address gives the kernel's own address of it."""

    def __init__(self, dump: Dump) -> None:
        unicorn = emulator.unicorn()
        from unicorn import arm64_const
        from unicorn.unicorn_py3.unicorn import uclib

        self._value = ctypes.c_uint64()
        self._value_at = ctypes.byref(self._value)
        self._read_register = uclib.uc_reg_read  # a tenth of what reg_read takes
        self._write_register = uclib.uc_reg_write
        self._r, self._error = arm64_const, unicorn.UcError
        last = arm64_const.UC_ARM64_REG_X29, arm64_const.UC_ARM64_REG_X30
        self._x = (*range(arm64_const.UC_ARM64_REG_X0, arm64_const.UC_ARM64_REG_X0 + 29), *last)
        with dump.ram.open("rb") as file:
            self.ram = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.bytes = np.frombuffer(self.ram, np.uint8)  # the same memory
        self.ram[OWN_AT - RAM_AT :] = bytes(OWN_SIZE)
        self.where = dump.kernel.source
        self.vhe = dump.mode == "vhe"
        self._tables = dump.registers["TTBR1_EL2" if self.vhe else "TTBR1_EL1"] & ADDRESS
        self._e2h = dump.mode != "nvhe"  # EL2 has its registers in the form, and by the names, of EL1
        self._hyp_tables = 0 if self.vhe else dump.registers["TTBR0_EL2"] & ADDRESS
        self.hyp = 0  # a hypervisor's address less a physical one
        control = dump.registers["TCR_EL2" if self.vhe else "TCR_EL1"]
        if control >> 30 & 3 != 2 or control >> 16 & 63 != 16:  # TG1, T1SZ
            expected = "pages of 4 KiB and addresses of 48 bits"
            raise FpstateError("the kernel has other pages or addresses", expected=expected, where=self.where)
        self.base = 1 << 64  # nowhere yet
        self.current = dump.registers["SP_EL0"]
        self.linear = self.current - self.physical(self.current)
        self.base = self.linear + OWN_AT
        names = {code: name for name, code in EL2_REGISTERS.items()}
        self._first = {code: dump.registers.get(name, 0) for code, name in names.items()}
        if not self.vhe:
            self._first[CPACR_KEPT] = dump.registers["CPACR"]
        self.system: dict[int, int] = {}
        self._lengths_moved = False  # the hypervisor has written ZCR_EL2, or ZCR_EL1
        self._ran = Ran()
        self._halts_at = 0  # the point at which to halt, from 1; 0 for none
        self._halting: set[int] = set()  # instructions after which there was a point
        self._watched: set[int] = set()  # those of them at which runs halt
        self._undo: list[tuple[Places, NDArray[np.uint8]]] = []
        self.image, self.text = dump.kernel.image, dump.symbols.base() or 0
        start = dump.symbols.address("_stext") or self.text  # what lies before it is not mapped once all is up
        self._text_less_physical = start - self.physical(start)
        self._warnings: dict[int, bool] = {}
        self.has_sve = dump.has_sve
        self._noted = dict(GATES if self.vhe else GATES_BELOW) if self.has_sve else {}
        self._noted_of_hyp = dict(GATES_OF_HYP) if self.has_sve else {}
        self._stubs: dict[int, Callable[[], int]] = {}  # what is done instead of a function, by its address
        self._answer(MRS_DCZID, MOV_16)
        if self.vhe:
            self._answer(MRS_CURRENT_EL, MOV_8)
        else:
            self._prepare_hyp(dump.symbols)
        if self.has_sve:
            self._note_gates()
        uc = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        uc.ctl_set_cpu_model(arm64_const.UC_CPU_ARM64_MAX)
        uc.ctl_set_tlb_mode(1)
        place = ctypes.addressof(ctypes.c_char.from_buffer(self.ram))
        uc.mem_map_ptr(RAM_AT, RAM_SIZE, unicorn.UC_PROT_ALL, place)
        uc.hook_add(unicorn.UC_HOOK_TLB_FILL, self._fill)
        uc.hook_add(unicorn.UC_HOOK_INTR, self._exception)
        self._log = Log(uc, place)
        for code, value in UNBOUND if self.has_sve else ():
            uc.cpr_write(*code, value)
        uc.cpr_write(*CPACR_EL1, dump.registers["CPTR_EL2" if self.vhe else "CPACR"])
        uc.reg_write(arm64_const.UC_ARM64_REG_TPIDR_EL1, dump.registers["TPIDR_EL1"])
        self._uc, self._code_hook, self._at_rest = uc, unicorn.UC_HOOK_CODE, uc.context_save()

    def _answer(self, asked: np.uint32, answer: np.uint32) -> None:
        """Put a MOV in the place of each MRS of one register in the kernel's code; both are given as of x0."""
        words = self._words()
        asks = words & ~np.uint32(31) == asked
        words[asks] = answer | words[asks] & np.uint32(31)

    def _words(self) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """Return the words of the kernel's image, as they lie in memory."""
        return np.frombuffer(self.ram, np.uint32, len(self.image) // 4, self.text - self._text_less_physical - RAM_AT)

    def places_of(self, words: tuple[int, ...]) -> list[int]:
        """Return the addresses in the kernel's image of instructions that stand there in a row."""
        image = self._words()
        last = len(image) - len(words) + 1
        found = np.logical_and.reduce([image[i : last + i] == word for i, word in enumerate(words)])
        return [self.text + 4 * int(i) for i in np.flatnonzero(found)]

    def _note_gates(self) -> None:
        """Let MRS and MSR of CPACR_EL1 and ZCR_EL1 be noted; with VHE they are CPTR_EL2 and ZCR_EL2."""
        words = self._words()
        moves = np.isin(words & ~np.uint32(1 << 21 | 31), GATE_MOVES)
        words[moves] |= np.uint32(EL1_KEPT << 16)

    def _prepare_hyp(self, symbols: Symbols) -> None:
        """Find where the hypervisor has its code, and let that keep the guest's registers of EL1 here too.

        Its MRS and MSR of them get an encoding that no register has.
        """
        start, end, inside = (symbols.address(name) for name in ("__hyp_text_start", "__hyp_text_end", HYP_INSIDE))
        if start is None or end is None or inside is None:
            raise FpstateError("the kernel has no code for EL2", expected="KVM built in", where=self.where)
        inside = self.physical(inside)
        self.hyp = next((v - p for v, p, size in self._mapped(self._hyp_tables, 0, 0) if p <= inside < p + size), 0)
        words = np.frombuffer(self.ram, np.uint32, end - start >> 2, self.physical(start) - RAM_AT)
        moves = words & ~np.uint32(0x0020FFFF) == MOVES_EL1
        crn, crm_op2 = words >> 12 & 15, words >> 5 & 127
        moves &= np.isin(crn, CONTEXT_CRN) | (crn == 4) & np.isin(crm_op2, SPSR_AND_ELR)
        words[moves] |= np.uint32(EL1_KEPT << 16)

    def _mapped(self, table: int, level: int, below: int) -> Iterator[tuple[int, int, int]]:
        """Yield all that a table of pages maps: address, physical address, size in bytes."""
        shift = 39 - 9 * level
        for i, entry in enumerate(struct.unpack_from("<512Q", self.ram, table - RAM_AT)):
            if entry & 1 and (level == 3 or not entry & 2):
                yield below | i << shift, entry & ADDRESS & -(1 << shift), 1 << shift
            elif entry & 1:
                yield from self._mapped(entry & ADDRESS, level + 1, below | i << shift)

    # Memory.

    def physical(self, address: int) -> int:
        """Return the physical address of a kernel address; FpstateError if the kernel has none for it."""
        found = self._walk(address & MASK)
        if found is None:
            given = f"the kernel has no memory at {address:#x}"
            raise FpstateError(given, expected="an address it maps", where=self.where)
        return found

    def _walk(self, address: int) -> int | None:
        if 0 <= address - self.base < OWN_SIZE:
            return OWN_AT + address - self.base
        if 0 <= address - self.hyp - OWN_AT < OWN_SIZE and self.hyp:
            return address - self.hyp
        if 0 <= address - USER < USER_SIZE:
            return OWN_AT + FRAME + address - USER
        table = self._tables if address >> 48 == 0xFFFF else 0 if address >> 48 else self._hyp_tables
        for level in range(4):
            shift = 39 - 9 * level
            if not RAM_AT <= table < RAM_AT + RAM_SIZE:
                return None
            (entry,) = struct.unpack_from("<Q", self.ram, table - RAM_AT + 8 * (address >> shift & 511))
            if not entry & 1:
                return None
            if level == 3 or not entry & 2:
                inside = (1 << shift) - 1
                return int(entry & ADDRESS & ~inside | address & inside)
            table = entry & ADDRESS
        return None

    def place(self, physical: int) -> int:
        """Return where in `ram` a physical address lies."""
        if 0 <= physical - RAM_AT < RAM_SIZE:
            return physical - RAM_AT
        raise FpstateError(f"there is no memory at {physical:#x}", expected="memory of the dump", where=self.where)

    def read(self, address: int, size: int = 8) -> int:
        """Return a little-endian number at a kernel address."""
        at = self.place(self.physical(address))
        return int.from_bytes(self.ram[at : at + size], "little")

    def write(self, address: int, value: int, size: int = 8) -> None:
        """Write one; `restore` takes it back."""
        self.write_bytes(address, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def read_bytes(self, address: int, size: int) -> bytes:
        """Return bytes at a kernel address; they lie within a page, or in `own`."""
        at = self.place(self.physical(address))
        return self.ram[at : at + size]

    def write_bytes(self, address: int, data: bytes) -> None:
        """Write some; `restore` takes them back."""
        at = self.place(self.physical(address))
        self._put(slice(at, at + len(data)), np.frombuffer(data, np.uint8))

    def _put(self, places: Places, data: NDArray[np.uint8]) -> None:
        self._undo.append((places, self.bytes[places].copy()))
        self.bytes[places] = data

    def restore(self) -> None:
        """Take back all that was written since the last `keep`, by the kernel or from here, and all registers."""
        self._uc.context_restore(self._at_rest)
        for places, before in reversed(self._undo):
            self.bytes[places] = before
        self._undo.clear()
        self.system.clear()

    def keep(self) -> None:
        """Let what is written now be what `restore` goes back to."""
        self._undo.clear()

    # Registers.

    def register(self, number: int) -> int:
        """Return one of the registers x0 to x30."""
        return self._get(self._x[number])

    def set_register(self, number: int, value: int) -> None:
        """Set one of the registers x0 to x30."""
        self._set(self._x[number], value)

    def _get(self, register: int) -> int:
        """Return a register, by Unicorn's number of it."""
        self._read_register(self._uc._uch, register, self._value_at)
        return self._value.value

    def _set(self, register: int, value: int) -> None:
        self._value.value = value
        self._write_register(self._uc._uch, register, self._value_at)

    @property
    def guest_fp_trap(self) -> bool:
        """Whether a guest's FP traps: FPEN of CPTR_EL2 is not 3, or without E2H its TFP is 1 (Arm ARM, D19.2.30).

        With E2H the code at EL2 has that register by the name of CPACR_EL1.
        """
        if self.vhe:
            return int(self._uc.cpr_read(*CPACR_EL1)) >> 20 & 3 != 3
        control = self.system.get(CPTR_EL2, self._first[CPTR_EL2])
        return control >> 20 & 3 != 3 if self._e2h else bool(control >> 10 & 1)

    @property
    def guest_sve_trap(self) -> bool:
        """Whether a guest's SVE traps: ZEN of CPTR_EL2 is not 3, or without E2H its TZ is 1."""
        if self.vhe:
            return int(self._uc.cpr_read(*CPACR_EL1)) >> 16 & 3 != 3
        control = self.system.get(CPTR_EL2, self._first[CPTR_EL2])
        return control >> 16 & 3 != 3 if self._e2h else bool(control >> 8 & 1)

    @property
    def user_sve_trap(self) -> bool:
        """Whether SVE of user mode traps: bit 1 of ZEN is 0."""
        return not int(self._uc.cpr_read(*CPACR_EL1)) >> 17 & 1

    def set_user_sve_trap(self, trap: bool) -> None:
        """Arm it, or lift it."""
        value = int(self._uc.cpr_read(*CPACR_EL1)) & ~(1 << 17) | (not trap) << 17
        self._uc.cpr_write(*CPACR_EL1, value)
        self.system[CPTR_EL2 if self.vhe else CPACR_KEPT] = value

    def note_fpexc(self) -> None:
        """Have it noted that FPEXC32_EL2 is read and written."""
        self._noted |= FPEXC
        self._noted_of_hyp |= FPEXC

    def set_length(self, quadwords: int) -> None:
        """Put a vector length in force."""
        self._uc.cpr_write(*ZCR_EL1, quadwords - 1)
        self.system[ZCR_KEPT] = quadwords - 1

    def saved(self) -> Saved:
        """Return registers, and memory as far as it was written to since `keep`, for `resume`."""
        written = np.unique(np.concatenate([_one_by_one(places) for places, _ in self._undo]))
        return Saved(self._uc.context_save(), dict(self.system), (written, self.bytes[written]))

    def change(self, words: Mapping[int, int]) -> None:
        """Have other instructions stand at some addresses, for good."""
        for address, word in words.items():
            self.write(address, word, 4)
        self.keep()
        self._uc.ctl_flush_tb()

    # Running.

    def stop_at(self, address: int) -> None:
        """Have runs end at this address, before its instruction."""

        def reached(*_: object) -> None:
            self._ran.end = STOPPED
            self._uc.emu_stop()

        self._watch(address, reached)

    def fault_at(self, address: int) -> None:
        """Have runs end at this address as at a BUG."""

        def reached(*_: object) -> None:
            self._ran.end = BUG
            self._uc.emu_stop()

        self._watch(address, reached)

    def note_at(self, address: int, what: str) -> None:
        """Have runs note that they came by this address."""

        def reached(*_: object) -> None:
            self._note(what)

        self._watch(address, reached)

    def _note(self, what: str, value: int = 0) -> None:
        self._ran.notes.append(Note(what, value, self._log.count))

    def instead_of(self, address: int, what: str, done: Callable[[], int]) -> None:
        """Have something else done where a function is called: its answer is returned, and noted with its name."""

        def stub() -> int:
            self._undo.append(written_over(self._log.rows()))  # before what is done here is
            answer = done()
            self._note(what, answer)
            return answer

        self._stubs[address] = stub
        self.change({address: UDF})

    def _watch(self, address: int, reached: Callable[..., None]) -> None:
        self._uc.hook_add(self._code_hook, reached, None, address, address + 3)
        self._uc.ctl_flush_tb()  # what was translated before would not call it

    def watch_for_points(self, count: int, enabled: int, halts_at: int = 0) -> None:
        """Have the runs from now on note points: where preempt_count, at an address, falls to what enables softirqs.

        At that number of them, from 1, the run halts.
        """
        for address in self._halting - self._watched:
            self._watch(address + 4, self._halt)
        self._watched |= self._halting
        self._log.watch(self.physical(count), enabled)
        self._halts_at = halts_at

    def _halt(self, *_: object) -> None:
        if self._halts_at and self._log.points == self._halts_at:
            self._ran.end = HALTED
            self._uc.emu_stop()

    def go_on(self, saved: Saved) -> Ran:
        """Go on where a run was halted."""
        self._uc.context_restore(saved.registers)
        self.system = dict(saved.system)
        return self._run(self._pc())

    def call(self, function: int, arguments: tuple[int, ...], current: int, stack: int, irqs_off: bool = False) -> Ran:
        """Run a function as the thread `current` until it ends. `stack` is the stack's upper end."""
        r = self._r
        self._set(r.UC_ARM64_REG_PSTATE, EL1H | IRQS_OFF * irqs_off)
        self._set(r.UC_ARM64_REG_SP, stack)
        self._set(r.UC_ARM64_REG_SP_EL0, current)
        self.set_register(30, self.base)
        for number, value in enumerate(arguments):
            self.set_register(number, value)
        return self._run(function)

    def hypervisor(self, address: int) -> int:
        """Return the address at which the hypervisor has what the kernel has at an address."""
        return self.physical(address) + self.hyp

    def go_back(self, saved: Saved) -> None:
        """Put memory back as it was when that was saved."""
        self._put(*saved.memory)

    def set_syndrome(self, syndrome: int) -> None:
        """Let it be said why the code at EL1, or at EL2, was entered."""
        self._set(self._r.UC_ARM64_REG_ESR_EL1, syndrome)  # what a kernel at EL2 reads as ESR_EL2
        self.system[encoding(3, 4, 5, 2, 0)] = syndrome

    def resume(self, saved: Saved, answer: int, syndrome: int, *, of_guest: bool) -> Ran:
        """Go on where that was saved, at the entry of a function, as if the function had answered.

        Unless it is to a guest's run, the CPU has now the trap of SVE and the vector length that it has.
        """
        trap = self.user_sve_trap
        length = int(self._uc.cpr_read(*ZCR_EL1)) if self.vhe else self.system.get(ZCR_KEPT, 0)
        self._uc.context_restore(saved.registers)
        self.system = dict(saved.system)
        for code in (ZCR_OF_GUEST, ZCR_KEPT) if of_guest else ():
            if self.system.get(code) == OWN_ZCR:
                self.system[code] = CHANGED_ZCR
        if not of_guest:
            self.set_user_sve_trap(trap)
            self.set_length(length + 1)
        self.set_syndrome(syndrome)
        to = self.register(30)
        self.set_register(0, answer)
        return self._run(to)

    def _run(self, start: int) -> Ran:
        self._ran = ran = Ran()
        self._log.begin()
        self._lengths_moved = False
        if self.has_sve and not self.vhe:
            of_el1 = min(self._limit, self.system.get(ZCR_KEPT, 0))
            self._uc.cpr_write(*ZCR_EL1, of_el1 if start >> 48 else self._limit)
        try:
            self._uc.emu_start(start, self.base, 0, LIMIT)
        except self._error:
            if self._pc() != self.base and ran.end == RETURNED:
                ran.end = OOPS
        ran.pc = self._instruction()
        if self._log.count > MOST:
            given = f"a function of the kernel has made {self._log.count:,} accesses to memory"
            raise FpstateError(given, expected=f"{MOST:,} at most", where=f"{self.where}, at {ran.pc:#x}")
        self._take_accesses(ran)
        if not start >> 48:
            self._note_left(ran.end)
        if ran.end == RETURNED and ran.pc != self.base:
            given = f"a function of the kernel has not ended after {LIMIT:,} instructions"
            raise FpstateError(given, expected="one that ends", where=f"{self.where}, at {ran.pc:#x}")
        return ran

    def _note_left(self, end: str) -> None:
        """Note in what state the hypervisor is left, for the host or for a guest."""
        if end == RETURNED and (self.guest_fp_trap or (self.has_sve and self.guest_sve_trap)):
            self._note(HOST_TRAPPED)
        if end == RETURNED and self._lengths_moved:
            self._note(LIMITED if self._limit < NO_LIMIT else "write ZCR_EL2", self.system.get(ZCR_KEPT, 0))
        if end == STOPPED and self.has_sve and not self.guest_sve_trap:
            self._note(GUEST_LIMIT, self._limit)

    @property
    def _limit(self) -> int:
        """What ZCR_EL2 holds, where the kernel runs below the hypervisor."""
        return self.system.get(ZCR_EL2, NO_LIMIT)

    def _take_accesses(self, ran: Ran) -> None:
        """Take in what the run did to memory, and where it met points."""
        ran.accesses = rows = self._log.rows()
        self._undo.append(written_over(rows))
        points = np.flatnonzero(rows[:, IS_WRITE] == POINT)
        pcs = rows[:, PC].view(np.uint64)
        self._halting.update(pcs[points].tolist())
        ran.points = (points + 1).tolist()
        of_hyp = pcs >> np.uint64(48) == 0
        pcs[of_hyp] += np.uint64(self._text_less_physical - self.hyp & MASK)  # as symbols have it

    def _pc(self) -> int:
        return self._get(self._r.UC_ARM64_REG_PC)

    def _instruction(self) -> int:
        """Return the address of the instruction at hand as symbols have it, also for what runs at EL2."""
        pc = self._pc()
        return pc if pc >> 48 else pc - self.hyp + self._text_less_physical

    # What Unicorn calls.

    def _fill(self, _: object, address: int, __: int, entry: Any, ___: object) -> bool:
        found = self._walk(address & MASK)
        if found is None:
            return False
        entry.paddr, entry.perms = found & ~PAGE, 7
        return True

    def _exception(self, *_: object) -> None:
        pc = self._pc()
        if pc == self.base:
            self._uc.emu_stop()
            return
        if pc in self._stubs:
            self.set_register(0, self._stubs[pc]())
            self._set(self._r.UC_ARM64_REG_PC, self.register(30))
            return
        word = self.read(pc, 4)
        if word >> 22 == 0x354 and self._system(word):
            self._set(self._r.UC_ARM64_REG_PC, pc + 4)
            return
        if word == BRK_BUG:
            if self._is_warning(self._instruction()):
                self._ran.warned.append(self._instruction())
                self._set(self._r.UC_ARM64_REG_PC, pc + 4)
                return
            self._ran.end = BUG
        else:
            self._ran.end = OOPS
        self._uc.emu_stop()

    def _is_warning(self, pc: int) -> bool:
        """Tell whether the kernel's table of BRKs says WARN of the one at an address, and not BUG.

        An entry begins with its distance to the BRK, and ends in flags, bit 0 for WARN (include/asm-generic/bug.h).
        """
        if pc not in self._warnings:
            image = np.frombuffer(self.image, np.int32, len(self.image) // 4)
            entries = np.flatnonzero(image + 4 * np.arange(len(image)) == pc - self.text)
            flags = {int(image[i + 2]) >> 16 & 1 for i in entries if int(image[i + 2]) & 0xFFFF > 0}
            self._warnings[pc] = flags == {1}
        return self._warnings[pc]

    def _system(self, word: int) -> bool:
        """Do what MRS, MSR and SYS do of EL2; return whether it was one of them."""
        code, x = word >> 5 & 0x7FFF, word & 31
        of_hyp = not self._pc() >> 48
        if (self.vhe or (self._e2h and of_hyp)) and code >> 11 & 7 == EL1_KEPT:
            code = CPTR_EL2 if code == CPACR_KEPT else code & ~(7 << 11) | 4 << 11
        elif of_hyp and code == ZCR_OF_GUEST:  # with E2H
            code = ZCR_KEPT
        if code in (self._noted_of_hyp if of_hyp else self._noted):
            self._gate(code, x, of_hyp=of_hyp, read=bool(word >> 21 & 1))
            return True
        if not word >> 20 & 1:
            return word >> 19 & 1 == 1 and word >> 16 & 7 >= 4  # SYS of EL2: maintenance of what is not kept here
        if word >> 21 & 1:
            value = self.system.get(code, self._first.get(code, 0))
            if x != 31:
                self.set_register(x, value)
        else:
            self.system[code] = 0 if x == 31 else self.register(x)
        return True

    def _gate(self, code: int, x: int, *, of_hyp: bool, read: bool) -> None:
        """Do what MRS and MSR of a register do, and note it. A length in force is never that which is wanted."""
        in_force = code == (ZCR_EL2 if self.vhe or of_hyp else ZCR_KEPT)
        name = (self._noted_of_hyp if of_hyp else self._noted)[code]
        if read:
            value = 0 if in_force else self.system.get(code, self._first.get(code, 0))
            if x != 31:
                self.set_register(x, value)
        else:
            value = self.system[code] = 0 if x == 31 else self.register(x)
            if name == "CPTR_EL2":
                self._uc.cpr_write(*CPACR_EL1, value)
            elif in_force:
                self._uc.cpr_write(*ZCR_EL1, value)
            self._lengths_moved |= of_hyp and code in (ZCR_EL2, ZCR_KEPT)
        if not (of_hyp and in_force and not read and value >= NO_LIMIT):
            self._note(f"{'read' if read else 'write'} {name}", value)


def _one_by_one(places: Places) -> NDArray[np.int64]:
    return np.arange(places.start, places.stop) if isinstance(places, slice) else places
