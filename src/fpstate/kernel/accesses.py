"""What a run's code did to memory, one access after the other, noted by compiled code that Unicorn calls.

A Python function in its place would take most of a run's time: a fork makes some eight hundred accesses.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import llvmlite.binding
import numpy as np
from numba import carray, types
from numpy.typing import NDArray

from fpstate.jit import bare, callback
from fpstate.lab.dump import RAM_AT, RAM_SIZE

Rows = NDArray[np.int64]
"""Accesses, one a row; the columns are those of Access."""
Bytes = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Bytes by their place in RAM; of those that stand there more than once, the last counts."""


class Access(NamedTuple):
    """One access to memory. A write may be that of a point, where others may come in."""

    write: int  # 0, 1, or POINT
    address: int  # physical
    size: int  # bytes, at most 8 as they come
    value: int  # what a write writes,
    before: int  # and writes over; both without sign
    pc: int  # the instruction's address


POINT: Final = 2
IS_WRITE, ADDRESS, SIZE, VALUE, BEFORE, PC = range(len(Access._fields))
COLUMNS: Final = len(Access._fields)
MOST: Final = 1 << 18
WORD: Final = 8  # bytes
COUNT, POINTS, WATCHED, ENABLED, STATE, RAM = range(6)
HEADER: Final = 6
"""Words before the rows: accesses and points so far; what is watched for points, and what it then falls to; room for
PSTATE; where RAM lies."""
PC_REGISTER, PSTATE_REGISTER, MEM_WRITE = 260, 265, 17
"""UC_ARM64_REG_PC, UC_ARM64_REG_PSTATE, UC_MEM_WRITE."""
IRQS_OFF: Final = 1 << 7
COUNTS: Final = (1 << 32) - 1

_read_register = types.ExternalFunction("fpstate_uc_reg_read", types.int32(types.intp, types.int32, types.intp))
_copy = types.ExternalFunction("fpstate_memcpy", types.intp(types.intp, types.intp, types.intp))
_HOOK: Final = (types.intp, types.int32, types.int64, types.int32, types.int64, types.voidptr)


def _note(uc: int, kind: int, address: int, size: int, value: int, data: Any) -> None:
    """Write down one access (a `uc_cb_hookmem_t` of Unicorn)."""
    if not RAM_AT <= address <= RAM_AT + RAM_SIZE - size:
        return  # there is no memory: the run ends here
    words = carray(data, (HEADER + COLUMNS * MOST,), np.int64)
    number = words[COUNT]
    words[COUNT] = number + 1
    if number >= MOST:
        return
    at = HEADER + COLUMNS * number
    here = words.ctypes.data
    words[at + IS_WRITE] = kind == MEM_WRITE
    words[at + ADDRESS] = address
    words[at + SIZE] = size
    words[at + VALUE] = value
    words[at + BEFORE] = 0
    _read_register(uc, PC_REGISTER, here + 8 * (at + PC))
    if kind != MEM_WRITE:
        return
    _copy(here + 8 * (at + BEFORE), words[RAM] + address - RAM_AT, size)
    falls = value & COUNTS < words[at + BEFORE] & COUNTS
    if falls and address == words[WATCHED] and value & COUNTS == words[ENABLED]:
        _read_register(uc, PSTATE_REGISTER, here + 8 * STATE)
        if not words[STATE] & IRQS_OFF:
            words[at + IS_WRITE] = POINT
            words[POINTS] += 1


class Log:
    """The accesses of the run that goes on, and the number of points since they were last watched for."""

    def __init__(self, uc: Any, ram: int) -> None:
        """Have all accesses of an emulator noted, whose RAM lies at an address of ours."""
        from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE
        from unicorn.unicorn_py3.unicorn import uclib

        for name, function in (("uc_reg_read", uclib.uc_reg_read), ("memcpy", ctypes.CDLL(None).memcpy)):
            llvmlite.binding.add_symbol(f"fpstate_{name}", ctypes.cast(function, ctypes.c_void_p).value)
        self._words = np.zeros(HEADER + COLUMNS * MOST, np.int64)
        self._words[RAM] = ram
        self._hook = callback(_note, types.void, _HOOK)
        handle, kinds = ctypes.c_size_t(), UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE
        function, data = ctypes.c_void_p(self._hook.address), ctypes.c_void_p(self._words.ctypes.data)
        always = ctypes.c_uint64(1), ctypes.c_uint64(0)
        status = uclib.uc_hook_add(uc._uch, ctypes.byref(handle), kinds, function, data, *always)
        if status:
            raise RuntimeError(f"uc_hook_add: {status}")

    def begin(self) -> None:
        """Begin anew."""
        self._words[COUNT] = 0

    def watch(self, address: int, enabled: int) -> None:
        """Watch for points: where the word at a physical address falls to a value, interrupts being on."""
        self._words[POINTS], self._words[WATCHED], self._words[ENABLED] = 0, address, enabled

    @property
    def count(self) -> int:
        """The number of accesses since the run began; beyond MOST, not all are kept."""
        return int(self._words[COUNT])

    @property
    def points(self) -> int:
        """The number of points since they were last watched for."""
        return int(self._words[POINTS])

    def rows(self) -> Rows:
        """Return a copy of the accesses since the run began."""
        return self._words[HEADER : HEADER + COLUMNS * self.count].reshape(-1, COLUMNS).copy()


def each(rows: Rows) -> Iterator[Access]:
    """Yield accesses one by one."""
    numbers: Any = rows.view(np.uint64).tolist()
    return map(Access._make, numbers)


class Kept(NamedTuple):
    """An access that was kept: its number, its region, whether it reads what the run itself has written."""

    number: int
    region: int  # from 1; 0 for none
    its_own: int
    write: int
    address: int
    size: int  # may be more than 8
    value: int  # of the first, if there is more than one
    before: int
    pc: int


NUMBER, REGION, ITS_OWN = range(3)
ABOUT: Final = 3
"""Columns of Kept before those of Access."""
ONLY_SETS, FP, NOTED, COPIES, DROPPED, COPIED = 1, 2, 4, 8, 16, 32
"""What is known of an access: its instruction only sets bits, or moves SIMD registers; something was noted before it;
its instruction is one of those that copy a whole task. Of a region: what is accessed there is not kept; it is, or is
part of, what may be copied as a whole."""


def kept(rows: Rows, known: NDArray[np.uint8], regions: Rows, seen: NDArray[np.bool_]) -> Iterator[Kept]:
    """Yield accesses outside of dropped regions, those of one instruction to what follows in memory as one.

    A copy of a whole task reads and writes by turns. Its reads in a row are one, and its writes, unless something else
    comes between. `known`: of each access, ONLY_SETS, FP, NOTED and COPIES. `regions`: start, end, and DROPPED, COPIED
    or 0, in order; the last that an access is in counts. `seen` is as large as RAM, all False, and is so again
    afterwards.
    """
    found = np.empty((len(rows), ABOUT + COLUMNS), np.int64)
    count = keep(rows, known, regions, seen, found)
    numbers: Any = found[:count].view(np.uint64).tolist()
    return map(Kept._make, numbers)


@bare
def keep(rows: Rows, known: NDArray[np.uint8], regions: Rows, seen: NDArray[np.bool_], found: Rows) -> int:
    """Put into `found` what `kept` yields, and return how many there are."""
    count, noted, copy_began = 0, False, 0
    for i in range(len(rows)):
        noted |= known[i] & NOTED != 0
        write, address, size = rows[i, IS_WRITE], rows[i, ADDRESS], rows[i, SIZE]
        own = write == 0
        for at in range(address - RAM_AT, address - RAM_AT + size):
            own &= seen[at]
            seen[at] |= write != 0 and not known[i] & ONLY_SETS
        region = 0
        for r in range(len(regions)):
            if regions[r, 0] <= address < regions[r, 1]:
                region = r + 1
        of_region = regions[region - 1, 2] if region else 0
        if of_region == DROPPED:
            continue
        copies = known[i] & COPIES and of_region == COPIED
        if noted or not copies:
            copy_began = count
        of = count - 1
        if of > copy_began and found[of, ABOUT + IS_WRITE] != write:
            of -= 1  # a copy reads between its writes, and writes between its reads
        if of >= 0 and not noted:
            by_one = found[of, ABOUT + PC] == rows[i, PC] and (write == 0 or known[i] & FP)
            same = found[of, REGION] == region and found[of, ITS_OWN] == own and found[of, ABOUT + IS_WRITE] == write
            follows = found[of, ABOUT + ADDRESS] + found[of, ABOUT + SIZE] == address
            if same and follows and (by_one or of >= copy_began):
                found[of, ABOUT + SIZE] += size
                continue
        noted = False
        found[count, NUMBER], found[count, REGION], found[count, ITS_OWN] = i, region, own
        for c in range(COLUMNS):
            found[count, ABOUT + c] = rows[i, c]
        count += 1
        if not copies:
            copy_began = count
    for i in range(len(rows)):
        for at in range(rows[i, ADDRESS] - RAM_AT, rows[i, ADDRESS] - RAM_AT + rows[i, SIZE]):
            seen[at] = False
    return count


def written_over(rows: Rows) -> Bytes:
    """Return the bytes that were written to, with what each held before, those written last first."""
    most = WORD * len(rows)
    places, old = np.empty(most, np.int64), np.empty(most, np.uint8)
    total = spread(rows, places, old)
    return places[:total], old[:total]


@bare
def spread(rows: Rows, places: NDArray[np.int64], old: NDArray[np.uint8]) -> int:
    """Fill in what `written_over` returns, and return how many bytes there are."""
    n = 0
    for i in range(len(rows) - 1, -1, -1):
        if rows[i, IS_WRITE] != 0:
            for j in range(rows[i, SIZE]):
                places[n] = rows[i, ADDRESS] - RAM_AT + j
                old[n] = rows[i, BEFORE] >> 8 * j & 255
                n += 1
    return n


def held(past: NDArray[np.uint8], ram: NDArray[np.uint8], stretches: Rows, rows: Rows) -> list[tuple[int, int]]:
    """Return what each stretch of RAM, from a start to an end, held before the run, and holds now, as numbers.

    `past` is as large as RAM; what it holds does not matter.
    """
    numbers = np.empty((2, len(stretches)), np.uint64)
    compare(past, ram, stretches, *written_over(rows), numbers)
    found = list(zip(*numbers.tolist(), strict=True))
    for i in np.flatnonzero(stretches[:, 1] - stretches[:, 0] > WORD):
        start, end = stretches[i]
        found[i] = _number(past[start:end]), _number(ram[start:end])
    return found


def _number(data: NDArray[np.uint8]) -> int:
    return int.from_bytes(data.tobytes(), "little")


@bare
def compare(
    past: NDArray[np.uint8],
    ram: NDArray[np.uint8],
    stretches: Rows,
    places: NDArray[np.int64],
    old: NDArray[np.uint8],
    numbers: NDArray[np.uint64],
) -> None:
    """Have `past` hold in these stretches what RAM held before the run, and put words of both into `numbers`.

    `places` and `old` are what the run has written over.
    """
    for s in range(len(stretches)):
        for at in range(stretches[s, 0], stretches[s, 1]):
            past[at] = ram[at]
    for i in range(len(places)):
        past[places[i]] = old[i]
    for s in range(len(stretches)):
        numbers[0, s] = numbers[1, s] = 0
        for at in range(min(stretches[s, 1], stretches[s, 0] + WORD) - 1, stretches[s, 0] - 1, -1):
            numbers[0, s] = numbers[0, s] << np.uint64(8) | past[at]
            numbers[1, s] = numbers[1, s] << np.uint64(8) | ram[at]
