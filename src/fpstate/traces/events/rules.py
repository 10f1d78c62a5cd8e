"""Which event of a trace may follow which: the checker's own order (`paths.order`), as a table.

For each state of a thread the order is asked, in a tiny world, what may happen next and what the thread does then. A
trace says some things otherwise than the order: leaving KVM_RUN is an event of its own (RUN_EXIT, after VCPU_PUT); so
is the VCPU_PUT that a switch makes; a softirq has an end; an event that happened only MAYBE changes nothing; and
whether a use of SVE traps is up to the policy, so the kernel is entered after it in any case.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.paths import order
from fpstate.structs import Struct
from fpstate.world.events import MAYBE, N_EVENTS, Event
from fpstate.world.operations import N_COUNTS
from fpstate.world.state import CURRENT, F_GUEST_SVE, F_SVE, FREE, IN_SYSCALL, MODE, RUNS, World, copy_of, new_world
from fpstate.world.table import H_COLUMNS, NOT_HANDLED, R_COLUMNS, Table, new_report

PUT_SEEN: Final = 15  # a mode beside those of the order: VCPU_PUT was seen, and RUN_EXIT or a switch follows at once
_MODES: Final = (*range(FREE), *range(FREE + 1, order.RUN_OVER))  # RUN_OVER is only for policies that handle RUN_EXIT
USED_SVE: Final = 14  # another: SVE was used in user mode, or trapped, if the policy has armed that trap
SYSCALL_BIT: Final = 16  # a state is a mode, and this bit inside a system call
STATES: Final = 32
AT_START: Final = order.KERNEL | SYSCALL_BIT
"""What a thread does that was never seen: that of a world's start."""

_TASK, _OTHER, _FREE_TASK, _VCPU = 2, 3, 4, 5  # contexts of the tiny world, after the idle threads of two CPUs
_FEATURES = F_SVE | F_GUEST_SVE
_BOUNDS = order.Bounds(
    2,
    3,
    0,
    1,
    events=(1 << 62) - 1,
    vcpu_mutex=True,
    preempt_neon=False,
    task_word=0,
    vcpu_word=0,
    foreign=0,
    tif_sve=0,
    timer=0,
    coin=0,
    falls=1,
)
_FILLERS = (
    Event.INTERRUPT, Event.RET_TO_USER, Event.SYSCALL, Event.KERNEL_NEON_END, Event.GUEST_EXIT, Event.VCPU_PUT,
    Event.RUN_EXIT, Event.VCPU_LOAD, Event.GUEST_ENTER, Event.RUN_ENTER, Event.KERNEL_NEON_BEGIN,
)  # fmt: skip
"""Events that a hole may be filled with; of two ways of the same length the one whose events come first here."""


@dataclass(frozen=True, eq=False)
class Rules(Struct):
    """The order as a table; the first index of `allowed` and `filler` is 1 for idle threads."""

    allowed: NDArray[np.int64]  # [idle, state]: a bit for each event
    after: NDArray[np.int8]  # [state, event]: the state of the thread then
    filler: NDArray[np.int8]  # [idle, state, event]: what must have happened before it, first of all; 0 nothing can


def _world(idle: bool, mode: int, in_syscall: int, features: int) -> World:
    """Return a world whose CPU 0 runs a thread in this state; one task is off its CPU, one does not exist."""
    w = new_world(2, np.arange(_VCPU + 1) == _VCPU, (0, 0, 0), features)
    order.start(w)
    t = 0 if idle else _TASK
    w.cpu[0, CURRENT] = t
    w.context[t, MODE] = mode
    w.context[_FREE_TASK, MODE] = FREE
    if features:
        w.context[t, IN_SYSCALL] = in_syscall
    if mode in (order.RUN_OUT, order.RUN, order.GUEST, order.RUN_NEON, order.RUN_OUT_NEON):
        w.context[t, RUNS] = _VCPU + 1
    return w


def _moves(w: World, preempt_neon: bool) -> dict[int, int]:
    """Return the kinds of moves CPU 0 may make, each with one such move."""
    moves = np.zeros(256, np.int64)
    n = int(order.enabled_on(w, _BOUNDS.but(preempt_neon=preempt_neon), moves, 0, 0))
    return {int(order.kind_of(move)): int(move) for move in moves[:n]}


def _after(w: World, move: int) -> int:
    """Return the state of the thread on CPU 0 after a move, under a policy that does nothing."""
    w = copy_of(w)
    t = int(w.cpu[0, CURRENT])
    nothing = Table(
        np.full((2 * N_EVENTS, H_COLUMNS), NOT_HANDLED, np.int64),
        np.zeros(1, np.int32),
        np.zeros((1, R_COLUMNS), np.int64),
        np.zeros(1, np.int64),
    )
    order.make_move(w, nothing, new_report(N_COUNTS), _BOUNDS, move)
    return int(w.context[t, MODE]) | (SYSCALL_BIT if w.context[t, IN_SYSCALL] else 0)


def _ask(rules: Rules, idle: int, mode: int, in_syscall: int, preempt_neon: bool) -> None:
    """Write down what may happen in one state."""
    w = _world(bool(idle), mode, in_syscall, _FEATURES)
    moves = _moves(w, preempt_neon)
    state = mode | in_syscall * SYSCALL_BIT
    for kind, move in moves.items():
        if kind >= N_EVENTS or kind == order.EXPIRE:
            continue
        rules.allowed[idle, state] |= 1 << kind
        if kind not in (order.DOWN, order.UP, order.PM_ENTER):
            rules.after[state, kind] = _after(w, move)


def _in_words_of_a_trace(rules: Rules, idle: int, in_syscall: int) -> None:
    """Make RUN_EXIT, the put at a switch, uses of SVE and what happened only MAYBE, of what the order says."""
    bit = in_syscall * SYSCALL_BIT
    run, put_seen = order.RUN | bit, PUT_SEEN | bit
    if rules.allowed[idle, run] >> order.PUT & 1:
        rules.allowed[idle, put_seen] = 1 << order.RUN_EXIT | 1 << order.SWITCH
        rules.allowed[idle, run] &= ~(1 << order.SWITCH)
        rules.after[put_seen, order.SWITCH] = rules.after[run, order.SWITCH]
        rules.after[put_seen, order.RUN_EXIT] = rules.after[run, order.PUT]
        rules.after[run, order.PUT] = put_seen
    user, used = order.USER | bit, USED_SVE | bit
    if rules.allowed[idle, user] >> order.USER_SVE & 1:
        rules.allowed[idle, used] = 1 << order.INTERRUPT
        rules.after[used, order.INTERRUPT] = rules.after[user, order.INTERRUPT]
        rules.after[user, order.USER_SVE] = used
    for mode in _MODES:
        for maybe, sure in MAYBE.items():
            if rules.allowed[idle, mode | bit] >> sure & 1:
                rules.allowed[idle, mode | bit] |= 1 << maybe
                rules.after[mode | bit, maybe] = mode | bit


def _fill(rules: Rules, idle: int, state: int) -> None:
    """Find for each event the shortest way from a state to one where it may happen, and keep its first event."""
    first = {state: 0}
    waiting = deque([state])
    while waiting:
        s = waiting.popleft()
        for e in range(1, N_EVENTS):
            if rules.allowed[idle, s] >> e & 1 and not rules.filler[idle, state, e]:
                rules.filler[idle, state, e] = first[s]
        for filler in _FILLERS:
            then = int(rules.after[s, filler])
            if rules.allowed[idle, s] >> filler & 1 and then not in first:
                first[then] = first[s] or filler
                waiting.append(then)
    for e in range(1, N_EVENTS):
        if rules.allowed[idle, state] >> e & 1:
            rules.filler[idle, state, e] = 0


@cache
def new_rules(*, preempt_neon: bool = False) -> Rules:
    """Return the rules of the order as it is now; `preempt_neon`: where sections of kernel NEON can be preempted."""
    rules = Rules(
        np.zeros((2, STATES), np.int64),
        np.zeros((STATES, N_EVENTS), np.int8),
        np.zeros((2, STATES, N_EVENTS), np.int8),
    )
    for idle, modes in ((0, _MODES), (1, (order.KERNEL,))):
        for in_syscall in (0, 1):
            for mode in modes:
                _ask(rules, idle, mode, in_syscall, preempt_neon)
            _in_words_of_a_trace(rules, idle, in_syscall)
    for idle in (0, 1):
        for state in range(STATES):
            _fill(rules, idle, state)
    return rules
