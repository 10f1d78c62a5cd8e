"""The clairvoyant bound: the fewest saves and loads any correct policy could do on a trace.

Why it is a bound. A use needs the context's latest value in that CPU's registers, and makes a new latest value there.

Loads. Take two uses of a context x in a row, the second on CPU c. If after the first the registers of c were written by
another context or by the kernel, were lost, or the first was on another CPU, or x's value was replaced from outside,
then the registers of c do not hold x's latest value unless something puts it there between the two uses: a load. Each
pair of uses is counted once, and the spans between them do not overlap, so the loads are different ones.
The first use of a context after it came into being, got a new program or was reset is not counted: zeros need no load.

Saves. If such a load must bring back a value that x wrote itself, that value was saved after x wrote it. Each counted
save is of another version, so the saves are different ones. Building a signal frame, and editing registers from
outside, needs the latest value in memory as well.

Nothing else is counted, not even traps: the bound knows the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare
from fpstate.structs import Struct
from fpstate.traces.trace import Trace
from fpstate.world.events import Event

USER_FP: Final = int(Event.USER_FP)
GUEST_FP: Final = int(Event.GUEST_FP)
USER_MAYBE: Final = int(Event.USER_FP_MAYBE)
GUEST_MAYBE: Final = int(Event.GUEST_FP_MAYBE)
SIGNAL: Final = int(Event.SIGNAL)
SIGRETURN: Final = int(Event.SIGRETURN)
EXEC: Final = int(Event.EXEC)
FORK: Final = int(Event.FORK)
PTRACE_WRITE: Final = int(Event.PTRACE_WRITE)
VCPU_SETREG: Final = int(Event.VCPU_SETREG)
VCPU_RESET: Final = int(Event.VCPU_RESET)
NEON: Final = int(Event.KERNEL_NEON_BEGIN)
SOFTIRQ: Final = int(Event.SOFTIRQ_NEON_BEGIN)
CPU_DOWN: Final = int(Event.CPU_DOWN)
PM_ENTER: Final = int(Event.CPU_PM_ENTER)

FRESH: Final = 1  # in its initial state: needs no load
DIRTY: Final = 2  # the latest value is only in registers


@dataclass(frozen=True, eq=False)
class Known(Struct):
    """A trace, and what is known at one place in it of each CPU and context."""

    event: NDArray[np.uint8]
    cpu: NDArray[np.uint16]
    subject: NDArray[np.int32]
    object: NDArray[np.int32]
    maybe: int  # 1: uses that the trace does not show have happened
    holder: NDArray[np.int32]  # [CPU] the context that last used its registers, -1 none
    home: NDArray[np.int32]  # [context] the CPU of its last use, -1 none
    state: NDArray[np.int32]  # [context] FRESH, DIRTY
    out: NDArray[np.int64]  # the forced saves so far, and loads


@bare
def count(k: Known) -> None:
    """Count forced saves and loads into `k.out`."""
    for i in range(len(k.event)):
        e = int(k.event[i])
        c = int(k.cpu[i])
        if e == USER_FP or e == GUEST_FP or (k.maybe and (e == USER_MAYBE or e == GUEST_MAYBE)):
            x = k.subject[i] if e == USER_FP or e == USER_MAYBE else k.object[i]
            if k.holder[c] != x or k.home[x] != c:
                if not k.state[x] & FRESH:
                    k.out[1] += 1
                    if k.state[x] & DIRTY:
                        k.out[0] += 1
                k.holder[c] = x
                k.home[x] = c
            k.state[x] = DIRTY
        elif e == NEON or e == SOFTIRQ or e == CPU_DOWN or e == PM_ENTER:
            k.holder[c] = -1
        elif e == EXEC:
            k.state[k.subject[i]] = FRESH
            k.home[k.subject[i]] = -1
        elif e == VCPU_RESET or e == FORK:
            if k.object[i] >= 0:
                k.state[k.object[i]] = FRESH
                k.home[k.object[i]] = -1
        elif e == SIGNAL or e == PTRACE_WRITE or e == VCPU_SETREG:
            x = k.subject[i] if e == SIGNAL else k.object[i]
            if k.state[x] & DIRTY:
                k.out[0] += 1
                k.state[x] = 0
            if e != SIGNAL:
                k.state[x] = 0
                k.home[x] = -1
        elif e == SIGRETURN:
            k.state[k.subject[i]] = 0
            k.home[k.subject[i]] = -1


def bound(trace: Trace, *, maybe: bool) -> tuple[int, int]:
    """Return the fewest (saves, loads) on this trace; `maybe` as in `replay`."""
    n = len(trace.contexts)
    known = Known(
        trace.event,
        trace.cpu,
        trace.subject,
        trace.object,
        maybe,
        holder=np.full(max(trace.header.cpus, int(trace.cpu.max(initial=0)) + 1), -1, np.int32),
        home=np.full(n + 1, -1, np.int32),
        state=np.full(n + 1, FRESH, np.int32),
        out=np.zeros(2, np.int64),
    )
    count(known)
    return int(known.out[0]), int(known.out[1])
