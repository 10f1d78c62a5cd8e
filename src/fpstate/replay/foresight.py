"""What foresight is worth: the least that a policy is charged which treats all entries of a context alike.

A use is known by a trap only, or not at all, by loading in advance. So whoever does not know the future has a choice at
each entry of a context whose registers are not live: to arm a trap, charged if a use comes, or to load, charged in vain
if none comes. If he chooses the same for all entries of a context, he is charged at least what the bound counts, and
for each context the less of two things: a trap for each load that the bound counts, or the loads in vain.

Loads in vain are counted as if that context alone were loaded in advance: what is loaded stays until another context
uses the registers, or the kernel does. Loads of others in advance only add to that. Saves for want of knowing who has
written are not counted. A policy that learns chooses anew at each entry, and may be charged less.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare
from fpstate.replay.bound import (
    CPU_DOWN,
    EXEC,
    FORK,
    GUEST_FP,
    GUEST_MAYBE,
    NEON,
    PM_ENTER,
    PTRACE_WRITE,
    SIGRETURN,
    SOFTIRQ,
    USER_FP,
    USER_MAYBE,
    VCPU_RESET,
    VCPU_SETREG,
)
from fpstate.structs import Struct
from fpstate.traces.trace import Kind, Trace
from fpstate.world.events import Event
from fpstate.world.state import Ints

RET_TO_USER: Final = int(Event.RET_TO_USER)
GUEST_ENTER: Final = int(Event.GUEST_ENTER)
TRAPPED: Final = 0  # columns of `Entries.loads`: each use that finds its context not live traps
AHEAD: Final = 1  # each entry that does loads


@dataclass(frozen=True, eq=False)
class Entries(Struct):
    """What is known at one place in a trace, if one context is loaded at its uses, and if it is in advance."""

    event: NDArray[np.uint8]
    cpu: NDArray[np.uint16]
    subject: NDArray[np.int32]
    object: NDArray[np.int32]
    maybe: int
    turns: Ints  # [CPU] how often somebody has used its registers
    live: Ints  # [context, CPU, TRAPPED or AHEAD] the turn up to which its value is there, -1 if it is not
    fresh: Ints  # [context] in its initial state, which needs no load
    loads: Ints  # [context, TRAPPED or AHEAD] so far


@bare
def count(k: Entries) -> None:
    """Count the loads of each context either way into `k.loads`."""
    for i in range(len(k.event)):
        e, c = int(k.event[i]), int(k.cpu[i])
        guest = e == GUEST_FP or e == GUEST_MAYBE or e == GUEST_ENTER
        of_object = guest or e == VCPU_RESET or e == FORK or e == PTRACE_WRITE or e == VCPU_SETREG
        x = int(k.object[i] if of_object else k.subject[i])
        use = e == USER_FP or e == GUEST_FP or (k.maybe and (e == USER_MAYBE or e == GUEST_MAYBE))
        if use or e == RET_TO_USER or e == GUEST_ENTER:
            for way in range(TRAPPED if use else AHEAD, AHEAD + 1):
                if not k.fresh[x] and k.live[x, c, way] != k.turns[c]:
                    k.loads[x, way] += 1
                    k.live[x, c, way] = k.turns[c]
        if use:
            k.turns[c] += 1
            k.live[x] = -1
            k.live[x, c] = k.turns[c]
            k.fresh[x] = 0
        elif e == NEON or e == SOFTIRQ or e == CPU_DOWN or e == PM_ENTER:
            k.turns[c] += 1
        elif x >= 0 and (e == EXEC or e == VCPU_RESET or e == FORK):
            k.live[x] = -1
            k.fresh[x] = 1
        elif e == SIGRETURN or e == PTRACE_WRITE or e == VCPU_SETREG:
            k.live[x] = -1
            k.fresh[x] = 0


def loads_either_way(trace: Trace, *, maybe: bool) -> Ints:
    """Return the loads `[context, TRAPPED or AHEAD]`; the sum of the first column is that of the bound."""
    n = len(trace.contexts) + 1
    cpus = max(trace.header.cpus, int(trace.cpu.max(initial=0)) + 1)
    entries = Entries(
        trace.event,
        trace.cpu,
        trace.subject,
        trace.object,
        maybe,
        turns=np.zeros(cpus, np.int64),
        live=np.full((n, cpus, 2), -1, np.int64),
        fresh=np.ones(n, np.int64),
        loads=np.zeros((n, 2), np.int64),
    )
    count(entries)
    return entries.loads


class Either(NamedTuple):
    """How often a context is loaded if each use that finds it not live traps, and if it is loaded in advance."""

    trapped: int
    ahead: int
    vcpu: bool


def either_way(trace: Trace, *, maybe: bool) -> Iterator[Either]:
    """Yield it for each context that is loaded at all."""
    loads = loads_either_way(trace, maybe=maybe)
    for x in np.flatnonzero(loads.max(axis=1)).tolist():
        yield Either(int(loads[x, TRAPPED]), int(loads[x, AHEAD]), bool(trace.contexts.kind[x] == Kind.VCPU))
