"""What a program was told from outside, so that it can be told the same again when it runs alone.

Whatever hangs on the machine and not on the program goes through here: the time, its process id, whether another
process is there, and signals with the number of instructions after which each came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Told:
    """What a program was told: its process id if it asked, answers in order, and signals.

    A signal is (instructions executed before it, number).
    """

    pid: int = 0
    answers: tuple[int, ...] = ()
    signals: tuple[tuple[int, int], ...] = ()


@dataclass
class Tape:
    """A recording of what a program is told. With `again`, it is told that, and the machine only where it ends."""

    again: Told = field(default_factory=Told)
    pid: int = 0
    answers: list[int] = field(default_factory=list)
    signals: list[tuple[int, int]] = field(default_factory=list)

    def process(self, pid: int) -> int:
        """Return the program's process id, which is `pid` if it is not on the recording."""
        self.pid = self.again.pid or pid
        return self.pid

    def answer(self, value: int) -> int:
        """Return what the program is told where the machine would say `value`."""
        told: Sequence[int] = self.again.answers
        if len(self.answers) < len(told):
            value = told[len(self.answers)]
        self.answers.append(value)
        return value

    def signal(self, instructions: int, number: int) -> None:
        """Note that a signal was delivered."""
        self.signals.append((instructions, number))

    def next_signal(self) -> tuple[int, int] | None:
        """Return the signal that comes next on the recording that is played again."""
        told = self.again.signals
        return told[len(self.signals)] if len(self.signals) < len(told) else None

    def told(self) -> Told:
        """Return all that the program has been told."""
        return Told(self.pid, tuple(self.answers), tuple(self.signals))
