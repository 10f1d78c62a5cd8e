"""One physical CPU: a Unicorn engine with one FP register file, and an FP trap that Unicorn itself does not have.

Unicorn 2 ignores CPACR_EL1.FPEN. Here a CPU whose FP registers trap fetches its code from pages in which FP words are
undefined (see `memory`), so the first FP instruction stops at its own address and can be resumed after the trap.
Measured on 2.1.4: registers are moved by the library's batch calls with arrays built once (0.9 us for 34 registers;
90 us by the binding's own method); a run never ends at an `until` address, which would translate its last block anew.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from fpstate.emulator import unicorn
from fpstate.errors import FpstateError
from fpstate.machine.memory import EXECUTE, RAM_BASE, READ, WRITE, Ram, Space
from fpstate.machine.words import UDF, is_read_word, is_sve

V_BYTES = 528
"""Bytes of an FP image: V0-V31, FPSR, FPCR, padding (struct user_fpsimd_state)."""

USER_PSTATE, KERNEL_PSTATE = 0, 0x3C5  # EL0; EL1 with its own stack pointer, interrupts masked
FETCH = 18  # UC_MEM_FETCH
_NEEDS = {16: READ, 17: WRITE, FETCH: EXECUTE}  # UC_MEM_READ, UC_MEM_WRITE
X, SP, PC, PSTATE, TPIDR = 0, 31, 32, 33, 34  # places in a set of general registers
GENERAL = 35


class Stop(IntEnum):
    """Why a CPU stopped."""

    SLICE = 0  # the time slice is over
    SVC = 1  # PC is behind it
    HVC = 2  # PC is behind it
    WFI = 3  # PC is behind it
    FAULT = 4  # data access to `fault`, which is not mapped so; PC is at the instruction
    CRASH = 5  # anything a program cannot go on from: PC is at the instruction
    TRAPPED = 6  # FP was used and the trap handler left the trap armed
    READ = 7  # of a counter or ID register, which whoever runs the engine answers; PC is at the instruction


class Registers:
    """General registers of a context that is not on a CPU: X0-X30, SP, PC, PSTATE, TPIDR_EL0."""

    def __init__(self, pstate: int) -> None:
        self.values = (ctypes.c_uint64 * GENERAL)()
        self.values[PSTATE] = pstate
        base = ctypes.addressof(self.values)
        self.pointers = (ctypes.c_void_p * GENERAL)(*[base + 8 * i for i in range(GENERAL)])
        self.engine: Engine | None = None  # which holds them now, instead of `values`


def image_pointers(address: int) -> Any:
    """Return the array by which a batch call moves V0-V31, FPSR and FPCR to or from an image at a host address."""
    places = [address + 16 * i for i in range(32)] + [address + 512, address + 516]
    return (ctypes.c_void_p * 34)(*places)


class Engine:
    """A CPU. `used` tells whether FP has been used since `enter`; `on_fp` is called at the first use after it.

    With a `vector_length` (bytes, a multiple of 16 to 256) it has SVE, which traps to `on_sve` unless `sve_on`.
    """

    def __init__(self, number: int, ram: Ram, vector_length: int = 0) -> None:
        package = unicorn()
        import unicorn.arm64_const as names
        import unicorn.unicorn_const as constants
        from unicorn.unicorn_py3.unicorn import uclib

        self.number = number
        self.lib = uclib
        self.names = names
        self.uc = uc = package.Uc(package.UC_ARCH_ARM64, package.UC_MODE_ARM)
        uc.ctl_set_cpu_model(names.UC_CPU_ARM64_MAX if vector_length else names.UC_CPU_ARM64_A72)
        uc.ctl_set_tlb_mode(constants.UC_TLB_VIRTUAL)
        uc.mem_map_ptr(RAM_BASE, ram.size, package.UC_PROT_ALL, ram.address)
        self._flush = constants.UC_CTL_TLB_FLUSH | constants.UC_CTL_IO_WRITE << 30
        self._handle = uc._uch
        self._error = package.UcError
        general = [names.UC_ARM64_REG_X0 + i for i in range(29)]
        general += [names.UC_ARM64_REG_X29, names.UC_ARM64_REG_X30, names.UC_ARM64_REG_SP, names.UC_ARM64_REG_PC]
        general += [names.UC_ARM64_REG_PSTATE, names.UC_ARM64_REG_TPIDR_EL0]
        fp = [names.UC_ARM64_REG_Q0 + i for i in range(32)] + [names.UC_ARM64_REG_FPSR, names.UC_ARM64_REG_FPCR]
        self._general_ids = (ctypes.c_int * GENERAL)(*general)
        self._fp_ids = (ctypes.c_int * 34)(*fp)
        self._n_general, self._n_fp = ctypes.c_int(GENERAL), ctypes.c_int(34)
        self._fp_now = (ctypes.c_ubyte * V_BYTES)()
        self._fp_pointers = image_pointers(ctypes.addressof(self._fp_now))
        self._call = (ctypes.c_uint64 * 9)()
        self._call_pointers = (ctypes.c_void_p * 9)(*[ctypes.addressof(self._call) + 8 * i for i in range(9)])
        self._n_call = ctypes.c_int(9)
        self._one = ctypes.c_uint64()
        self._one_pointer = ctypes.byref(self._one)
        self._pc_id = names.UC_ARM64_REG_PC

        self.space = Space(ram)
        self.fp_on = True
        self.privileged = True  # as it comes out of reset
        self.used = False
        self.on_fp: Callable[[], bool] = lambda: True
        self.sve_on = True
        self.on_sve: Callable[[], bool] = lambda: True
        self.stop = Stop.SLICE
        self.fault = 0
        self.fault_is_fetch = False
        self.resident: Registers | None = None  # whose general registers are in the engine
        uc.hook_add(constants.UC_HOOK_TLB_FILL, self._fill)
        uc.hook_add(constants.UC_HOOK_INTR, self._interrupt)
        self._counter = self._find_counter(ram)
        self.sve = Sve(self, ram, vector_length) if vector_length else None

    def _find_counter(self, ram: Ram) -> ctypes.c_uint64:
        """Return the engine's own count of executed instructions, which has no name in the API.

        It lies just before the limit given to a run; two limits nobody else would write show where.
        """
        libc = ctypes.CDLL(None)
        libc.malloc_usable_size.argtypes, libc.malloc_usable_size.restype = [ctypes.c_void_p], ctypes.c_size_t
        at = self._handle.value
        size = libc.malloc_usable_size(at)
        space = Space(ram)
        space.map(0x10000, 4)
        space.write(0x10000, b"\x1f\x20\x03\xd5" * 5 + b"\x01\x00\x00\xd4")  # five nop, svc
        space.pages[0x10] = space.pages[0x10][0], EXECUTE | READ
        found = set(range(0, size - 8, 8))
        for limit in (0x123456789, 0x234567891):
            self.enter(space, privileged=False, fp_on=True)
            self.uc.emu_start(0x10000, 0, 0, limit)
            raw = ctypes.string_at(at, size)
            found = {i for i in found if int.from_bytes(raw[i : i + 8], "little") == limit}
        if len(found) == 1:
            counter = ctypes.c_uint64.from_address(at + found.pop() - 8)
            if counter.value == 6:
                return counter
        raise FpstateError("this build of unicorn does not count instructions as 2.1.4 does", expected="unicorn 2.1.4")

    # Hooks.

    def _fill(self, _uc: object, address: int, access: int, entry: Any, _data: object) -> bool:
        page = address >> 12
        space = self.space
        if access == FETCH:
            found = space.masked.get(page) if not self.fp_on else space.fetched.get(page) or space.pages.get(page)
        else:
            found = space.pages.get(page)
        if found is None or not found[1] & _NEEDS[access]:
            self.fault, self.fault_is_fetch = address, access == FETCH
            return False
        permissions = found[1]
        if access != FETCH and (not self.fp_on or page in space.fetched):
            permissions &= ~EXECUTE  # what is read as data must not be fetched as code by the same entry
        entry.paddr, entry.perms = found[0] + (address & 0xC00), permissions  # its pages are of 1 KiB
        return True

    def _interrupt(self, _uc: object, number: int, _data: object) -> None:
        if number == 2:
            self.stop = Stop.SVC
            self.lib.uc_emu_stop(self._handle)
            return
        pc = self.pc()
        word = self.space.word(pc)
        if number == 1 and is_read_word(word):
            self.stop = Stop.READ
        elif number == 1 and not self.fp_on and word != UDF and self._is_masked(pc):
            self.used = True
            if self.on_fp():
                self.set_fp(True)
                self._counter.value -= 1  # it executes now
                return
            self.stop = Stop.TRAPPED
        elif number == 1 and not self.sve_on and is_sve(word):
            if self.on_sve():
                self.set_sve(True)
                self._counter.value -= 1
                return
            self.stop = Stop.TRAPPED
        elif number == 1 and word & 0xFFE0001F == 0xD4000002:
            self.stop = Stop.HVC
            self.set_pc(pc + 4)
        else:
            self.stop = Stop.CRASH
        self.lib.uc_emu_stop(self._handle)

    def _is_masked(self, pc: int) -> bool:
        """Tell whether the word at `pc` is an FP instruction, hidden in the masked page."""
        found = self.space.masked.get(pc >> 12)
        if found is None:
            return False
        at = found[0] - RAM_BASE + pc % 4096
        return self.space.ram.map[at : at + 4] == UDF.to_bytes(4, "little")

    # Running.

    def enter(self, space: Space, *, privileged: bool, fp_on: bool) -> None:
        """Prepare to run code of `space`; unless `fp_on`, its first use of FP calls `on_fp`."""
        if space is not self.space or fp_on is not self.fp_on:
            self.space, self.fp_on = space, fp_on
            self.lib.uc_ctl(self._handle, self._flush)
        if privileged is not self.privileged:
            self.put_away()  # its PSTATE goes now
            self.privileged = privileged
            self.uc.reg_write(self.names.UC_ARM64_REG_PSTATE, KERNEL_PSTATE if privileged else USER_PSTATE)
            self._write_cpacr()  # also makes the new exception level known to the translator
        self.used = fp_on

    def set_fp(self, on: bool) -> None:
        """Let FP instructions execute, or trap."""
        if on is not self.fp_on:
            self.fp_on = on
            self.lib.uc_ctl(self._handle, self._flush)

    def set_sve(self, on: bool) -> None:
        """Let SVE instructions execute, or trap (CPACR_EL1.ZEN, which Unicorn has)."""
        if on is not self.sve_on:
            self.sve_on = on
            self._write_cpacr()

    def _write_cpacr(self) -> None:
        self.uc.cpr_write(3, 0, 1, 0, 2, 3 << 20 | (3 << 16 if self.sve_on else 0))

    def run(self, limit: int) -> int:
        """Run from PC for at most `limit` instructions; return how many were executed. `stop` says why it stopped."""
        self.stop, self.fault_is_fetch = Stop.SLICE, False
        uc = self.uc
        try:
            uc.emu_start(self.pc(), 0, 0, limit)
        except self._error:
            self.stop = Stop.CRASH if self.fault_is_fetch else Stop.FAULT
            return int(self._counter.value) - 1
        done = int(self._counter.value)
        if self.stop == Stop.SLICE:
            if done > limit:
                return limit
            self.stop = Stop.WFI
        return done - 1 if self.stop in (Stop.CRASH, Stop.TRAPPED) else done

    def answer(self, value: int) -> None:
        """Finish a read of a system register (`Stop.READ`) with its value."""
        pc = self.pc()
        if (register := self.space.word(pc) & 31) < 31:
            self.set_x(register, value)
        self.set_pc(pc + 4)

    # General registers.

    def pc(self) -> int:
        """Return the program counter."""
        self.lib.uc_reg_read(self._handle, self._pc_id, self._one_pointer)
        return self._one.value

    def set_pc(self, value: int) -> None:
        """Set the program counter."""
        self._one.value = value
        self.lib.uc_reg_write(self._handle, self._pc_id, self._one_pointer)

    def x(self, n: int) -> int:
        """Return general register `n`."""
        self.lib.uc_reg_read(self._handle, self._general_ids[n], self._one_pointer)
        return self._one.value

    def call(self) -> list[int]:
        """Return X0-X8 at once: the arguments and the number of a system call."""
        self.lib.uc_reg_read_batch(self._handle, self._general_ids, self._call_pointers, self._n_call)
        return list(self._call)

    def set_x(self, n: int, value: int) -> None:
        """Set general register `n`."""
        self._one.value = value & (1 << 64) - 1
        self.lib.uc_reg_write(self._handle, self._general_ids[n], self._one_pointer)

    def bring(self, registers: Registers) -> None:
        """Make the engine hold these general registers, putting away those it held."""
        if self.resident is not registers:
            self.put_away()
            if registers.engine is not None:
                registers.engine.put_away()
            self.lib.uc_reg_write_batch(self._handle, self._general_ids, registers.pointers, self._n_general)
            self.resident, registers.engine = registers, self

    def put_away(self) -> None:
        """Write the general registers back to whom they belong to."""
        if self.resident is not None:
            self.lib.uc_reg_read_batch(self._handle, self._general_ids, self.resident.pointers, self._n_general)
            self.resident.engine = None
            self.resident = None

    # The FP registers.

    def fp(self) -> bytes:
        """Return V0-V31, FPSR and FPCR as an image."""
        self.lib.uc_reg_read_batch(self._handle, self._fp_ids, self._fp_pointers, self._n_fp)
        return bytes(self._fp_now)

    def set_fp_registers(self, image: bytes) -> None:
        """Set V0-V31, FPSR and FPCR."""
        ctypes.memmove(self._fp_now, image, V_BYTES)
        self.lib.uc_reg_write_batch(self._handle, self._fp_ids, self._fp_pointers, self._n_fp)

    def save_fp(self, pointers: Any) -> None:
        """Copy the FP registers to an image in RAM, given by its `image_pointers`."""
        self.lib.uc_reg_read_batch(self._handle, self._fp_ids, pointers, self._n_fp)

    def load_fp(self, pointers: Any) -> None:
        """Copy an image in RAM to the FP registers."""
        self.lib.uc_reg_write_batch(self._handle, self._fp_ids, pointers, self._n_fp)


class Sve:
    """The SVE registers of an engine. Unicorn has no names for them: they are moved through a saved CPU context.

    Where Z0 and P0 lie in it is found by planting values: Z through the V registers, which are their low 128 bits, and
    P by an instruction. Z registers lie 256 bytes apart, predicates 32; FFR is the seventeenth predicate.
    """

    def __init__(self, engine: Engine, ram: Ram, vector_length: int) -> None:
        uc = engine.uc
        uc.cpr_write(3, 6, 1, 1, 2, 1 << 8)  # CPTR_EL3.EZ, which comes out of reset as 0
        for op1 in (6, 4):
            uc.cpr_write(3, op1, 1, 2, 0, 15)  # ZCR_EL3, ZCR_EL2: nothing above limits EL1
        self.engine, self.vector_length = engine, 0
        engine._write_cpacr()
        self._context = uc.context_save()
        self._address = ctypes.cast(self._context.context, ctypes.c_void_p).value or 0
        self.set_length(256)
        planted = bytes(i * 37 % 251 + 1 for i in range(512)) + bytes(16)
        engine.set_fp_registers(planted)
        raw, first = self._raw(), planted[:16]
        places = (i for i in range(len(raw) - 31 * 256 - 16) if raw[i : i + 16] == first)
        self._z = next(
            (i for i in places if all(raw[i + 256 * k :][:16] == planted[16 * k :][:16] for k in range(32))), -1
        )
        self._p = self._find_predicates(ram)
        self.set_length(vector_length)
        self.write(bytes(self.size))

    def _find_predicates(self, ram: Ram) -> int:
        """Return where P0 lies, after loading it and FFR with two patterns."""
        space, data = Space(ram), bytes(range(0x41, 0x61)) + bytes(range(0x61, 0x81))
        space.map(0x10000, 8192)
        # ldr p0, [x0]; ldr p1, [x0, #1, mul vl]; setffr; wrffr p1.b; svc
        code = (0x85800000, 0x85800401, 0x252C9000, 0x25289020, 0xD4000001)
        space.write(0x10000, b"".join(word.to_bytes(4, "little") for word in code))
        space.write(0x11000, data)
        space.pages[0x10] = space.pages[0x10][0], EXECUTE | READ
        engine = self.engine
        engine.enter(space, privileged=False, fp_on=True)
        engine.set_x(0, 0x11000)
        engine.set_pc(0x10000)
        engine.run(100)
        raw = self._raw()
        at = raw.find(data)
        if engine.stop is not Stop.SVC or at < 0 or raw[at + 512 : at + 544] != data[32:]:
            raise FpstateError(
                "this build of unicorn keeps SVE registers otherwise than 2.1.4", expected="unicorn 2.1.4"
            )
        return at

    def _raw(self) -> bytes:
        self.engine.uc.context_update(self._context)
        return ctypes.string_at(self._address, self._context.size)

    @property
    def size(self) -> int:
        """Return the bytes of an SVE image at the length in force: Z0-Z31, P0-P15, FFR."""
        return 32 * self.vector_length + 17 * self.vector_length // 8

    def set_length(self, vector_length: int) -> None:
        """Set ZCR_EL1; what lies above a shorter length is lost, as the architecture allows."""
        if vector_length % 16 or not 16 <= vector_length <= 256:
            raise FpstateError(f"{vector_length} bytes are no vector length", expected="a multiple of 16, up to 256")
        self.engine.uc.cpr_write(3, 0, 1, 2, 0, vector_length // 16 - 1)
        self.vector_length = vector_length

    def read(self) -> bytes:
        """Return Z0-Z31, P0-P15 and FFR at the length in force, one behind the other."""
        raw, n = self._raw(), self.vector_length
        z = b"".join(raw[self._z + 256 * i : self._z + 256 * i + n] for i in range(32))
        return z + b"".join(raw[self._p + 32 * i : self._p + 32 * i + n // 8] for i in range(17))

    def write(self, image: bytes) -> None:
        """Set Z0-Z31, P0-P15 and FFR; V0-V31 are the low parts of Z."""
        self.engine.uc.context_update(self._context)
        n = self.vector_length
        for i in range(32):
            ctypes.memmove(self._address + self._z + 256 * i, image[n * i : n * i + n], n)
        for i in range(17):
            at = 32 * n + n // 8 * i
            ctypes.memmove(self._address + self._p + 32 * i, image[at : at + n // 8], n // 8)
        self.engine.uc.context_restore(self._context)
