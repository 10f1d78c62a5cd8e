"""A path told step by step: what happened, what the policy did about it, and where that left every CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fpstate.paths.blame import blame
from fpstate.paths.order import (
    GETREG,
    GUEST_CONTROL,
    GUEST_FP,
    GUEST_SVCR,
    GUEST_SVE,
    PTRACE_READ,
    USER_FP,
    coin_of,
    cpu_of,
    kind_of,
)
from fpstate.paths.walk import Walk, participants, second_of
from fpstate.rows.session import op_text
from fpstate.world.state import (
    BIRTH,
    CURRENT,
    IS_VCPU,
    LATEST,
    OFF,
    POINTER,
    REGISTERS,
    SOFTIRQS,
    WORD,
    ZEROS,
    World,
    context_of,
    owner_of,
)
from fpstate.world.table import ELSEWHERE, ITS_STASH, R_OPS, SECOND_KERNEL, SECOND_ONE, TASK, TASK_KERNEL
from fpstate.world.verdicts import IN_WORDS, WRONG_VALUE

OF_SECOND = (GUEST_FP, GUEST_SVE, GUEST_SVCR, PTRACE_READ, GETREG, GUEST_CONTROL)
"""Moves in which the values of the second participant are read."""


@dataclass(frozen=True)
class Step:
    """One event on a path."""

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
    decided: list[str]  # file and line, or function of a kernel, of each decision of the policy


@dataclass(frozen=True)
class Path:
    """A path, its code, and what went wrong at its end."""

    steps: list[Step]
    code: str
    broken: int  # properties, as bits
    wrong: str  # a sentence, empty when nothing went wrong
    blame: str  # file and line of the decision that made it go wrong, or ""


def table(steps: Sequence[Step], cpus: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of a path as text: each event, what the policy did, and where that left these CPUs."""
    rows = []
    for s in steps:
        who = f"{s.who}->{s.other}" if s.other else s.who
        event = f"{s.event} {who}" + (f" (CPU{s.cpu})" if len(cpus) > 1 else "")
        fields = "; ".join([*(f"CPU{c}: {text}" for c, text in enumerate(s.cpus) if text), *s.changed])
        registers = [s.registers[c] for c in cpus]
        rows.append([str(s.number), event, ", ".join(s.operations) or "-", *registers, fields])
    return ["", "event", "the policy does", *(f"CPU{c} registers" for c in cpus), "fields after it"], rows


def tell(walk: Walk, choices: list[int], broken: int, verdict: int) -> Path:
    """Tell a whole walk. `choices`: which of the enabled moves each step was; `broken`, `verdict`: of the last step."""
    steps = [step(walk, i, choice) for i, choice in enumerate(choices)]
    code = "/".join(map(str, choices))
    if not broken:
        return Path(steps, code, 0, "", "")
    victim = victim_of(walk)
    wrong = f"{walk.names[victim]} {IN_WORDS.get(verdict, 'is left in a state that must not be')}"
    if "upper" in walk.rows.policy.features:  # the same class of the world
        wrong = wrong.replace("FPMR", "upper halves")
    if verdict == WRONG_VALUE:
        wrong += f": the registers hold {registers(walk, walk.worlds[-2], int(cpu_of(walk.moves[-1])))}"
    return Path(steps, code, broken, wrong, blame(walk, victim, verdict))


def step(walk: Walk, i: int, choice: int) -> Step:
    """Tell step `i` of a walk."""
    before, after, used = walk.worlds[i], walk.worlds[i + 1], walk.used[i]
    event, cpu, who, other = participants(walk, before, walk.moves[i])
    down = [bool(off) for off in after.cpu[:, OFF]]
    a_use = kind_of(walk.moves[i]) in (USER_FP, GUEST_FP) and not used
    seen = before if a_use else after  # a use is shown with what it reads, not with the new value it writes
    return Step(
        i + 1,
        choice,
        event,
        cpu,
        who,
        other,
        [op for r in used for op in operations(walk, r, who, other)],
        ["down" if off else registers(walk, seen, c) for c, off in enumerate(down)],
        ["" if off else " ".join(fields(walk, after, "Cpu", c)) for c, off in enumerate(down)],
        tossed(walk, walk.moves[i]) + changes(walk, before, after),
        [walk.rows.where[r] for r in used],
    )


def registers(walk: Walk, world: World, c: int) -> str:
    """Say whose value the V registers of CPU `c` hold."""
    label = int(world.cpu[c, REGISTERS])
    owner = owner_of(label)
    if owner <= SOFTIRQS:
        return "softirq's" if owner else "zeros" if label == ZEROS else "nobody's"
    x = context_of(owner)
    if owner & 1:
        return f"kernel({walk.names[x]})"
    age = "" if label == world.context[x, LATEST] else " (old)"
    age = " (predecessor's)" if label < world.context[x, BIRTH] else age
    return f"{walk.names[x]}{age}"


def operations(walk: Walk, r: int, who: str, other: str) -> list[str]:
    """Say what operations row `r` asks for."""
    row = walk.rows.table.rows[r]
    pointers = [f.name for f in walk.rows.fields.lists["Cpu"] if f.pointer]
    names = {TASK: who, SECOND_ONE: other, ITS_STASH: "host copy", TASK_KERNEL: f"kernel({who})"}
    names |= {SECOND_KERNEL: f"kernel({other})"}
    names |= {ELSEWHERE + i: f"whom {name} names" for i, name in enumerate(pointers)}
    texts = [op_text(int(op), names) for op in row[R_OPS + 1 : R_OPS + 1 + row[R_OPS]]]
    return [t.replace(" fpmr ", " upper ") for t in texts] if "upper" in walk.rows.policy.features else texts


def fields(walk: Walk, world: World, kind: str, x: int) -> list[str]:
    """Return `name=value` for each policy field of a CPU, task or vCPU; flags that are not set are left out."""
    facts = world.cpu[x] if kind == "Cpu" else world.context[x]
    shown = []
    for f in walk.rows.fields.lists[kind]:
        if f.pointer:
            value = int(facts[POINTER + f.shift])
            shown.append(f"{f.name}={_named(walk, value) if kind == 'Cpu' else _cpu_named(value)}")
            continue
        v = f.values[int(facts[WORD]) >> f.shift & (1 << f.bits) - 1]
        if v is not False:
            shown.append(f.name if v is True else f"{f.name}={getattr(v, 'name', v)}")
    return shown


def _named(walk: Walk, owner: int) -> str:
    if owner == 0:
        return "-"
    name = walk.names[context_of(owner)]
    return f"kernel({name})" if owner & 1 else name


def _cpu_named(pointer: int) -> str:
    return f"CPU{pointer - 1}" if pointer else "-"


def tossed(walk: Walk, move: int) -> list[str]:
    """Return how the coin fell at a move, as `coin=value`; nothing if on its first value, or there is none."""
    coin, code = walk.rows.fields.coin, int(coin_of(move))
    if not coin or not code:
        return []
    fell = [coin.values[place] for place in (code % len(coin.values), code // len(coin.values))]
    first, second = (str(getattr(value, "name", value)) for value in fell)
    return [f"coin={first}" + (f", then {second}" if code >= len(coin.values) else "")]


def changes(walk: Walk, before: World, after: World) -> list[str]:
    """Return the fields of tasks and vCPUs that differ between two worlds, as they are in the second."""
    told = []
    for x in range(walk.cpus, len(walk.names)):
        kind = "Vcpu" if after.context[x, IS_VCPU] else "Task"
        old, new = fields(walk, before, kind, x), fields(walk, after, kind, x)
        if old != new:
            told.append(f"{walk.names[x]}: {' '.join(new) or '-'}")
    return told


def victim_of(walk: Walk) -> int:
    """Return the context that the last move did wrong to."""
    before, move = walk.worlds[-2], walk.moves[-1]
    return second_of(before, move) if kind_of(move) in OF_SECOND else int(before.cpu[cpu_of(move), CURRENT])
