"""A world led along a path one event at a time, with all that was decided on the way; paths by their code."""

from __future__ import annotations

from fpstate.errors import FpstateError
from fpstate.paths.order import RESUME, cpu_of, enabled, kind_of, make_move, other_of, other_participant, room_for_moves
from fpstate.paths.properties import OF_STATES, broken_by, broken_in, reader_on, seen_on
from fpstate.paths.scope import KIND_NAMES, Scope, build, names_of
from fpstate.rows.learn import Rows
from fpstate.world.operations import N_COUNTS
from fpstate.world.state import CURRENT, SECOND, World, copy_of
from fpstate.world.table import A_EVENT, A_FIRST, A_KEY, A_USED, new_report
from fpstate.world.verdicts import NO_ROW


class Walk:
    """Where a path has led: `worlds[0]` is before the first step, `worlds[i + 1]` after step i."""

    def __init__(self, rows: Rows, names: list[str], world: World) -> None:
        """Begin at `world`, whose contexts are called `names`."""
        self.rows, self.names = rows, names
        self.worlds = [copy_of(world)]
        self.used: list[list[int]] = []  # rows of each step
        self.moves: list[int] = []
        self.report = new_report(N_COUNTS)

    @property
    def world(self) -> World:
        """Where the path has led so far."""
        return self.worlds[-1]

    @property
    def cpus(self) -> int:
        """How many CPUs the world has."""
        return len(self.worlds[0].cpu)

    def add(self, move: int, after: World, used: list[int]) -> None:
        """Go one step."""
        self.moves.append(move)
        self.worlds.append(after)
        self.used.append(used)


class Walker(Walk):
    """A walk within a scope, which knows what may happen next."""

    def __init__(self, rows: Rows, scope: Scope, *, zeros: bool = True) -> None:
        """Begin at the start of the scope's world; `zeros` as in `new_world`."""
        self.bounds, world = build(scope, rows, zeros=zeros)
        self.scope = scope
        super().__init__(rows, names_of(scope), world)

    def enabled(self) -> list[int]:
        """Return the moves that may be made now."""
        moves = room_for_moves(self.bounds)
        return moves[: int(enabled(self.world, self.bounds, moves))].tolist()  # type: ignore[no-any-return]

    def attempt(self, move: int) -> tuple[World, int, int]:
        """Return the world after `move`, the verdict, and the properties broken; the report gets the rows used."""
        c = cpu_of(move)
        seen, reader = int(seen_on(self.world, c)), int(reader_on(self.world, c))
        while True:
            after = copy_of(self.world)
            verdict = int(make_move(after, self.rows.table, self.report, self.bounds, move))
            if verdict != NO_ROW:
                broken = int(broken_by(verdict, seen, reader)) | self.broken(after)
                return after, verdict, broken
            self.rows.learn(int(self.report.asked[A_EVENT]), int(self.report.asked[A_KEY]))

    def broken(self, world: World) -> int:
        """Return the properties of states that a world breaks."""
        return int(broken_in(world, self.bounds, OF_STATES))

    def go(self, move: int, after: World) -> None:
        """Make a move that was attempted last."""
        used = self.report.asked[A_FIRST : A_FIRST + int(self.report.asked[A_USED])]
        self.add(move, after, used.tolist())

    def move_called(self, word: str) -> int:
        """Return the move that a word of a path's code stands for; FpstateError for one that may not happen now."""
        moves = self.enabled()
        if word.isdigit() and int(word) < len(moves):
            return moves[int(word)]
        listed = ", ".join(f"{i} {label(self, m)}" for i, m in enumerate(moves))
        given = f"the path's step {len(self.moves) + 1} is '{word}'"
        raise FpstateError(given, expected=f"one of {listed}", hint="was it made with another policy or scope?")


def follow(walker: Walker, code: str, wanted: int) -> tuple[int, int]:
    """Walk the path `code` names until it ends or breaks a `wanted` property; return what it breaks and the verdict."""
    for word in code.split("/") if code else []:
        move = walker.move_called(word)
        after, verdict, broken = walker.attempt(move)
        walker.go(move, after)
        if broken & wanted:
            return broken & wanted, verdict
    return 0, 0


def label(walk: Walk, move: int) -> str:
    """Return a move that may be made now, as text."""
    kind, cpu, who, other = participants(walk, walk.world, move)
    return f"{kind} {who}{'->' + other if other else ''} on CPU {cpu}"


def second_of(before: World, move: int) -> int:
    """Return the second participant of a move in a world, as a context; what lies outside them is nobody."""
    t = int(before.cpu[cpu_of(move), CURRENT])
    if kind_of(move) == RESUME:
        return int(before.context[t, SECOND]) - 1
    return int(other_participant(before, kind_of(move), t, other_of(move)))


def participants(walk: Walk, before: World, move: int) -> tuple[str, int, str, str]:
    """Return kind, CPU, thread and second participant of a move in a world, by name."""
    kind, c = kind_of(move), int(cpu_of(move))
    t, n, x = int(before.cpu[c, CURRENT]), len(walk.names), second_of(before, move)
    thread = "" if KIND_NAMES[kind] in ("cpu_down", "cpu_up") else walk.names[t]
    return KIND_NAMES[kind], c, thread, walk.names[x] if 0 <= x < n else ""
