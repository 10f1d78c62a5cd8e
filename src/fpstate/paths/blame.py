"""Which decision on a path made its last step go wrong."""

from __future__ import annotations

from fpstate.paths.order import ENTER, GUEST_FP, RESUME, RET, SWITCH, cpu_of, kind_of
from fpstate.paths.scope import KIND_NAMES
from fpstate.paths.walk import Walk
from fpstate.world.state import IMAGE, LATEST, REGISTERS, STASH, World
from fpstate.world.verdicts import WRONG_VALUE


def blame(walk: Walk, victim: int, verdict: int) -> str:
    """Return file and line of the decision that made the last step go wrong.

    If the victim's latest value was destroyed: what overwrote the last copy. If it was left behind in another CPU's
    registers: the switch that left it there. Else the decision that let the victim run without it, or, if the policy
    decided nothing there, the event that took the registers away from it.
    """
    last = len(walk.moves) - 1
    if verdict == WRONG_VALUE:
        if not kept(walk.worlds[last], victim):
            gone = (i for i in reversed(range(last)) if kept(walk.worlds[i], victim))
            return _where(walk, next(gone, last))
        cpu = cpu_of(walk.moves[last])
        entries = (RET, ENTER, GUEST_FP, RESUME)
        on_cpu = [i for i in range(last) if cpu_of(walk.moves[i]) == cpu]
        entry = next((i for i in reversed(on_cpu) if kind_of(walk.moves[i]) in entries and walk.used[i]), None)
        left = _left_behind(walk, victim, cpu)
        taken = next((i for i in reversed(on_cpu) if _takes_away(walk, i, victim, cpu)), None)
        for i in (left, entry, taken):
            if i is not None:
                return _where(walk, i)
    return next((_where(walk, i) for i in reversed(range(last + 1)) if walk.used[i]), "")


def kept(world: World, x: int) -> bool:
    """Tell whether any place of `world` holds the latest value of context `x`."""
    latest = world.context[x, LATEST]
    return bool(latest in world.cpu[:, [REGISTERS, STASH]] or latest in world.context[:-1, IMAGE])


def _left_behind(walk: Walk, victim: int, cpu: int) -> int | None:
    """Return the last switch on a CPU other than `cpu` that still holds the victim's only latest value, if one does."""
    world = walk.worlds[-2]
    latest = world.context[victim, LATEST]
    holders = [c for c in range(walk.cpus) if c != cpu and world.cpu[c, REGISTERS] == latest]
    if not holders or latest in world.context[:-1, IMAGE]:
        return None
    moves = enumerate(walk.moves[:-1])
    return max((i for i, m in moves if kind_of(m) == SWITCH and cpu_of(m) == holders[0]), default=None)


def _takes_away(walk: Walk, i: int, victim: int, cpu: int) -> bool:
    """Tell whether step `i` replaced the victim's latest value in the registers of `cpu`."""
    before, after = (w.cpu[cpu, REGISTERS] == w.context[victim, LATEST] for w in walk.worlds[i : i + 2])
    return bool(before and not after)


def _where(walk: Walk, i: int) -> str:
    """Return where the policy decided about step `i`, or that it did not."""
    if walk.used[i]:
        return f"step {i + 1}, {walk.rows.where[walk.used[i][-1]]}"
    event = KIND_NAMES[kind_of(walk.moves[i])]
    return f"step {i + 1}: {walk.rows.policy.name} has no handler '{event}'"
