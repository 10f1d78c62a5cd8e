"""A policy as engines see it: which of its handlers there are, what each has in view, and the rows learned so far.

A *view* is all that kernel code can see at an event: the words (flags, enums, counters) of the CPU, the task and the
second participant, and how each pointer looks from there. It is packed into one number, the key; an index maps the key
to the row that says what the policy does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline
from fpstate.structs import Struct
from fpstate.world.state import POINTER, WORD, Ints, World, kernel_of, own

# How a pointer to an owner looks from a handler; also the targets of operations.
NOBODY: Final = 0
TASK: Final = 1
SECOND_ONE: Final = 2  # the vCPU, or the next thread
TASK_KERNEL: Final = 3  # the kernel-mode state of the task
SECOND_KERNEL: Final = 4
ELSEWHERE: Final = 5  # what the CPU's first pointer names, when that is not in view
ELSEWHERE_2: Final = 6  # the same for its second pointer
ITS_STASH: Final = 7  # of the CPU; a target only

# What a row may set a pointer to a CPU to, less 1: none (0), this CPU, or what a pointer in view names: the task's
# first and second, the second participant's first and second.
POINTER_THIS: Final = 1
POINTER_COPY: Final = 2

# Columns of `Table.handlers`: where the words and pointers lie in the key (-1: not in it).
H_BASE: Final = 0  # first entry of the index; NOT_HANDLED; or below that: the view is wide, and what lies at entry
# -2 - H_BASE + key // page size is where a page of the index begins
H_TASK: Final = 1
H_SECOND: Final = 2
H_CPU_POINTER: Final = 3  # and 4
H_TASK_POINTER: Final = 5  # and 6
H_SECOND_POINTER: Final = 7  # and 8
H_COLUMNS: Final = 9
NOT_HANDLED: Final = -1
PAGE_BITS: Final = 15

# Columns of `Table.rows`: the new words, the new pointers (3 bits each, 0 keep, else code + 1), the operations.
R_CPU: Final = 0
R_TASK: Final = 1
R_SECOND: Final = 2
R_POINTERS: Final = 3
R_NEXT: Final = 4  # where the handler goes on after an interrupt may come in: a point number, 0 when it is done
R_OPS: Final = 5  # how many operations; then each as operation | target << 8 | register class << 12
MAX_OPS: Final = 26
R_COLUMNS: Final = R_OPS + 1 + MAX_OPS

# What `find_row` answers beside the number of a row.
NO_HANDLER: Final = -1
NOT_LEARNED: Final = -2


@dataclass(frozen=True, eq=False)
class Table(Struct):
    """The rows of a policy learned so far, and how to find them."""

    handlers: Ints  # [event, or N_EVENTS + point; H_*]
    index: NDArray[np.int32]  # row + 1, 0 not learned
    rows: Ints  # [row, R_*]
    event_of_point: Ints  # [point]; [0] is 1 if the scheduler comes in at no point


@dataclass(frozen=True, eq=False)
class Report(Struct):
    """What a step has to say beside its verdict. Whoever asks for steps makes one and reads it."""

    counts: Ints  # [N_*] operations carried out so far
    asked: Ints  # [A_*] what was asked of the policy last
    clock: Ints  # [0 the time now, in nanoseconds; 1 + context: when its timer was started]; [0] alone where none runs


A_EVENT: Final = 0  # the handler and view a row was missing for
A_KEY: Final = 1
A_ROW: Final = 2  # the row a step used, as `find_row` answers
A_POINT: Final = 3  # the point at which its handler went on, 0 at its end
A_TRAPPED: Final = 4  # 1: the move was a use that did not come about, since it trapped
A_USED: Final = 5  # how many rows a move has used; they follow
A_FIRST: Final = 6
A_SIZE: Final = 256  # a move runs at most three handlers, each through all points there can be


def new_report(counters: int, timers: int = 0) -> Report:
    """Return a report with nothing in it, and room for so many timers."""
    return Report(np.zeros(counters, np.int64), np.zeros(A_SIZE, np.int64), np.zeros(1 + timers, np.int64))


@inline
def pointer_code(owner: int, task: int, second: int) -> int:
    """Return how `owner` (an owner number) looks to kernel code that has `task` and `second` in view."""
    if owner == 0:
        return NOBODY
    if owner == own(task):
        return TASK
    if owner == own(second):
        return SECOND_ONE
    if owner == kernel_of(task):
        return TASK_KERNEL
    if owner == kernel_of(second):
        return SECOND_KERNEL
    return ELSEWHERE


@inline
def cpu_code(pointer: int, cpu: int) -> int:
    """Return how a pointer to a CPU looks from CPU `cpu`: 0 none, 1 this one, 2 another."""
    if pointer == 0:
        return 0
    return 1 if pointer == cpu + 1 else 2


@inline
def view_key(w: World, table: Table, e: int, c: int, t: int, s: int) -> int:
    """Return what kernel code sees at event `e` on CPU `c`, as one number: all words and pointers in view."""
    at = table.handlers[e]
    key = w.cpu[c, WORD] | w.context[t, WORD] << at[H_TASK] | w.context[s, WORD] << at[H_SECOND]
    for i in range(2):
        if at[H_CPU_POINTER + i] >= 0:
            key |= pointer_code(w.cpu[c, POINTER + i], t, s) << at[H_CPU_POINTER + i]
        if at[H_TASK_POINTER + i] >= 0:
            key |= cpu_code(w.context[t, POINTER + i], c) << at[H_TASK_POINTER + i]
        if at[H_SECOND_POINTER + i] >= 0:
            key |= cpu_code(w.context[s, POINTER + i], c) << at[H_SECOND_POINTER + i]
    return int(key)


@inline
def find_row(w: World, table: Table, report: Report, e: int, c: int, t: int, s: int) -> int:
    """Return the number of the row for event `e` and this view, NO_HANDLER or NOT_LEARNED.

    When it is not learned, the report says what to learn.
    """
    base = table.handlers[e, H_BASE]
    if base == NOT_HANDLED:
        return NO_HANDLER
    key = view_key(w, table, e, c, t, s)
    if base >= 0:
        entry = base + key
    else:
        page = np.int64(table.index[-2 - base + (key >> PAGE_BITS)])
        entry = page + (key & (1 << PAGE_BITS) - 1) if page else -1
    r = np.int64(table.index[entry]) - 1 if entry >= 0 else -1
    if r < 0:
        report.asked[A_EVENT] = e
        report.asked[A_KEY] = key
        return NOT_LEARNED
    return int(r)


@inline
def named(w: World, target: int, c: int, t: int, s: int) -> int:
    """Return the owner number of an operation's target; that of ITS_STASH is nobody's."""
    if target == TASK:
        return own(t)
    if target == SECOND_ONE:
        return own(s)
    if target == TASK_KERNEL:
        return kernel_of(t)
    if target == SECOND_KERNEL:
        return kernel_of(s)
    if target == ITS_STASH:
        return 0
    return int(w.cpu[c, POINTER + target - ELSEWHERE])


@inline
def cpu_named(code: int, c: int, of_task: tuple[int, int], of_second: tuple[int, int]) -> int:
    """Return the pointer to a CPU that a code of a row stands for: none, this CPU, or a copy of one in view."""
    if code == POINTER_THIS + 1:
        return c + 1
    if code <= POINTER_THIS:
        return 0
    copied = of_task if code < POINTER_COPY + 3 else of_second
    return copied[code - POINTER_COPY - 1 & 1]


@inline
def set_pointers(w: World, codes: int, c: int, t: int, s: int) -> None:
    """Set the pointers a row asks for; `codes` holds 3 bits for each of CPU, task and second, two each."""
    of_task = w.context[t, POINTER], w.context[t, POINTER + 1]
    of_second = w.context[s, POINTER], w.context[s, POINTER + 1]
    for i in range(2):
        code = codes >> 3 * i & 7
        if code:
            w.cpu[c, POINTER + i] = 0 if code == 1 else named(w, code - 1, c, t, s)
        code = codes >> 6 + 3 * i & 7
        if code:
            w.context[t, POINTER + i] = cpu_named(code, c, of_task, of_second)
        code = codes >> 12 + 3 * i & 7
        if code:
            w.context[s, POINTER + i] = cpu_named(code, c, of_task, of_second)
