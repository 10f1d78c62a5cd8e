"""The clairvoyant bound against all there is: every way to save and load, tried on traces of a few events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fpstate.replay.bound import bound
from fpstate.traces.trace import Trace
from fpstate.world.events import Event as E
from tests.tiny import LOAD, VCPU, VMM, trace

NOBODY = -1
CPUS = (0, 1)
OWNERS = (VMM, LOAD, VCPU)
Label = tuple[int, int]  # whose value, and which version; version 0 is zeros
State = tuple[tuple[Label, ...], tuple[Label, ...], tuple[int, ...]]  # registers of CPUs, images, latest versions
Happening = tuple[E, int, int]  # what, on which CPU, to whom

STRANGE: Label = (NOBODY, 0)
DESTROYS = (E.KERNEL_NEON_BEGIN, E.SOFTIRQ_NEON_BEGIN, E.CPU_DOWN, E.CPU_PM_ENTER)
NEW_VALUE = (E.PTRACE_WRITE, E.VCPU_SETREG, E.SIGRETURN, E.EXEC, E.VCPU_RESET)


def put(values: tuple[Label, ...], i: int, label: Label) -> tuple[Label, ...]:
    return (*values[:i], label, *values[i + 1 :])


def moved(state: State, cost: tuple[int, int]) -> list[tuple[State, tuple[int, int]]]:
    """Every save and every load that could be made now, with what it then has cost."""
    registers, images, latest = state
    made = []
    for c in CPUS:
        who, _ = registers[c]
        if who != NOBODY:
            i = OWNERS.index(who)
            made.append(((registers, put(images, i, registers[c]), latest), (cost[0] + 1, cost[1])))
        made += [((put(registers, c, image), images, latest), (cost[0], cost[1] + 1)) for image in images]
    return made


def after(state: State, happening: Happening) -> State | None:
    """Return what an event leaves; None if it reads what is not the latest value. Zeros cost nothing."""
    registers, images, latest = state
    event, c, x = happening
    if event in DESTROYS:
        return put(registers, c, STRANGE), images, latest
    i = OWNERS.index(x)
    newest = (x, latest[i])
    newer = (*latest[:i], latest[i] + 1, *latest[i + 1 :])
    if event in (E.USER_FP, E.GUEST_FP):
        fresh = latest[i] == 0
        return (put(registers, c, (x, newer[i])), images, newer) if fresh or registers[c] == newest else None
    if event in (E.EXEC, E.VCPU_RESET):  # zeros again, and all older values are of no more use
        gone = tuple(STRANGE if label[0] == x else label for label in registers)
        return gone, put(images, i, (x, 0)), (*latest[:i], 0, *latest[i + 1 :])
    if event in (E.SIGNAL, E.PTRACE_WRITE, E.VCPU_SETREG) and latest[i] and images[i] != newest:
        return None
    if event == E.SIGNAL:
        return state
    return registers, put(images, i, (x, newer[i])), newer


def fewest(happenings: list[Happening]) -> tuple[int, int]:
    """Return the fewest saves, and the fewest loads, with which every event reads what it must."""
    nothing: State = ((STRANGE,) * len(CPUS), tuple((x, 0) for x in OWNERS), (0,) * len(OWNERS))
    costs = {nothing: {(0, 0)}}
    for happening in happenings:
        reached: dict[State, set[tuple[int, int]]] = {}
        for state, paid in costs.items():
            for cost in paid:
                tried = [(state, cost)]
                tried += [two for one in list(tried) for two in moved(*one)]  # a save, a load, or both in this order
                tried += [two for one in tried[1:] for two in moved(*one)]
                for before, total in tried:
                    then = after(before, happening)
                    if then is not None:
                        reached.setdefault(then, set()).add(total)
        costs = {state: best(paid) for state, paid in reached.items()}
    paid = {cost for each in costs.values() for cost in each}
    return min(saves for saves, _ in paid), min(loads for _, loads in paid)


def best(paid: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Leave out what costs more of one and not less of the other."""
    return {p for p in paid if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in paid)}


def traced(happenings: list[Happening]) -> Trace:
    """Return the same as a trace; what happens to a vCPU, or is done by a debugger, has an object."""
    of_object = (E.GUEST_FP, E.GUEST_ENTER, E.PTRACE_WRITE, E.VCPU_SETREG, E.VCPU_RESET)
    made = trace([(e, VMM, x) if e in of_object else (e, x) for e, _, x in happenings])
    return replace(made, cpu=np.array([c for _, c, _ in happenings], np.uint16))


def of(event: E) -> list[int]:
    """Those to whom an event may happen."""
    if event in (E.GUEST_FP, E.VCPU_SETREG, E.VCPU_RESET):
        return [VCPU]
    return [VMM, LOAD]


EVERY = [
    (event, c, x)
    for event in (E.USER_FP, E.GUEST_FP, E.SIGNAL, *DESTROYS[:2], *NEW_VALUE)
    for c in CPUS
    for x in of(event)
]


@settings(max_examples=60, deadline=None)
@given(happenings=st.lists(st.sampled_from(EVERY), min_size=1, max_size=7))
@example([(E.USER_FP, 0, VMM), (E.SIGRETURN, 0, VMM), (E.USER_FP, 0, VMM)])
@example([(E.USER_FP, 0, VMM), (E.PTRACE_WRITE, 1, VMM), (E.USER_FP, 0, VMM)])
@example([(E.GUEST_FP, 0, VCPU), (E.CPU_DOWN, 0, VMM), (E.GUEST_FP, 0, VCPU)])
@example([(E.GUEST_FP, 1, VCPU), (E.CPU_PM_ENTER, 1, VMM), (E.GUEST_FP, 1, VCPU)])
def test_the_bound_is_the_fewest_there_can_be(happenings: list[Happening]) -> None:
    """Neither more, which would not be a bound, nor less, which would make every policy look worse."""
    assert bound(traced(happenings), maybe=False) == fewest(happenings)
