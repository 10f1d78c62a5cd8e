"""What is made of a run's accesses to memory, compiled and interpreted, against plain dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.kernel import accesses
from fpstate.kernel.accesses import (
    COLUMNS,
    COPIED,
    COPIES,
    DROPPED,
    FP,
    NOTED,
    ONLY_SETS,
    POINT,
    Access,
    Kept,
    each,
    held,
    kept,
)
from fpstate.kernel.accesses import written_over as bytes_written_over
from fpstate.lab.dump import RAM_AT, RAM_SIZE

SEEN, PAST, NOW = np.zeros(RAM_SIZE, np.bool_), np.zeros(RAM_SIZE, np.uint8), np.zeros(RAM_SIZE, np.uint8)
STRETCHES = (0, 16, COPIED), (16, 32, 0), (40, 48, DROPPED), (48, 80, COPIED)
REGIONS = np.array([(RAM_AT + start, RAM_AT + end, what) for start, end, what in STRETCHES])
WORD = st.integers(0, 2**64 - 1)
ACCESSES = st.lists(
    st.builds(
        Access,
        write=st.sampled_from([0, 1, POINT]), address=st.integers(RAM_AT, RAM_AT + 56), size=st.sampled_from([1, 4, 8]),
        value=WORD, before=WORD, pc=st.sampled_from([4, 2**64 - 8]),
    )
)  # fmt: skip
KNOWN = st.sampled_from([0, ONLY_SETS, FP, NOTED, FP | NOTED, COPIES, COPIES | NOTED])


def rows_of(listed: list[Access]) -> accesses.Rows:
    """Return accesses as rows."""
    return np.array(listed, np.uint64).reshape(-1, COLUMNS).view(np.int64)


def interpreted(function: Any) -> Any:
    """Return the Python of a compiled function."""
    return getattr(function, "py_func", function)


@settings(deadline=None)
@given(ACCESSES)
def test_accesses_come_back_from_rows(listed: list[Access]) -> None:
    """Also those whose numbers have the top bit set."""
    assert list(each(rows_of(listed))) == listed


@settings(deadline=None)
@given(ACCESSES)
def test_what_is_written_over_is_what_stood_there_first(listed: list[Access]) -> None:
    """The first write to a byte is the one that says what was there before."""
    first: dict[int, int] = {}
    for a in listed:
        if a.write:
            for i in range(a.size):
                first.setdefault(a.address - RAM_AT + i, a.before >> 8 * i & 255)
    rows = rows_of(listed)
    places, old = bytes_written_over(rows)
    assert dict(zip(places.tolist(), old.tolist(), strict=True)) == first
    again, bytes_again = np.empty_like(places), np.empty_like(old)
    assert interpreted(accesses.spread)(rows, again, bytes_again) == len(places)
    assert (again.tolist(), bytes_again.tolist()) == (places.tolist(), old.tolist())
    NOW[:64] = np.arange(64)
    stretches = np.array([(0, 20), (30, 38), (40, 44), (44, 45), (46, 64)])
    before = bytes(first.get(i, i) for i in range(64))
    numbers = [tuple(int.from_bytes(m[i:j], "little") for m in (before, bytes(range(64)))) for i, j in stretches]
    assert held(PAST, NOW, stretches, rows) == numbers
    words = np.empty((2, len(stretches)), np.uint64)
    interpreted(accesses.compare)(PAST, NOW, stretches, places, old, words)
    assert [tuple(pair) for pair in words.T.tolist()] == [(b % 2**64, n % 2**64) for b, n in numbers]


@settings(deadline=None)
@given(ACCESSES, st.data())
def test_what_is_kept(listed: list[Access], data: st.DataObject) -> None:
    """Nothing but what is dropped is lost, and what was joined follows in memory: by one instruction, or by a copy."""
    known = [data.draw(KNOWN) for _ in listed]
    rows, of_each = rows_of(listed), np.array(known, np.uint8)
    found = list(kept(rows, of_each, REGIONS, SEEN))
    assert not SEEN[:128].any()
    again = np.empty((len(rows), len(Kept._fields)), np.int64)
    count = interpreted(accesses.keep)(rows, of_each, REGIONS, SEEN, again)
    assert [tuple(row) for row in again[:count].view(np.uint64).tolist()] == found
    parts = expected(listed, known)
    copying = {part.number for part in parts if known[part.number] & COPIES and part.region in (1, 4)}
    rest, joined = list(found), list[Kept]()
    for part in parts:
        if rest and rest[0].number == part.number:
            assert rest.pop(0)._replace(size=part.size) == part
            joined.append(part)
            continue
        at = max(i for i, whole in enumerate(joined) if whole.write == part.write)
        whole = joined[at]
        assert whole[1:5] == (*part[1:4], part.address - whole.size)
        between = [p.number for p in parts if whole.number < p.number <= part.number]
        assert not any(known[number] & NOTED for number in between)
        if not copying.issuperset([whole.number, *between]):
            assert at == len(joined) - 1
            assert part.pc == whole.pc
            assert not part.write or known[part.number] & FP
        joined[at] = whole._replace(size=whole.size + part.size)
    assert joined == found


def test_a_copy_is_joined_until_something_else_comes() -> None:
    """It reads and writes by turns, each time by another instruction."""
    turns = [(8 * i, 48 + 8 * i) for i in range(2)]
    listed = [Access(n, RAM_AT + at, 8, 0, 0, 4 * i + n) for i, turn in enumerate(turns) for n, at in enumerate(turn)]
    for known, numbers in (
        ((COPIES, COPIES, COPIES, COPIES), [0, 1]),
        ((COPIES, COPIES, COPIES | NOTED, COPIES), [0, 1, 2, 3]),
        ((COPIES, COPIES, 0, COPIES), [0, 1, 2, 3]),
        ((COPIES, 0, COPIES, COPIES), [0, 1, 2, 3]),
        ((0, COPIES, COPIES, COPIES), [0, 1, 2]),
    ):
        found = kept(rows_of(listed), np.array(known, np.uint8), REGIONS, SEEN)
        assert [a.number for a in found] == numbers


def expected(listed: list[Access], known: list[int]) -> list[Kept]:
    """Return all that is to be kept, each by itself."""
    found, own = [], set[int]()
    for number, a in enumerate(listed):
        its = set(range(a.address, a.address + a.size))
        region = next((r for r, (start, end, _) in enumerate(REGIONS.tolist(), 1) if start <= a.address < end), 0)
        its_own = not a.write and its <= own
        if a.write and not known[number] & ONLY_SETS:
            own |= its
        if region != 3:
            found.append(Kept(number, region, int(its_own), *a))
    return found
