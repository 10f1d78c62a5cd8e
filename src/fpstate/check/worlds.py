"""The worlds of a scope one by one, numbered as they come up, and what may happen in each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fpstate.check.run import MAX_STATES, search_for
from fpstate.paths.order import GUEST_FP, USER_FP, cpu_of, kind_of
from fpstate.paths.scope import Scope
from fpstate.paths.walk import Walker
from fpstate.rows.learn import Rows
from fpstate.world.state import CURRENT, RUNS, World
from fpstate.world.table import A_USED


@dataclass(frozen=True)
class Move:
    """What may happen in a world: its number among all that may, where it leads, and what is done there.

    `done` has how often each operation was carried out, by N_*; `trapped` is of uses.
    """

    choice: int
    after: int
    kind: int
    thread: int
    vcpu: int  # that the thread has in KVM_RUN, -1 if none
    done: tuple[int, ...]
    trapped: bool


class Worlds:
    """Worlds by number, the first being 0; `made` moves so far; `wrong`: whether one of them went wrong."""

    def __init__(self, rows: Rows, scope: Scope) -> None:
        self.walker = Walker(rows, scope)
        self.made, self.wrong = 0, False
        self._search = search_for(rows, scope, 0, fold=False, cores=1, zeros=True)
        self._search.run(MAX_STATES)  # from then on it has a packed form for each world
        self._worlds: list[World] = []
        self._numbers: dict[tuple[int, ...], int] = {}
        self._moves: dict[int, dict[int, Move]] = {}
        self.number(self.walker.world)

    def __getitem__(self, number: int) -> World:
        return self._worlds[number]

    def number(self, world: World) -> int:
        """Return the number of a world, a new one if none like it has come up."""
        packed = self._search.packed(world)
        if packed not in self._numbers:
            self._numbers[packed] = len(self._worlds)
            self._worlds.append(world)
        return self._numbers[packed]

    def moves_of(self, number: int) -> dict[int, Move]:
        """Return what may happen in a world, by move; what goes wrong there is left out."""
        if number not in self._moves:
            self._moves[number] = dict(self._steps(self._worlds[number]))
        return self._moves[number]

    def every_move(self) -> Iterator[Move]:
        """Yield all that has been found to be possible so far."""
        for moves in self._moves.values():
            yield from moves.values()

    def _steps(self, world: World) -> Iterator[tuple[int, Move]]:
        self.walker.worlds = [world]
        report = self.walker.report
        for choice, move in enumerate(self.walker.enabled()):
            before = report.counts.copy()
            after, verdict, _ = self.walker.attempt(move)
            self.made += 1
            self.wrong = self.wrong or bool(verdict)
            if not verdict:
                kind, thread = kind_of(move), int(world.cpu[cpu_of(move), CURRENT])
                trapped = kind in (USER_FP, GUEST_FP) and report.asked[A_USED] > 0
                done, vcpu = tuple((report.counts - before).tolist()), int(world.context[thread, RUNS]) - 1
                yield move, Move(choice, self.number(after), kind, thread, vcpu, done, bool(trapped))
