"""A path through the orders of events: rebuilt from a search, or followed by its code, and told step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fpstate.check.packing import Plan
from fpstate.check.scope import KIND_NAMES, Scope, names_of
from fpstate.check.search import SHARDS, Found, list_moves, try_move
from fpstate.errors import FpstateError
from fpstate.rows import Rows
from fpstate.session import op_text
from fpstate.world import order as O
from fpstate.world import step as S
from fpstate.world.state import (
    C_CURRENT,
    C_OFF,
    C_PTR,
    C_REGS,
    C_SIZE,
    C_STASH,
    C_WORD,
    X_BIRTH,
    X_IMAGE,
    X_PTR,
    X_RUNS,
    X_SECOND,
    X_SIZE,
    X_VER,
    X_WORD,
    World,
    context_base,
    kernel_owner,
)


@dataclass(frozen=True)
class Step:
    """One event on a path: what happened, what the policy did about it, and where that left every CPU."""

    number: int
    choice: int  # which of the enabled moves this was
    event: str
    cpu: int
    who: str
    other: str  # the second participant, or ""
    operations: list[str]
    registers: list[str]  # of each CPU: whose value
    cpus: list[str]  # of each CPU: its policy fields
    changed: list[str]  # fields of tasks and vCPUs that this step changed


@dataclass(frozen=True)
class Path:
    """A path, its code, and what went wrong at its end."""

    steps: list[Step]
    code: str
    broken: int  # properties, as bits
    wrong: str  # a sentence, empty when nothing went wrong
    blame: str  # file and line of the decision that made it go wrong, or ""


class Walker:
    """A world that is led along a path one move at a time."""

    def __init__(self, rows: Rows, plan: Plan, z: O.Scope, world: World, scope: Scope) -> None:
        self.rows, self.plan, self.z, self.scope = rows, plan, z, scope
        self.world = world.copy()
        self.worlds = [self.world]  # before the first step, and after each
        self.used: list[list[int]] = []  # rows of each step
        self.moves: list[int] = []
        self.counts = np.zeros(S.N_COUNTS, np.int64)
        self.asked = np.zeros(O.ASKED_SIZE, np.int64)
        self.names = names_of(scope)
        self.n = O.contexts(z)
        self.base = context_base(scope.cpus)

    def enabled(self) -> list[int]:
        """Return the moves that may be made now."""
        moves = np.zeros(256, np.int32)
        return moves[: list_moves(self.world, self.z, moves)].tolist()  # type: ignore[no-any-return]

    def attempt(self, move: int) -> tuple[World, int, int, tuple[int, ...]]:
        """Return the world after `move`, the verdict, the properties broken, and the packed state."""
        rows, plan = self.rows, self.plan
        while True:
            after = self.world.copy()
            best, other = (np.zeros(plan.words, np.uint64) for _ in range(2))
            marks = np.zeros(self.n, np.int64)
            verdict, broken = try_move(
                after, move, rows.handlers, rows.index, rows.table, rows.event_of_point, self.z, plan.fields,
                plan.places, plan.owners, plan.cpus, plan.names, marks, self.counts, self.asked, best, other,
            )  # fmt: skip
            if verdict != S.NO_ROW:
                return after, verdict, broken, tuple(best.tolist())
            rows.learn(int(self.asked[0]), int(self.asked[1]))

    def go(self, move: int, after: World) -> None:
        """Make a move that was attempted last."""
        first = O.ASKED_ROWS
        self.used.append([int(r) for r in self.asked[first : first + int(self.asked[2])]])
        self.moves.append(move)
        self.world = after
        self.worlds.append(after)


def rebuild(found: Found, rows: Rows, plan: Plan, z: O.Scope, world: World, scope: Scope) -> Path:
    """Return the path to the violation a search has found, in the names of the first world."""
    assert found.violation is not None
    state, verdict, broken = found.violation
    states = []
    while state >= 0:
        shard = found.shards[state % SHARDS]
        states.append(shard.words_of(state // SHARDS))
        state = int(shard.parents[state // SHARDS])
    walker = Walker(rows, plan, z, world, scope)
    choices = [_towards(walker, goal) for goal in reversed(states[:-1])]
    for choice, move in enumerate(walker.enabled()):
        after, v, b, _ = walker.attempt(move)
        if v == verdict and b & broken:
            walker.go(move, after)
            return _told(walker, [*choices, choice], broken, v)
    raise AssertionError("the violation cannot be reached again; this is a bug of ours")


def _towards(walker: Walker, goal: tuple[int, ...]) -> int:
    for choice, move in enumerate(walker.enabled()):
        after, _, _, packed = walker.attempt(move)
        if packed == goal:
            walker.go(move, after)
            return choice
    raise AssertionError("a path cannot be walked again; this is a bug of ours")


def follow(code: str, rows: Rows, plan: Plan, z: O.Scope, world: World, scope: Scope, wanted: int) -> Path:
    """Walk the path `code` names, until it ends or breaks one of the `wanted` properties."""
    walker = Walker(rows, plan, z, world, scope)
    choices: list[int] = []
    for word in code.split("/") if code else []:
        moves = walker.enabled()
        if not word.isdigit() or int(word) >= len(moves):
            given = f"the path's step {len(choices) + 1} is '{word}'"
            listed = ", ".join(f"{i} {_label(walker, m)}" for i, m in enumerate(moves))
            raise FpstateError(given, expected=f"one of {listed}", hint="was it made with another policy or scope?")
        after, verdict, broken, _ = walker.attempt(moves[int(word)])
        walker.go(moves[int(word)], after)
        choices.append(int(word))
        if broken & wanted:
            return _told(walker, choices, broken & wanted, verdict)
    return _told(walker, choices, 0, S.OK)


def _label(walker: Walker, move: int) -> str:
    kind, cpu, who, other = _participants(walker, walker.world, move)
    return f"{kind} {who}{'->' + other if other else ''} on CPU {cpu}"


def _participants(walker: Walker, before: World, move: int) -> tuple[str, int, str, str]:
    kind, c, second = move >> 12, move >> 8 & 15, move & 255
    t = int(before[c * C_SIZE + C_CURRENT])
    at = walker.base + t * X_SIZE
    names = walker.names
    other = names[second] if second or kind == O.SWITCH else ""
    if kind in (O.LOAD, O.ENTER, O.GUEST_FP, O.EXIT_GUEST, O.PUT):
        other = names[int(before[at + X_RUNS]) - 1]
    if kind == O.RESUME and 0 < int(before[at + X_SECOND]) <= walker.n:
        other = names[int(before[at + X_SECOND]) - 1]
    return KIND_NAMES[kind], c, "" if kind in (O.DOWN, O.UP) else names[t], other


def _told(walker: Walker, choices: list[int], broken: int, verdict: int) -> Path:
    steps = [_step(walker, i, choice) for i, choice in enumerate(choices)]
    code = "/".join(map(str, choices))
    if not broken:
        return Path(steps, code, 0, "", "")
    victim = _victim(walker)
    found = _value(walker, walker.worlds[-2], (walker.moves[-1] >> 8 & 15) * C_SIZE + C_REGS)
    what = S.IN_WORDS.get(verdict, "is left in a state that must not be")
    wrong = f"{walker.names[victim]} {what}"
    wrong += f": the registers hold {found}" if verdict == S.WRONG_VALUE else ""
    return Path(steps, code, broken, wrong, _blame(walker, victim, verdict))


def _value(walker: Walker, world: World, place: int) -> str:
    owner, n = int(world[place]), walker.n
    if owner == 0:
        return "nobody's"
    if owner > n:
        t = owner - kernel_owner(0, n)
        return f"kernel({walker.names[t]})" if t >= 0 else "softirq's"
    at = walker.base + (owner - 1) * X_SIZE
    age = "" if world[place + 1] == world[at + X_VER] else " (old)"
    age = " (predecessor's)" if world[place + 1] < world[at + X_BIRTH] else age
    return f"{walker.names[owner - 1]}{age}"


def _step(walker: Walker, i: int, choice: int) -> Step:
    before, after = walker.worlds[i], walker.worlds[i + 1]
    event, cpu, who, other = _participants(walker, before, walker.moves[i])
    cpus = range(walker.scope.cpus)
    down = [bool(after[c * C_SIZE + C_OFF]) for c in cpus]
    a_use = walker.moves[i] >> 12 in (O.USER_FP, O.GUEST_FP) and not walker.used[i]
    seen = before if a_use else after  # a use is shown with what it reads, not with the new value it writes
    return Step(
        i + 1,
        choice,
        event,
        cpu,
        who,
        other,
        [op for r in walker.used[i] for op in _operations(walker, r, who, other)],
        ["down" if down[c] else _value(walker, seen, c * C_SIZE + C_REGS) for c in cpus],
        ["" if down[c] else " ".join(_fields(walker, after, "Cpu", c)) for c in cpus],
        _changes(walker, before, after),
    )


def _operations(walker: Walker, r: int, who: str, other: str) -> list[str]:
    row = walker.rows.table[r]
    pointers = [f.name for f in walker.rows.fields.lists["Cpu"] if f.pointer]
    names = {S.TASK: who, S.SECOND: other, S.STASH: "host copy", S.TASK_KERNEL: f"kernel({who})"}
    names |= {S.SECOND_KERNEL: f"kernel({other})"}
    names |= {S.ELSEWHERE + i: f"whom {name} names" for i, name in enumerate(pointers)}
    ops = [int(row[S.R_OPS + 1 + i]) for i in range(int(row[S.R_OPS]))]
    return [op_text(op, names) for op in ops]


def _fields(walker: Walker, world: World, kind: str, x: int) -> list[str]:
    """Return `name=value` for each policy field of a CPU, task or vCPU; flags that are not set are left out."""
    at = x * C_SIZE if kind == "Cpu" else walker.base + x * X_SIZE
    word, pointer = (C_WORD, C_PTR) if kind == "Cpu" else (X_WORD, X_PTR)
    shown = []
    for f in walker.rows.fields.lists[kind]:
        if f.pointer:
            value = int(world[at + pointer + f.shift])
            shown.append(f"{f.name}={_named(walker, value) if kind == 'Cpu' else _cpu_named(value)}")
            continue
        v = f.values[int(world[at + word]) >> f.shift & (1 << f.bits) - 1]
        if v is not False:
            shown.append(f.name if v is True else f"{f.name}={getattr(v, 'name', v)}")
    return shown


def _named(walker: Walker, owner: int) -> str:
    if owner == 0:
        return "-"
    return (
        walker.names[owner - 1] if owner <= walker.n else f"kernel({walker.names[owner - kernel_owner(0, walker.n)]})"
    )


def _cpu_named(pointer: int) -> str:
    return f"CPU{pointer - 1}" if pointer else "-"


def _changes(walker: Walker, before: World, after: World) -> list[str]:
    changes = []
    first_vcpu = walker.n - walker.scope.vcpus
    for x in range(walker.scope.cpus, walker.n):
        kind = "Vcpu" if x >= first_vcpu else "Task"
        old, new = _fields(walker, before, kind, x), _fields(walker, after, kind, x)
        if old != new:
            changes.append(f"{walker.names[x]}: {' '.join(new) or '-'}")
    return changes


def _victim(walker: Walker) -> int:
    """Return the context that the last move did wrong to."""
    before, move = walker.worlds[-2], walker.moves[-1]
    c = move >> 8 & 15
    t = int(before[c * C_SIZE + C_CURRENT])
    if move >> 12 == O.GUEST_FP:
        return int(before[walker.base + t * X_SIZE + X_RUNS]) - 1
    return t


def _blame(walker: Walker, victim: int, verdict: int) -> str:
    """Return file and line of the decision that made the last step go wrong.

    If the victim's latest value was destroyed: what overwrote the last copy. If it was left behind in another CPU's
    registers: the switch that left it there. Else the decision that let the victim run without it, or, if the policy
    decided nothing there, the event that took the registers away from it.
    """
    last = len(walker.moves) - 1
    if verdict == S.WRONG_VALUE:
        if not _kept(walker, walker.worlds[last], victim):
            gone = (i for i in reversed(range(last)) if _kept(walker, walker.worlds[i], victim))
            return _where(walker, next(gone, last))
        cpu = walker.moves[last] >> 8 & 15
        entries = (O.RET, O.ENTER, O.GUEST_FP, O.RESUME)
        on_cpu = [i for i in range(last) if walker.moves[i] >> 8 & 15 == cpu]
        entry = next((i for i in reversed(on_cpu) if walker.moves[i] >> 12 in entries and walker.used[i]), None)
        left = _left_behind(walker, victim, cpu)
        taken = next((i for i in reversed(on_cpu) if _takes_away(walker, i, victim, cpu)), None)
        for i in (left, entry, taken):
            if i is not None:
                return _where(walker, i)
    return next((_where(walker, i) for i in reversed(range(last + 1)) if walker.used[i]), "")


def _left_behind(walker: Walker, victim: int, cpu: int) -> int | None:
    """Return the last switch on a CPU other than `cpu` that still holds the victim's only latest value, if one does."""
    world = walker.worlds[-2]
    holders = [c for c in range(walker.scope.cpus) if c != cpu and _holds(walker, world, c * C_SIZE + C_REGS, victim)]
    images = any(_holds(walker, world, walker.base + y * X_SIZE + X_IMAGE, victim) for y in range(walker.n))
    if images or not holders:
        return None
    moves = enumerate(walker.moves[:-1])
    return max((i for i, m in moves if m >> 12 == O.SWITCH and m >> 8 & 15 == holders[0]), default=None)


def _takes_away(walker: Walker, i: int, victim: int, cpu: int) -> bool:
    """Tell whether step `i` replaced the victim's latest value in the registers of `cpu`."""
    place = cpu * C_SIZE + C_REGS
    return _holds(walker, walker.worlds[i], place, victim) and not _holds(walker, walker.worlds[i + 1], place, victim)


def _holds(walker: Walker, world: World, place: int, x: int) -> bool:
    """Tell whether `place` holds the latest value of context `x`."""
    return (int(world[place]), int(world[place + 1])) == (x + 1, int(world[walker.base + x * X_SIZE + X_VER]))


def _where(walker: Walker, i: int) -> str:
    """Return where the policy decided about step `i`, or that it did not."""
    if walker.used[i]:
        return f"step {i + 1}, {walker.rows.where[walker.used[i][-1]]}"
    event = KIND_NAMES[walker.moves[i] >> 12]
    return f"step {i + 1}: {walker.rows.policy.name} has no handler '{event}'"


def _kept(walker: Walker, world: World, x: int) -> bool:
    """Tell whether any place of `world` holds the latest value of context `x`."""
    places = [c * C_SIZE + p for c in range(walker.scope.cpus) for p in (C_REGS, C_STASH)]
    places += [walker.base + y * X_SIZE + X_IMAGE for y in range(walker.n)]
    return any(_holds(walker, world, p, x) for p in places)
