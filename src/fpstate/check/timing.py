"""Whether one context can tell, from what is done at its own events, that another has used FP.

Pairs of worlds are searched that differ in nothing but that: each event happens in both, but a use by another task or
vCPU may happen in the first alone; what the kernel uses happens in both. A context watches its own uses and, being a
task, its ways to user mode and its system calls; being a vCPU, its entries and exits. Where the work done there
differs, registers moved or traps taken, it can tell by a clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from fpstate.check.run import HOLDS, INCOMPLETE, MAX_STATES, NOT_REACHED, VIOLATED, Result, search_for
from fpstate.paths.order import ENTER, EXIT_GUEST, GUEST_FP, MOST_TRAPS, RET, SYSCALL, USER_FP, cpu_of, kind_of
from fpstate.paths.properties import TIMING
from fpstate.paths.scope import KIND_NAMES, Scope, names_of
from fpstate.paths.tell import tell
from fpstate.paths.walk import Walker
from fpstate.policies.base import Policy
from fpstate.rows.learn import Rows
from fpstate.world.operations import (
    N_CLEAR,
    N_IPI,
    N_LOAD_HOST,
    N_LOAD_KERNEL,
    N_SAVE_HOST,
    N_SAVE_KERNEL,
)
from fpstate.world.state import CURRENT, RUNS, Ints, World
from fpstate.world.table import A_USED

OF_TASK = (USER_FP, RET, SYSCALL)
OF_VCPU = (GUEST_FP, ENTER, EXIT_GUEST)
"""Events of a context's own, at which it may look at a clock."""
MAX_PAIRS = 2_000_000

Work = tuple[tuple[str, int], ...]
Pair = tuple[int, int]  # numbers of the worlds with all uses, and without some


@dataclass(frozen=True)
class _Move:
    """What may happen in a world: its number among all that may, where it leads, and what is done there."""

    choice: int
    after: int
    kind: int
    thread: int
    vcpu: int  # that the thread has in KVM_RUN, -1 if none
    work: Work

    def is_use_by_other(self, x: int) -> bool:
        """Tell whether it is a use of registers by another context than `x`."""
        return (self.kind == USER_FP and self.thread != x) or (self.kind == GUEST_FP and self.vcpu != x)

    def is_seen_by(self, x: int) -> bool:
        """Tell whether context `x` may look at a clock before and after it."""
        return (self.kind in OF_TASK and self.thread == x) or (self.kind in OF_VCPU and self.vcpu == x)


def timing(policy: type[Policy], scope: Scope, *, max_pairs: int = MAX_PAIRS) -> Result:
    """Search for a context that can tell whether another has used FP, and return a shortest path by which it can.

    The path is that of the world with all uses; its `wrong` says which steps do not happen in the other, and what is
    then done at the last step. `states` of the result are pairs of worlds; the verdict is "incomplete" beyond
    `max_pairs` for one context.
    """
    began = time.perf_counter()
    worlds, pairs, depth, complete = _Worlds(policy, scope), 0, 0, True
    tasks, vcpus = scope.cpus + scope.tasks, scope.cpus + scope.tasks + scope.kthreads
    for x in (*range(scope.cpus, tasks), *range(vcpus, vcpus + scope.vcpus)):
        known = _told_apart(worlds, x, max_pairs)
        pairs += len(known)
        apart = next((pair for pair in reversed(known) if pair[0] < 0), None)
        if apart is not None:
            result = worlds.told(x, known, apart)
            return replace(result, states=pairs, seconds=time.perf_counter() - began)
        complete = complete and len(known) < max_pairs
        depth = max(depth, len(_steps_to(known, next(reversed(known)))))
    had, verdict = tuple(sorted(policy.features)), HOLDS if complete else INCOMPLETE
    if complete and not worlds.shows_anything():
        verdict = NOT_REACHED
    seconds = time.perf_counter() - began
    return Result(policy.name, verdict, "", scope, pairs, worlds.moves, depth, seconds, features=had)


Led = tuple[Pair, tuple[int, ...], bool, tuple[Work, Work]]
"""How a pair came up: the pair before, the moves that led here, whether they happened in both, the work done in each.

A use by another that traps is several moves: the trap, the return to user mode, and the use again.
"""
Known = dict[Pair, Led | None]


def _told_apart(worlds: _Worlds, x: int, max_pairs: int) -> Known:
    """Return all pairs that come up for context `x`, the last one (-1, -1) if it can tell the worlds apart there."""
    known: Known = {(0, 0): None}
    waiting = deque([(0, 0)])
    while waiting and len(known) < max_pairs:
        pair = waiting.popleft()
        other = worlds.moves_of(pair[1])
        for move, here in worlds.moves_of(pair[0]).items():
            there = other.get(move)
            if there is None:
                continue
            if here.is_seen_by(x) and here.work != there.work:
                known[-1, -1] = pair, (here.choice,), True, (here.work, there.work)
                return known
            after: list[tuple[Pair, tuple[int, ...], bool]] = [((here.after, there.after), (here.choice,), True)]
            if here.is_use_by_other(x):
                used, choices = worlds.whole_use(here)
                after.append(((used, pair[1]), choices, False))
            for following, choices, in_both in after:
                if following not in known:
                    known[following] = pair, choices, in_both, ((), ())
                    waiting.append(following)
    return known


def _steps_to(known: Known, pair: Pair) -> list[Led]:
    """Return the steps that lead to a pair, from the first."""
    steps = []
    at = known[pair]
    while at is not None:
        steps.append(at)
        at = known[at[0]]
    return steps[::-1]


class _Worlds:
    """All worlds of a scope that have come up, numbered, and what may happen in each."""

    def __init__(self, policy: type[Policy], scope: Scope) -> None:
        self.policy, self.scope, self.moves, self.wrong = policy, scope, 0, False
        self.walker = Walker(Rows(policy, interruptible=True), scope)
        self._search = search_for(self.walker.rows, scope, 0, fold=False, cores=1, zeros=True)
        self._search.run(MAX_STATES)  # from then on it has a packed form for each world
        self._worlds = [self.walker.world]
        self._numbers = {self._search.packed(self.walker.world): 0}
        self._moves: dict[int, dict[int, _Move]] = {}

    def moves_of(self, number: int) -> dict[int, _Move]:
        """Return what may happen in a world, by move; what goes wrong there is left out."""
        if number not in self._moves:
            self._moves[number] = dict(self._steps(self._worlds[number]))
        return self._moves[number]

    def shows_anything(self) -> bool:
        """Tell whether one context has used FP, and another could have looked at a clock; nothing must go wrong."""
        every = [move for moves in self._moves.values() for move in moves.values()]
        users = {move.thread for move in every if move.kind == USER_FP}
        users |= {move.vcpu for move in every if move.kind == GUEST_FP}
        seen = {move.thread for move in every if move.kind in OF_TASK}
        seen |= {move.vcpu for move in every if move.kind in OF_VCPU}
        return not self.wrong and any(user != x for user in users for x in seen)

    def whole_use(self, use: _Move) -> tuple[int, tuple[int, ...]]:
        """Return the world after a use that may trap: back in user mode, having used; and the moves to there."""
        after, choices = use.after, [use.choice]
        for _ in range(MOST_TRAPS):
            back = self._next(after, RET, use.thread)
            again = back and self._next(back.after, USER_FP, use.thread)
            if not back or not again:
                break
            after = again.after
            choices += [back.choice, again.choice]
        return after, tuple(choices)

    def _next(self, number: int, kind: int, thread: int) -> _Move | None:
        moves = self.moves_of(number).values()
        return next((move for move in moves if move.kind == kind and move.thread == thread), None)

    def _steps(self, world: World) -> Iterator[tuple[int, _Move]]:
        self.walker.worlds = [world]
        for choice, move in enumerate(self.walker.enabled()):
            before = self.walker.report.counts.copy()
            after, verdict, _ = self.walker.attempt(move)
            self.moves += 1
            self.wrong = self.wrong or bool(verdict)
            if not verdict:
                trapped = kind_of(move) in (USER_FP, GUEST_FP) and self.walker.report.asked[A_USED] > 0
                work = (*_work(self.walker.report.counts - before), *([("trap", 1)] if trapped else []))
                thread = int(world.cpu[cpu_of(move), CURRENT])
                vcpu = int(world.context[thread, RUNS]) - 1
                yield move, _Move(choice, self._number(after), kind_of(move), thread, vcpu, work)

    def _number(self, world: World) -> int:
        packed = self._search.packed(world)
        if packed not in self._numbers:
            self._numbers[packed] = len(self._worlds)
            self._worlds.append(world)
        return self._numbers[packed]

    def told(self, x: int, known: Known, apart: Pair) -> Result:
        """Return the path to a difference, told as of the world in which all uses happen."""
        steps = _steps_to(known, apart)
        walker = Walker(self.walker.rows, self.scope)
        choices = [choice for _, of_step, _, _ in steps for choice in of_step]
        for choice in choices:
            move = walker.enabled()[choice]
            walker.go(move, walker.attempt(move)[0])
        both = [in_both for _, of_step, in_both, _ in steps for _ in of_step]
        alone = [str(n) for n, in_both in enumerate(both, 1) if not in_both]
        name, event, seen = names_of(self.scope)[x], KIND_NAMES[kind_of(walker.moves[-1])], steps[-1][3]
        which = f"step{'s' if len(alone) > 1 else ''} {', '.join(alone)}"
        work, without = (_said(each) for each in seen)
        wrong = f"{name} can tell whether {which} happened: its last {event} takes {work}, and {without} without"
        path = replace(tell(walker, choices, 0, 0), wrong=wrong)
        had, n = tuple(sorted(self.policy.features)), len(choices)
        return Result(self.policy.name, VIOLATED, TIMING, self.scope, 0, self.moves, n, 0.0, path, features=had)


PARTS = {
    "save": range(N_SAVE_HOST, N_SAVE_KERNEL + 1), "load": range(N_LOAD_HOST, N_LOAD_KERNEL + 1),
    "clear": (N_CLEAR,), "interrupt": (N_IPI,),
}  # fmt: skip


def _work(done: Ints) -> Work:
    return tuple((name, n) for name, numbers in PARTS.items() if (n := sum(int(done[i]) for i in numbers)))


def _said(work: Work) -> str:
    return ", ".join(f"{n} {name}{'s' if n > 1 else ''}" for name, n in work) or "no work"
