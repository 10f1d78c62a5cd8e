"""Named arrays as one pointer: the same interpreted and compiled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpstate.jit import bare
from fpstate.structs import Struct
from fpstate.world.state import Ints


@dataclass(frozen=True, eq=False)
class Inner(Struct):
    values: Ints
    factor: int


@dataclass(frozen=True, eq=False)
class Outer(Struct):
    inner: Inner
    grid: Ints
    small: np.ndarray[tuple[int], np.dtype[np.uint8]]


def total(o: Outer) -> int:
    """Read every part, and write one."""
    found = len(o.grid) * 1_000_000
    for i in range(o.grid.shape[0]):
        for j in range(o.grid.shape[1]):
            found += o.grid[i, j] * o.inner.factor
    for k in range(len(o.small)):
        found += int(np.int64(o.small[k]))
    o.inner.values[0] = found
    return int(found)


def test_compiled_code_reads_and_writes_what_python_does() -> None:
    """Nested structs, arrays that are parts of larger ones, small types, and `but`."""
    grid = np.arange(24, dtype=np.int64).reshape(4, 6)[::2, 1::2]  # not contiguous
    outer = Outer(Inner(np.zeros(2, np.int64), 3), grid, np.array([200, 250], np.uint8))
    compiled = bare(total)
    expected = 2_000_000 + 3 * int(grid.sum()) + 450
    assert total(outer) == expected
    outer.inner.values[0] = 0
    assert compiled(outer) == expected
    assert outer.inner.values[0] == expected
    other = outer.but(grid=np.ones((1, 2), np.int64))
    assert compiled(other) == total(other) == 1_000_000 + 6 + 450
    assert compiled(outer) == expected
