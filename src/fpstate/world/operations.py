"""What each operation of a policy does to values, in worlds that have V alone.

An operation has a target: a context, a thread's kernel-mode state, or the CPU's stash. Its *place* in memory is the
image, or the stash.
"""

from __future__ import annotations

from typing import Final

from fpstate.jit import inline
from fpstate.world.state import (
    FREE,
    IMAGE,
    INITIAL,
    IS_VCPU,
    KERNEL_IMAGE,
    MODE,
    NOBODYS,
    POINTER,
    REGISTERS,
    STASH,
    WORD,
    ZEROS,
    V,
    World,
    context_of,
    latest_label,
    own,
    was_latest,
)
from fpstate.world.table import (
    R_CPU,
    R_OPS,
    R_POINTERS,
    R_SECOND,
    R_TASK,
    Report,
    Table,
    named,
    set_pointers,
)
from fpstate.world.verdicts import NULL_POINTER, OK, TRAP_IN_KERNEL, USE_AFTER_FREE

SAVE: Final = 1  # registers to the target's place
LOAD: Final = 2  # the target's place to registers
CLEAR: Final = 3  # registers become the target's initial state (zeros)
OVERWRITE: Final = 4  # the target's image becomes its new latest value (exec, signal frame, reset)
EDIT: Final = 5  # the same for a change of part of it: the image must be up to date before
OOPS: Final = 6  # kernel code followed a pointer to nobody; with a target: if that is kernel-mode state, as for one
# whose kernel-mode state has not all that the code looks for
FETCH: Final = 7  # interrupt the CPU the target names: it saves the target if its record names it, and forgets it
# 8 to 28, 32, 33, and BUILD_FRAME: world.wide
START_TIMER: Final = 34  # the target's field `expired` was cleared; the clock sets it when its time is over
BEHIND_TRAP: Final = 29  # kernel code touches the registers behind a trap that stops it, too
BUILD_FRAME: Final = 30  # the signal frame is built, and the handler begins with the initial state
SAVE_SOME: Final = 35  # some of the registers to the target's place: rubbish, unless that held the same
LOAD_SOME: Final = 36  # the same the other way round
NEW_PLACE: Final = 31  # the image holds rubbish from now on: it is at another place, or was written over

# Counters in `Report.counts`. Host: a task's image or the stash; guest: a vCPU's image; kernel: kernel-mode state.
N_SAVE_HOST: Final = 0
N_SAVE_GUEST: Final = 1
N_SAVE_KERNEL: Final = 2
N_LOAD_HOST: Final = 3
N_LOAD_GUEST: Final = 4
N_LOAD_KERNEL: Final = 5
N_CLEAR: Final = 6
N_USER_TRAP: Final = 7
N_GUEST_TRAP: Final = 8
N_SAVE_SVE: Final = 9  # host, guest: whole SVE forms
N_LOAD_SVE: Final = 11
N_SVE_TRAP: Final = 13  # of user mode, of guests
N_SME_TRAP: Final = 15
N_PARTS: Final = 16  # + class: saves and loads of ZCR, ZA, FPMR, FPEXC
N_IPI: Final = 22  # interrupts sent to other CPUs
N_COUNTS: Final = 23

WORK: Final = {
    "save": (*range(N_SAVE_HOST, N_LOAD_HOST), N_SAVE_SVE, N_SAVE_SVE + 1),
    "load": (*range(N_LOAD_HOST, N_CLEAR), N_LOAD_SVE, N_LOAD_SVE + 1),
    "clear": (N_CLEAR,),
    "move of single classes": tuple(range(N_PARTS, N_IPI)),
    "interrupt": (N_IPI,),
}
"""Kinds of work, and where they are counted; traps are none."""


def kinds_of_work(work: str) -> str:
    """Return a kind of work in the plural."""
    what, _, of = work.partition(" of ")
    return f"{what}s of {of}" if of else f"{what}s"


@inline
def whose(w: World, owner: int) -> int:
    """Return 0 for a host place (a task's image, the stash), 1 for a guest's image, 2 for kernel-mode state."""
    if owner == 0:
        return 0
    return 2 if owner & 1 else w.context[context_of(owner), IS_VCPU]


@inline
def read_place(w: World, owner: int, c: int) -> int:
    """Return the label of V at the place of `owner`; 0 is the stash of CPU `c`."""
    if owner == 0:
        return int(w.cpu[c, STASH])
    if owner & 1:
        return int(w.context[context_of(owner), KERNEL_IMAGE])
    return int(w.context[context_of(owner), IMAGE])


@inline
def write_place(w: World, owner: int, c: int, label: int) -> None:
    """Put the label of V at the place of `owner`; 0 is the stash of CPU `c`."""
    if owner == 0:
        w.cpu[c, STASH] = label
    elif owner & 1:
        w.context[context_of(owner), KERNEL_IMAGE] = label
    else:
        w.context[context_of(owner), IMAGE] = label


@inline
def interrupted(w: World, x: int, c: int, look: int, report: Report) -> int:
    """Interrupt the CPU that context `x` names, if it is not `c`; return it if its first pointer names `x`, else -1.

    Unless others may `look` at its pointer, it is interrupted to do that itself, in vain or not.
    """
    other = w.context[x, POINTER] - 1
    if other < 0 or other == c:
        return -1
    has = w.cpu[other, POINTER] == own(x)
    if has or not look:
        report.counts[N_IPI] += 1
    return int(other) if has else -1


@inline
def part_from(w: World, x: int, other: int) -> None:
    """Let context `x` and CPU `other`, which has saved it, no longer name each other."""
    w.cpu[other, POINTER] = 0
    w.context[x, POINTER] = 0


@inline
def fetch(w: World, x: int, c: int, look: int, report: Report) -> None:
    """Let the CPU that context `x` names save the registers to the image of `x`, if its first pointer names `x`."""
    other = interrupted(w, x, c, look, report)
    if other >= 0:
        w.context[x, IMAGE] = w.cpu[other, REGISTERS]
        part_from(w, x, other)
        report.counts[N_SAVE_HOST + w.context[x, IS_VCPU]] += 1


@inline
def carry_out(w: World, code: int, c: int, t: int, s: int, report: Report) -> int:
    """Carry out one operation of a row (as in `R_OPS`) on CPU `c`; return what went wrong."""
    op = code & 255
    if op == OOPS:
        return OK if code >> 8 and not named(w, code >> 8 & 15, c, t, s) & 1 else NULL_POINTER
    if op == BEHIND_TRAP:
        return TRAP_IN_KERNEL
    owner = named(w, code >> 8 & 15, c, t, s)
    x = context_of(owner)
    if op == SAVE or op == LOAD:
        if owner and w.context[x, MODE] == FREE:
            return USE_AFTER_FREE
        if op == SAVE:
            write_place(w, owner, c, w.cpu[c, REGISTERS])
            report.counts[N_SAVE_HOST + whose(w, owner)] += 1
        else:
            w.cpu[c, REGISTERS] = read_place(w, owner, c)
            report.counts[N_LOAD_HOST + whose(w, owner)] += 1
    elif op == SAVE_SOME or op == LOAD_SOME:
        if w.cpu[c, REGISTERS] != read_place(w, owner, c):
            if op == SAVE_SOME:
                write_place(w, owner, c, NOBODYS)
            else:
                w.cpu[c, REGISTERS] = NOBODYS
    elif op == START_TIMER:
        if len(report.clock) > 1:
            report.clock[1 + x] = report.clock[0]
    elif op == CLEAR:
        w.cpu[c, REGISTERS] = ZEROS if w.zeros else w.context[x, INITIAL]
        report.counts[N_CLEAR] += 1
    elif op == NEW_PLACE:
        write_place(w, owner, c, NOBODYS)
    elif op == FETCH:
        fetch(w, x, c, code >> 12, report)
    elif op == OVERWRITE or was_latest(w, V, x, read_place(w, owner, c), 1):
        write_place(w, owner, c, latest_label(w, V, x))
    return OK


@inline
def set_fields(w: World, table: Table, r: int, c: int, t: int, s: int) -> None:
    """Write the words and pointers that row `r` leaves."""
    if table.rows[r, R_POINTERS]:
        set_pointers(w, table.rows[r, R_POINTERS], c, t, s)
    w.cpu[c, WORD] = table.rows[r, R_CPU]
    w.context[t, WORD] = table.rows[r, R_TASK]
    w.context[s, WORD] = table.rows[r, R_SECOND]


@inline
def run_row(w: World, table: Table, report: Report, r: int, c: int, t: int, s: int) -> int:
    """Carry out one decision: its operations, then its new words and pointers."""
    verdict = OK
    for i in range(table.rows[r, R_OPS]):
        verdict = carry_out(w, table.rows[r, R_OPS + 1 + i], c, t, s, report)
        if verdict:
            break
    set_fields(w, table, r, c, t, s)
    return verdict
