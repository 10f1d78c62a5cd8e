"""A policy as a decision table: for each event, every combination of what its handler reads, and what it then does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fpstate.errors import FpstateError
from fpstate.policies.base import Policy
from fpstate.rows.fields import Field
from fpstate.rows.learn import Pick, Rows, in_all_ways
from fpstate.rows.session import ROLES, Decision, Undecided, op_text
from fpstate.world.events import PARTICIPANTS, Event
from fpstate.world.table import (
    ELSEWHERE,
    ITS_STASH,
    NOBODY,
    POINTER_COPY,
    SECOND_KERNEL,
    SECOND_ONE,
    TASK,
    TASK_KERNEL,
)

POINTER_NAMES = {
    "context": {0: "none", 1: "task", 2: "{second}", 3: "task.kernel", 4: "{second}.kernel", 5: "another"},
    "cpu": {0: "none", 1: "this", 2: "another"},
}


@dataclass(frozen=True)
class Rule:
    """One line of the table: when all of `when` hold at `event`, `then` is done, in order."""

    event: str
    when: tuple[str, ...]
    then: tuple[str, ...]


def decision_table(policy: type[Policy]) -> list[Rule]:
    """Return all rules of a policy, in a fixed order. Only fields that the handler reads make conditions.

    Values of a counter that are next to each other and lead to the same make one rule.
    """
    rows = Rows(policy)
    handled = [event for event in PARTICIPANTS if rows.handler(event) is not None]
    kernel = any(_names_kernel_state(rows, d) for event in handled for _, d in _paths(rows, event, kernel=True))
    rules = []
    for event in handled:
        cases = [Case(event, path, decision) for path, decision in _paths(rows, event, kernel=kernel)]
        counters = {(role, f): None for case in cases for role, f, _ in case.path if f.counts}
        for role, f in counters:
            cases = _together(cases, role, f)
        rules += [_rule(rows, case) for case in cases]
    return rules


def in_rows(rules: Iterable[Rule]) -> list[list[str]]:
    """Return rules as rows of text: event, when, then; an event is named at its first rule only."""
    rows, last = [], ""
    for r in rules:
        rows.append(["" if r.event == last else r.event, ", ".join(r.when) or "always", ", ".join(r.then) or "-"])
        last = r.event
    return rows


def rule_of_row(rows: Rows, r: int) -> Rule:
    """Return a row that was learned as a line of the table; only what its handler has read makes conditions."""
    e, key = rows.names[r]
    event = rows.event_of(e)
    return _rule(rows, Case(event, rows.read_of(e, key), rows.decide(e, key)[0]))


Path = list[tuple[str, Field, int]]  # role, field and code of each first read, in the order of reading


@dataclass(frozen=True)
class Case:
    """A path through a handler and its decision; with counters in ranges, the code on the path is the lowest one."""

    event: Event
    path: Path
    decision: Decision | None
    highest: tuple[tuple[str, str, int], ...] = ()  # role, field and highest code of each counter in a range
    steps: tuple[tuple[str, str, int], ...] = ()  # of these, how much is added to each that is written


def _together(cases: list[Case], role: str, counter: Field) -> list[Case]:
    """Make one case of those that differ only in a counter whose values follow each other, first of equal steps."""
    for steps in (True, False):
        last: dict[object, tuple[int, int]] = {}  # the highest code so far, and where the case is, by all else
        made: list[Case] = []
        for case in cases:
            codes = [code for r, f, code in case.path if (r, f) == (role, counter)]
            if not codes or (role, counter.name) in {h[:2] for h in case.highest}:
                made.append(case)
                continue
            key, step = _all_else(case, role, counter, steps), _step(case, role, counter)
            highest, at = last.get(key, (NOBODY - 2, 0))
            if highest + 1 == codes[0]:
                others = tuple(h for h in made[at].highest if h[:2] != (role, counter.name))
                noted = ((role, counter.name, step),) if steps and step is not None else ()
                kept = tuple(s for s in made[at].steps if s[:2] != (role, counter.name))
                made[at] = replace(made[at], highest=(*others, (role, counter.name, codes[0])), steps=(*kept, *noted))
            else:
                at = len(made)
                made.append(case)
            last[key] = codes[0], at
        cases = made
    return cases


def _step(case: Case, role: str, counter: Field) -> int | None:
    """Return what a case adds to a counter that it reads, None if it does not write it."""
    if case.decision is None or (role, counter.name) not in case.decision.writes:
        return None
    read = next(code for r, f, code in case.path if (r, f) == (role, counter))
    return case.decision.writes[role, counter.name] - read


def _all_else(case: Case, role: str, counter: Field, steps: bool) -> object:
    """Return all that makes two cases differ beside the code of a counter, by steps or by what it becomes."""
    path = tuple((r, f.name, code) for r, f, code in case.path if (r, f) != (role, counter))
    if case.decision is None:
        return path, case.highest
    writes = dict(case.decision.writes)
    written = writes.pop((role, counter.name), None)
    stepped = {s[:2] for s in case.steps}
    writes = {at: code for at, code in writes.items() if at not in stepped}
    becomes = _step(case, role, counter) if steps else written
    return path, case.highest, case.steps, tuple(case.decision.ops), tuple(sorted(writes.items())), becomes


def all_decisions(rows: Rows) -> Iterator[Decision]:
    """Yield every decision a policy can make, on any view, possible or not."""
    for event in PARTICIPANTS:
        if rows.handler(event) is not None:
            yield from (decision for _, decision in _paths(rows, event, kernel=True) if decision)


def _names_kernel_state(rows: Rows, decision: Decision | None) -> bool:
    """Tell whether a decision makes a pointer name some thread's kernel-mode state."""
    if decision is None:
        return False
    pointers = {f.name for f in rows.fields.lists["Cpu"] if f.pointer}
    kernel = (TASK_KERNEL, SECOND_KERNEL)
    return any(role == "cpu" and name in pointers and c in kernel for (role, name), c in decision.writes.items())


def _paths(rows: Rows, event: Event, *, kernel: bool) -> Iterator[tuple[Path, Decision | None]]:
    """Run the handler once for each path through it: every first read of a field tries all its values in turn.

    A decision is None where the view does not decide.
    """

    def ask(pick: Pick) -> tuple[Path, Decision | None]:
        path: Path = []

        def choose(role: str, f: Field) -> int:
            path.append((role, f, pick(_codes(event, f, kernel))))
            return path[-1][2]

        try:
            return path, rows.run(event, choose)[0]
        except FpstateError as error:
            if not isinstance(error.__cause__, Undecided):
                raise
            return path, None

    return in_all_ways(ask)


def _codes(event: Event, f: Field, kernel: bool) -> list[int]:
    """Return the codes a field can have at this event: a pointer names only who is in view, or somebody else."""
    if f.pointer == "cpu":
        return [0, 1, 2]
    if not f.pointer:
        return list(range(len(f.values)))
    codes = [NOBODY, *([TASK] if PARTICIPANTS[event] else [])]
    codes += [SECOND_ONE] if len(PARTICIPANTS[event]) == 2 else []
    codes += [TASK_KERNEL] if kernel and PARTICIPANTS[event] else []
    codes += [SECOND_KERNEL] if kernel and "next" in PARTICIPANTS[event] else []
    return [*codes, ELSEWHERE]


def _value(event: Event, f: Field, code: int) -> str:
    if f.pointer:
        return POINTER_NAMES[f.pointer][code].format(second=PARTICIPANTS[event][-1] if PARTICIPANTS[event] else "")
    return str(getattr(f.values[code], "name", f.values[code]))


def _word(event: Event, role: str) -> str:
    return dict(zip(ROLES, ("cpu", *PARTICIPANTS[event]), strict=False))[role]


def _rule(rows: Rows, case: Case) -> Rule:
    event, highest = case.event, {(role, name): code for role, name, code in case.highest}
    when = []
    for role, f, code in case.path:
        upper = f" to {_value(event, f, highest[role, f.name])}" if (role, f.name) in highest else ""
        when.append(f"{_word(event, role)}.{f.name} = {_value(event, f, code)}{upper}")
    then = tuple(_actions(rows, case, case.decision)) if case.decision else ("not decided by what is in view",)
    return Rule(event.name.lower(), tuple(when), then)


def _actions(rows: Rows, case: Case, decision: Decision) -> Iterator[str]:
    event, steps = case.event, {(role, name): step for role, name, step in case.steps}
    second = PARTICIPANTS[event][-1] if PARTICIPANTS[event] else ""
    names = {TASK: "task", SECOND_ONE: second, ITS_STASH: "host copy"}
    names |= {TASK_KERNEL: "task.kernel", SECOND_KERNEL: f"{second}.kernel"}
    for f in rows.fields.lists["Cpu"]:
        if f.pointer:
            names[ELSEWHERE + f.shift] = f"whom {f.name} names"
    for op, target, part in decision.ops:
        yield op_text(op | target << 8 | part << 12, names)
    vcpu = "vcpu" in PARTICIPANTS[event]
    for (role, name), code in decision.writes.items():
        f = rows.fields.of(role, vcpu)[name]
        value = _copied(rows, event, code) if f.pointer == "cpu" and code >= POINTER_COPY else _value(event, f, code)
        if (role, name) in steps:
            value = f"{abs(steps[role, name])} {'less' if steps[role, name] < 0 else 'more'}"
        yield f"{_word(event, role)}.{name} := {value}"


def _copied(rows: Rows, event: Event, code: int) -> str:
    """Say which pointer to a CPU, of those in view, a code copies."""
    role, slot = ("task", "second")[(code - POINTER_COPY) // 2], (code - POINTER_COPY) % 2
    fields = rows.fields.of(role, "vcpu" in PARTICIPANTS[event]).values()
    return f"{_word(event, role)}.{next(f.name for f in fields if f.pointer and f.shift == slot)}"
