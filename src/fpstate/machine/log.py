"""What happened on the machine, in order, in 16 bytes an event: a run of hours has hundreds of millions."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Entry = tuple[int, int, int, int, int]
"""Time in ns, CPU, event, subject, object (-1: none)."""


class Log:
    """A list of entries that can only grow, and lose its last."""

    def __init__(self) -> None:
        self._words = array("q")

    def append(self, entry: Entry) -> None:
        """Put an entry at the end."""
        time, c, e, t, s = entry
        self._words.append(time)
        self._words.append((c << 8 | e) << 32 | t << 16 | s + 1)

    def pop(self) -> Entry:
        """Take the last entry away and return it."""
        last = self[len(self) - 1]
        del self._words[-2:]
        return last

    def __len__(self) -> int:
        return len(self._words) // 2

    def __getitem__(self, i: int) -> Entry:
        word = self._words[2 * i + 1]
        return self._words[2 * i], word >> 40, word >> 32 & 255, word >> 16 & 65535, (word & 65535) - 1

    def __iter__(self) -> Iterator[Entry]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Log) and self._words == other._words

    __hash__ = None  # type: ignore[assignment]

    def columns(self) -> tuple[NDArray[np.int64], ...]:
        """Return times, CPUs, events, subjects and objects."""
        words = np.array(self._words, np.int64).reshape(-1, 2)
        word = words[:, 1]
        return words[:, 0].copy(), word >> 40, word >> 32 & 255, word >> 16 & 65535, (word & 65535) - 1
