"""Which line of the trace each call of the emulator's log has written, by the time that a thread has a CPU.

A call is logged as it begins, and an interrupt may come before its line is written. Then the interrupt's lines come
first; and if it leads to a switch, so do those of other threads, and the line comes when its own thread runs again, on
whatever CPU. But switches are made with interrupts off, so their lines are in the order of their calls. A thread is in
one such call at a time, and in none while it is in user mode or in a guest. So from one switch to the next, and there
from one stay to the next, lines and calls are the same but for their order; and a thread that is switched out owes
one line at most.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from fpstate.lab.emulator import CpuLog, Stay, Where


class MismatchError(Exception):
    """Lines and calls of a CPU differ at line `place`, where that of the call `expected` was due (-1: none)."""

    def __init__(self, cpu: int, place: int, expected: int) -> None:
        super().__init__(cpu, place, expected)
        self.cpu, self.place, self.expected = cpu, place, expected


@dataclass
class Spell:
    """From one switch of a CPU to the next: numbers of the writers of its lines, and of its calls, in their order."""

    cpu: int
    start: int  # place of its first line among those of the CPU
    lines: list[int]
    calls: list[int]
    stays: list[tuple[int, Stay]] = field(default_factory=list)  # (how many of its calls came before, the stay)
    first: bool = False  # recording began in it: there may be more calls before its lines
    last: bool = False  # recording ended in it: there may be more calls after its lines


@dataclass(frozen=True)
class Mark:
    """The line and the call that say where trace and log of a CPU meet."""

    place: int  # of the line
    call: int  # number of the call
    before: list[int]  # how many switches of the trace may have come before the call: its thread ran then; last first


def spells(log: CpuLog, lines: list[int], switch: int, mark: Mark) -> list[Spell]:
    """Return the spells of a CPU. `lines` are the writers' numbers.

    The thread that wrote the mark may have been switched out between call and line. So of its spells that is taken by
    which most spells of the CPU have the lines of their calls. Raise MismatchError if there is none.
    """
    line_at = [i for i, number in enumerate(lines) if number == switch]
    call_at = [i for i, number in enumerate(log.called) if number == switch]
    known = bisect_left(call_at, mark.call)
    ways = [known - n for n in mark.before if 0 <= known - n <= len(call_at) - len(line_at)]
    if not ways:
        raise MismatchError(log.cpu, mark.place, -1)
    made = [_spells(log, lines, (line_at, call_at), before, mark) for before in ways]
    return max(made, key=lambda each: sum(sorted(spell.lines) == sorted(spell.calls) for spell in each))


def _spells(
    log: CpuLog, lines: list[int], switches: tuple[list[int], list[int]], before: int, mark: Mark
) -> list[Spell]:
    """Return the spells of a CPU, if it had made so many switches before recording began."""
    line_at, call_at = switches
    seen = before + len(line_at)
    begin = call_at[before - 1] if before else 0
    if not line_at:
        begin = max(mark.call - mark.place, 0)
    end = call_at[seen] if seen < len(call_at) else len(log.called)
    calls = [begin, *call_at[before:seen], end]
    borders = [0, *line_at, len(lines)]
    made = [
        Spell(log.cpu, a, lines[a:b], log.called[c:d])
        for (a, b), (c, d) in zip(pairwise(borders), pairwise(calls), strict=True)
    ]
    for n, stay in log.stays:
        k = bisect_left(calls, n) - 1
        if 0 <= k < len(made):
            made[k].stays.append((n - calls[k], stay))
    made[0].first, made[-1].last = bool(line_at), True
    return [spell for spell in made if spell.lines]


def turn_back(spell: Spell, turns: frozenset[int]) -> None:
    """Note in a spell where its thread is almost in user mode: it comes from a call that sees to its registers.

    One of `turns` says that it has turned back, or the end of the spell, if it was not in user mode before.
    """
    user = next((n for n, stay in spell.stays if stay.where is Where.USER), None)
    n = next((i for i, number in enumerate(spell.calls[:user]) if i and number in turns), None)
    if n is None and user is None:
        n = len(spell.calls)
    if n is not None and (n, Where.ALMOST_USER) not in [(m, stay.where) for m, stay in spell.stays]:
        spell.stays.append((n, Stay(Where.ALMOST_USER)))
        spell.stays.sort(key=lambda pair: pair[0])


def placed(spell: Spell, owed: int | None) -> tuple[list[tuple[int, Stay]], int | None]:
    """Return (how many of the spell's lines come before, stay) for its stays, and the call whose line is owed after it.

    `owed` is what its thread owed before. Raise MismatchError if lines and calls do not fit.
    """
    if not spell.first:
        return _placed(spell, 0, owed)
    skipped = len(spell.calls) - len(spell.lines)
    try:
        return _placed(spell, skipped, owed)
    except MismatchError:
        if skipped < 1:
            raise
    return _placed(spell, skipped - 1, owed)  # its last call owes its line


def _placed(spell: Spell, skipped: int, owed: int | None) -> tuple[list[tuple[int, Stay]], int | None]:
    lines, calls = spell.lines, spell.calls
    due: Counter[int] = Counter([] if owed is None else [owed])
    found: list[tuple[int, Stay]] = []
    done, written = max(skipped, 0), 0
    for n, stay in (*spell.stays, (len(calls), None)):
        if n < done:
            continue
        due.update(calls[done:n])
        now = min(written + due.total(), len(lines)) if stay else len(lines)
        due.subtract(lines[written:now])
        done, written = n, now
        left = due.total()
        wrong = min(due.values(), default=0) < 0
        if spell.last and not wrong and (left or not stay):
            return found, None  # the recorder stopped in the middle
        at_the_end = stay is None or (n == len(calls) and stay.where is Where.ALMOST_USER)
        if wrong or left > (1 if at_the_end else 0):
            raise _mismatch(spell, skipped, owed)
        if stay and not left:  # else its thread was on its way, and is in a call still
            found.append((written, stay))
    return found, next(iter(+due), None)


def _mismatch(spell: Spell, skipped: int, owed: int | None) -> MismatchError:
    """Return the first line that no call has written, or the last."""
    calls = [*([] if owed is None else [owed]), *spell.calls[max(skipped, 0) :]]
    for i, line in enumerate(spell.lines):
        if line not in calls:
            return MismatchError(spell.cpu, spell.start + i, calls[0] if calls else -1)
        calls.remove(line)
    return MismatchError(spell.cpu, spell.start + len(spell.lines) - 1, calls[0] if calls else -1)
