"""Whether one context can tell, from what is done at its own events, that another has used FP.

Pairs of worlds are searched that differ in nothing but that: each event happens in both, but a use by another task or
vCPU may happen in the first alone; what the kernel uses happens in both. A context watches its own uses and, being a
task, its ways to user mode and its system calls; being a vCPU, its entries and exits. Where the work done there
differs, registers moved or traps taken, it can tell by a clock.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

from fpstate.check.run import HOLDS, INCOMPLETE, NOT_REACHED, VIOLATED, Result
from fpstate.check.worlds import Move, Worlds
from fpstate.paths.order import ENTER, EXIT_GUEST, GUEST_FP, MOST_TRAPS, RET, SYSCALL, USER_FP, kind_of
from fpstate.paths.properties import TIMING
from fpstate.paths.scope import KIND_NAMES, Scope, names_of
from fpstate.paths.tell import Path, tell
from fpstate.paths.walk import Walker
from fpstate.policies.base import Policy
from fpstate.rows.learn import Rows
from fpstate.world.operations import WORK, kinds_of_work

OF_TASK = (USER_FP, RET, SYSCALL)
OF_VCPU = (GUEST_FP, ENTER, EXIT_GUEST)
"""Events of a context's own, at which it may look at a clock."""
MAX_PAIRS = 2_000_000

Work = tuple[tuple[str, int], ...]
Pair = tuple[int, int]  # numbers of the worlds with all uses, and without some
Led = tuple[Pair, tuple[int, ...], bool]
"""How a pair came up: the pair before, the moves that led here, whether they happened in both.

A use by another that traps is several moves: the trap, the return to user mode, and the use again.
"""
Known = dict[Pair, Led | None]
FIRST: Pair = (0, 0)


def timing(policy: type[Policy], scope: Scope, *, max_pairs: int = MAX_PAIRS) -> Result:
    """Search for a context that can tell whether another has used FP, and return a shortest path by which it can.

    The path is that of the world with all uses; its `wrong` says which steps do not happen in the other, and what is
    then done at the last step. `states` of the result are pairs of worlds; the verdict is "incomplete" beyond
    `max_pairs` for one context, and "not reached" where nobody could have told, or something else goes wrong.
    """
    began = time.perf_counter()
    worlds = Worlds(Rows(policy, interruptible=True), scope)
    pairs, depth, verdict, path = 0, 0, HOLDS, None
    tasks, vcpus = scope.cpus + scope.tasks, scope.cpus + scope.tasks + scope.kthreads
    for x in (*range(scope.cpus, tasks), *range(vcpus, vcpus + scope.vcpus)):
        known, told = _told_apart(worlds, x, max_pairs)
        pairs, steps = pairs + len(known), _steps_to(known, next(reversed(known)))
        depth = max(depth, len(steps))
        if told is not None:
            path = _path(worlds, scope, x, steps, told)
            depth, verdict = len(path.steps), VIOLATED
            break
        if len(known) >= max_pairs:
            verdict = INCOMPLETE
    if verdict == HOLDS and not _shows_anything(worlds):
        verdict = NOT_REACHED
    seconds, had = time.perf_counter() - began, tuple(sorted(policy.features))
    name = TIMING if path else ""
    return Result(policy.name, verdict, name, scope, pairs, worlds.made, depth, seconds, path, features=had)


def _told_apart(worlds: Worlds, x: int, max_pairs: int) -> tuple[Known, tuple[Move, Move] | None]:
    """Return all pairs that come up for context `x`, and the moves by which it tells two worlds apart, if it can.

    Then the last pair is behind these moves.
    """
    known: Known = {FIRST: None}
    waiting = deque([FIRST])
    while waiting and len(known) < max_pairs:
        pair = waiting.popleft()
        other = worlds.moves_of(pair[1])
        for move, here in worlds.moves_of(pair[0]).items():
            there = other.get(move)
            if there is None:
                continue
            if _is_seen_by(here, x) and _work(here) != _work(there):
                known[-1, -1] = pair, (here.choice,), True
                return known, (here, there)
            after: list[tuple[Pair, tuple[int, ...], bool]] = [((here.after, there.after), (here.choice,), True)]
            if _is_use_by_other(here, x):
                used, choices = _whole_use(worlds, here)
                after.append(((used, pair[1]), choices, False))
            for following, choices, in_both in after:
                if following not in known:
                    known[following] = pair, choices, in_both
                    waiting.append(following)
    return known, None


def _is_use_by_other(move: Move, x: int) -> bool:
    return (move.kind == USER_FP and move.thread != x) or (move.kind == GUEST_FP and move.vcpu != x)


def _is_seen_by(move: Move, x: int) -> bool:
    return (move.kind in OF_TASK and move.thread == x) or (move.kind in OF_VCPU and move.vcpu == x)


def _shows_anything(worlds: Worlds) -> bool:
    """Tell whether one context has used FP, and another could have looked at a clock; nothing must go wrong."""
    every = list(worlds.every_move())
    users = {move.thread for move in every if move.kind == USER_FP}
    users |= {move.vcpu for move in every if move.kind == GUEST_FP}
    seen = {move.thread for move in every if move.kind in OF_TASK}
    seen |= {move.vcpu for move in every if move.kind in OF_VCPU}
    return not worlds.wrong and any(user != x for user in users for x in seen)


def _whole_use(worlds: Worlds, use: Move) -> tuple[int, tuple[int, ...]]:
    """Return the world after a use that may trap: back in user mode, having used; and the moves to there."""

    def following(number: int, kind: int) -> Move | None:
        moves = worlds.moves_of(number).values()
        return next((move for move in moves if move.kind == kind and move.thread == use.thread), None)

    after, choices = use.after, [use.choice]
    for _ in range(MOST_TRAPS):
        back = following(after, RET)
        again = back and following(back.after, USER_FP)
        if not back or not again:
            break
        after = again.after
        choices += [back.choice, again.choice]
    return after, tuple(choices)


def _steps_to(known: Known, pair: Pair) -> list[Led]:
    """Return the steps that lead to a pair, from the first."""
    steps = []
    at = known[pair]
    while at is not None:
        steps.append(at)
        at = known[at[0]]
    return steps[::-1]


def _path(worlds: Worlds, scope: Scope, x: int, steps: list[Led], told: tuple[Move, Move]) -> Path:
    """Return the path to a difference, told as of the world in which all uses happen."""
    walker = Walker(worlds.walker.rows, scope)
    choices = [choice for _, of_step, _ in steps for choice in of_step]
    for choice in choices:
        move = walker.enabled()[choice]
        walker.go(move, walker.attempt(move)[0])
    both = [in_both for _, of_step, in_both in steps for _ in of_step]
    alone = [str(n) for n, in_both in enumerate(both, 1) if not in_both]
    name, event = names_of(scope)[x], KIND_NAMES[kind_of(walker.moves[-1])]
    which = f"step{'s' if len(alone) > 1 else ''} {', '.join(alone)}"
    work, without = (_said(_work(move)) for move in told)
    wrong = f"{name} can tell whether {which} happened: its last {event} takes {work}, and {without} without"
    return replace(tell(walker, choices, 0, 0), wrong=wrong)


def _work(move: Move) -> Work:
    done = ((name, sum(move.done[i] for i in numbers)) for name, numbers in WORK.items())
    return (*((name, n) for name, n in done if n), *([("trap", 1)] if move.trapped else []))


def _said(work: Work) -> str:
    return ", ".join(f"{n} {kinds_of_work(name) if n > 1 else name}" for name, n in work) or "no work"
