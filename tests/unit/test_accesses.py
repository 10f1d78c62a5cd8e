"""What is made of a run's accesses to memory, compiled and interpreted, against plain dictionaries."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fpstate.kernel import accesses
from fpstate.kernel.accesses import COLUMNS, DROPPED, FP, NOTED, ONLY_SETS, POINT, Access, Kept, each, kept, put_past
from fpstate.kernel.accesses import written_over as bytes_written_over
from fpstate.lab.dump import RAM_AT, RAM_SIZE

SEEN, PAST, NOW = np.zeros(RAM_SIZE, np.bool_), np.zeros(RAM_SIZE, np.uint8), np.zeros(RAM_SIZE, np.uint8)
REGIONS = np.array([(RAM_AT + 16, RAM_AT + 32, 0), (RAM_AT + 40, RAM_AT + 48, DROPPED)])
WORD = st.integers(0, 2**64 - 1)
ACCESSES = st.lists(
    st.builds(
        Access,
        write=st.sampled_from([0, 1, POINT]), address=st.integers(RAM_AT, RAM_AT + 56), size=st.sampled_from([1, 4, 8]),
        value=WORD, before=WORD, pc=st.sampled_from([4, 2**64 - 8]),
    )
)  # fmt: skip
KNOWN = st.sampled_from([0, ONLY_SETS, FP, NOTED, FP | NOTED])


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
    interpreted(accesses.spread)(rows, again, bytes_again)
    assert (again.tolist(), bytes_again.tolist()) == (places.tolist(), old.tolist())
    NOW[:64] = np.arange(64)
    put_past(PAST, NOW, np.array([(0, 20), (30, 64)]), rows)
    asked = [*range(20), *range(30, 64)]
    assert [int(PAST[i]) for i in asked] == [first.get(i, i) for i in asked]


@settings(deadline=None)
@given(ACCESSES, st.data())
def test_what_is_kept(listed: list[Access], data: st.DataObject) -> None:
    """Nothing but what is dropped is lost, and what was joined is of one instruction and follows in memory."""
    known = [data.draw(KNOWN) for _ in listed]
    rows, of_each = rows_of(listed), np.array(known, np.uint8)
    found = list(kept(rows, of_each, REGIONS, SEEN))
    assert not SEEN[:128].any()
    again = np.empty((len(rows), len(Kept._fields)), np.int64)
    count = interpreted(accesses.keep)(rows, of_each, REGIONS, SEEN, again)
    assert [tuple(row) for row in again[:count].view(np.uint64).tolist()] == found
    parts = iter(expected(listed, known))
    for whole in found:
        first = next(parts)
        assert whole == first._replace(size=whole.size)
        end = first.address + first.size
        while end < whole.address + whole.size:
            part = next(parts)
            assert part._replace(number=0, address=0, size=0, value=0, before=0) == first._replace(
                number=0, address=0, size=0, value=0, before=0
            )
            assert part.address == end
            assert not known[part.number] & NOTED
            assert not part.write or known[part.number] & FP
            end += part.size
    assert next(parts, None) is None


def expected(listed: list[Access], known: list[int]) -> list[Kept]:
    """Return all that is to be kept, each by itself."""
    found, own = [], set[int]()
    for number, a in enumerate(listed):
        its = set(range(a.address, a.address + a.size))
        region = 1 if RAM_AT + 16 <= a.address < RAM_AT + 32 else 2 if RAM_AT + 40 <= a.address < RAM_AT + 48 else 0
        its_own = not a.write and its <= own
        if a.write and not known[number] & ONLY_SETS:
            own |= its
        if region != 2:
            found.append(Kept(number, region, int(its_own), *a))
    return found
