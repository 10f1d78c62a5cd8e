"""What operations and events mean: written once, for replay, check and machine, interpreted and compiled alike.

`find_row` turns what kernel code can see at an event into a key and looks up the policy's decision; `run_row` carries
that decision out; `step` does both and the event's own effect on the values; `use` is a register use.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import bare, inline
from fpstate.world import wide as W
from fpstate.world.events import Event
from fpstate.world.state import (
    C_PTR,
    C_REGS,
    C_SIZE,
    C_STASH,
    C_WORD,
    FREE,
    GUEST_TRAP,
    USER_TRAP,
    X_BIRTH,
    X_IMAGE,
    X_INIT,
    X_KERNEL,
    X_KVER,
    X_MODE,
    X_PTR,
    X_SIZE,
    X_VCPU,
    X_VER,
    X_WORD,
    World,
    context_base,
    kernel_owner,
    plane_size,
    softirq_owner,
)

Ints = NDArray[np.int32]
Counts = NDArray[np.int64]

# Operations.
SAVE: Final = 1  # registers to the target's place
LOAD: Final = 2  # the target's place to registers
CLEAR: Final = 3  # registers become the target's initial state (zeros)
OVERWRITE: Final = 4  # the target's image becomes its new latest value (exec, signal frame, reset)
EDIT: Final = 5  # the same for a change of part of it: the image must be up to date before
OOPS: Final = 6  # kernel code followed a pointer to nobody
FETCH: Final = 7  # interrupt the CPU the target names: it saves the target if its record names it, and forgets it

# Targets, also the codes of pointers to contexts in views.
NOBODY: Final = 0
TASK: Final = 1
SECOND: Final = 2  # the vCPU, or the next thread
TASK_KERNEL: Final = 3  # the kernel-mode state of the task
SECOND_KERNEL: Final = 4
ELSEWHERE: Final = 5  # what the CPU's first pointer names, when that is not in view
ELSEWHERE_2: Final = 6  # the same for its second pointer
STASH: Final = 7

# Columns of a row: the new words, the new pointers (3 bits each, 0 keep, else code + 1), the operations.
R_CPU: Final = 0
R_TASK: Final = 1
R_SECOND: Final = 2
R_PTRS: Final = 3
R_NEXT: Final = 4  # where the handler goes on after an interrupt may come in: a point number, 0 when it is done
R_OPS: Final = 5  # how many operations; then each as operation | target << 8
MAX_OPS: Final = 26
R_SIZE: Final = R_OPS + 1 + MAX_OPS

# Columns of the table of handlers: where the words and pointers lie in the key (-1: not in it).
H_BASE: Final = 0  # first entry of the index; -1: the policy does not handle this event; below: the view is wide, what
# lies at entry -2 - H_BASE + key // page size is where a page of the index begins
H_TASK: Final = 1
H_SECOND: Final = 2
H_CPU_PTR: Final = 3  # and 4
H_TASK_PTR: Final = 5  # and 6
H_SECOND_PTR: Final = 7  # and 8
H_SIZE: Final = 9
PAGE_BITS: Final = 15
H_FEATURES: Final = 1  # of the row of Event.NONE, which nobody handles: the features of the world, as F_*

# Counters.
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
N_COUNTS: Final = 22

# What step and use answer.
OK: Final = 0
LEAKING_FRAME: Final = 1  # a signal frame was built from another's values
WRONG_VALUE: Final = 2  # somebody read a value that is not his latest
TRAP_NOT_SERVED: Final = 3  # the trap is still armed after its handler
STALE_FRAME: Final = 4  # a signal frame was built from an old image
KERNEL_VALUE_LOST: Final = 5  # kernel-mode FP code found other values than it wrote
NULL_POINTER: Final = 6  # kernel code saved to, or loaded from, nobody
USE_AFTER_FREE: Final = 7  # kernel code saved to, or loaded from, a context that no longer exists
# 8 to 31: world.wide
NO_ROW: Final = 100  # the policy has not been asked this yet

IN_WORDS: dict[int, str] = {
    WRONG_VALUE: "reads a value that is not its latest",
    TRAP_NOT_SERVED: "traps, and the handler leaves the trap armed",
    STALE_FRAME: "gets a signal frame built from an old image",
    LEAKING_FRAME: "gets a signal frame built from another's values",
    KERNEL_VALUE_LOST: "loses its kernel-mode FP values",
    NULL_POINTER: "saves to or loads from nobody",
    USE_AFTER_FREE: "saves to or loads from a context that no longer exists",
    W.NO_STORAGE: "saves to or loads from storage that was never allocated",
    W.VECTOR_LENGTH: "finds another's vector length in force",
    W.WRONG_MODE: "finds the CPU in a streaming or ZA mode that is not its own",
    W.KERNEL_TRAPS: "runs kernel code that traps itself: a trap was lifted, and no ISB came before the registers",
    W.WARNED: "finds flags that contradict each other (WARN_ON)",
}
IN_WORDS |= {
    leaks + k: f"reads {name} that {words}"
    for k, name in ((1, "SVE registers"), (2, "a vector length"), (3, "ZA"), (4, "FPMR"), (5, "FPEXC"))
    for leaks, words in ((W.CLASS_WRONG, "are not its latest values"), (W.CLASS_LEAKS, "hold another's values"))
}
"""What each verdict says of the context it happened to."""

_SWITCH: Final = int(Event.THREAD_SWITCH)
_FORK: Final = int(Event.FORK)
_EXEC: Final = int(Event.EXEC)
_SIGNAL: Final = int(Event.SIGNAL)
_SIGRETURN: Final = int(Event.SIGRETURN)
_PTRACE_WRITE: Final = int(Event.PTRACE_WRITE)
_VCPU_SETREG: Final = int(Event.VCPU_SETREG)
_VCPU_RESET: Final = int(Event.VCPU_RESET)
_NEON_BEGIN: Final = int(Event.KERNEL_NEON_BEGIN)
_NEON_END: Final = int(Event.KERNEL_NEON_END)
_SOFTIRQ_BEGIN: Final = int(Event.SOFTIRQ_NEON_BEGIN)
_EFI_BEGIN: Final = int(Event.EFI_BEGIN)
_CPU_DOWN: Final = int(Event.CPU_DOWN)
_CPU_UP: Final = int(Event.CPU_UP)
_PM_ENTER: Final = int(Event.CPU_PM_ENTER)
_USER_TRAP: Final = int(Event.USER_FP_TRAP)
_SVE_TRAP: Final = int(Event.SVE_TRAP)
_SME_TRAP: Final = int(Event.SME_TRAP)
_GUEST_SVE_TRAP: Final = int(Event.GUEST_SVE_TRAP)
_GUEST_FP: Final = int(Event.GUEST_FP)
_GUEST_SVE: Final = int(Event.GUEST_SVE)
_GUEST_TRAP: Final = int(Event.GUEST_FP_TRAP)

MIND_BEFORE: Final = sum(1 << e for e in (_EXEC, _SIGRETURN, _PTRACE_WRITE, _VCPU_SETREG, _VCPU_RESET, _NEON_END))
_USES: Final = 1 << int(Event.USER_FP) | 1 << int(Event.GUEST_FP)
MIND_AFTER: Final = sum(1 << e for e in (_NEON_BEGIN, _SOFTIRQ_BEGIN, _EFI_BEGIN, _FORK, _PM_ENTER, _CPU_DOWN, _SIGNAL))


@inline
def pointer_code(owner: int, task: int, second: int, n: int) -> int:
    """Return how `owner` (an owner number) looks to kernel code that has `task` and `second` in view."""
    if owner == 0:
        return NOBODY
    if owner == task + 1:
        return TASK
    if owner == second + 1:
        return SECOND
    if owner == kernel_owner(task, n):
        return TASK_KERNEL
    if owner == kernel_owner(second, n):
        return SECOND_KERNEL
    return ELSEWHERE


@inline
def cpu_code(pointer: int, cpu: int) -> int:
    """Return how a pointer to a CPU looks from CPU `cpu`: 0 none, 1 this one, 2 another."""
    if pointer == 0:
        return 0
    return 1 if pointer == cpu + 1 else 2


@inline
def view_key(w: World, handlers: Ints, e: int, c: int, t: int, s: int, cpus: int, n: int) -> int:
    """Return what kernel code sees at event `e` on CPU `c`, as one number: all words and pointers in view."""
    ca = c * C_SIZE
    base = context_base(cpus)
    ta = base + t * X_SIZE
    sa = base + s * X_SIZE
    key = int(w[ca + C_WORD])
    key |= int(w[ta + X_WORD]) << int(handlers[e, H_TASK]) | int(w[sa + X_WORD]) << int(handlers[e, H_SECOND])
    for i in range(2):
        if handlers[e, H_CPU_PTR + i] >= 0:
            key |= pointer_code(w[ca + C_PTR + i], t, s, n) << int(handlers[e, H_CPU_PTR + i])
        if handlers[e, H_TASK_PTR + i] >= 0:
            key |= cpu_code(w[ta + X_PTR + i], c) << int(handlers[e, H_TASK_PTR + i])
        if handlers[e, H_SECOND_PTR + i] >= 0:
            key |= cpu_code(w[sa + X_PTR + i], c) << int(handlers[e, H_SECOND_PTR + i])
    return int(key)


@inline
def place(w: World, target: int, c: int, t: int, s: int, cpus: int, n: int) -> int:
    """Return where in the world the label of `target` lies."""
    base = context_base(cpus)
    if target == TASK:
        return base + t * X_SIZE + X_IMAGE
    if target == SECOND:
        return base + s * X_SIZE + X_IMAGE
    if target == TASK_KERNEL:
        return base + t * X_SIZE + X_KERNEL
    if target == SECOND_KERNEL:
        return base + s * X_SIZE + X_KERNEL
    if target == STASH:
        return c * C_SIZE + C_STASH
    owner = int(w[c * C_SIZE + C_PTR + target - ELSEWHERE])
    if owner > n + 1:
        return base + (owner - kernel_owner(0, n)) * X_SIZE + X_KERNEL
    return base + (owner - 1) * X_SIZE + X_IMAGE


@inline
def whose(w: World, where: int, cpus: int) -> int:
    """Return 0 for a host place (a task's image, the stash), 1 for a guest's image, 2 for kernel-mode state."""
    if where < context_base(cpus):
        return 0
    if (where - context_base(cpus)) % X_SIZE == X_KERNEL:
        return 2
    return int(w[where - X_IMAGE + X_VCPU])


@inline
def fetch(w: World, x: int, c: int, cpus: int, counts: Counts) -> None:
    """Let the CPU that context `x` names save the registers to the image of `x`, if its first pointer names `x`."""
    xa = context_base(cpus) + x * X_SIZE
    other = int(w[xa + X_PTR]) - 1
    if other < 0 or other == c or w[other * C_SIZE + C_PTR] != x + 1:
        return
    w[xa + X_IMAGE] = w[other * C_SIZE + C_REGS]
    w[xa + X_IMAGE + 1] = w[other * C_SIZE + C_REGS + 1]
    w[other * C_SIZE + C_PTR] = 0
    w[xa + X_PTR] = 0
    counts[N_SAVE_HOST + w[xa + X_VCPU]] += 1


@inline
def run_ops(w: World, rows: Ints, r: int, c: int, t: int, s: int, cpus: int, n: int, counts: Counts) -> int:
    """Carry out the operations of a row on CPU `c`."""
    regs = c * C_SIZE + C_REGS
    base = context_base(cpus)
    for i in range(rows[r, R_OPS]):
        op = rows[r, R_OPS + 1 + i] & 255
        if op == OOPS:
            return NULL_POINTER
        a = place(w, rows[r, R_OPS + 1 + i] >> 8 & 15, c, t, s, cpus, n)
        if op == SAVE or op == LOAD:
            kind = whose(w, a, cpus)
            if a >= base and w[a - (a - base) % X_SIZE + X_MODE] == FREE:
                return USE_AFTER_FREE
            if op == SAVE:
                w[a] = w[regs]
                w[a + 1] = w[regs + 1]
                counts[N_SAVE_HOST + kind] += 1
            else:
                w[regs] = w[a]
                w[regs + 1] = w[a + 1]
                counts[N_LOAD_HOST + kind] += 1
                if len(w) > plane_size(cpus, n):
                    W.written_narrow(w, c, cpus, n)
        elif op == FETCH:
            fetch(w, (a - base) // X_SIZE, c, cpus, counts)
        elif op > OOPS:
            verdict = W.wide_op(w, rows[r, R_OPS + 1 + i], (a - base) // X_SIZE, c, cpus, n)
            if verdict:
                return verdict
            if op == W.SAVE_SVE or op == W.LOAD_SVE:
                counts[(N_SAVE_SVE if op == W.SAVE_SVE else N_LOAD_SVE) + whose(w, a, cpus)] += 1
            elif op == W.SAVE_CLASS or op == W.LOAD_CLASS:
                counts[N_PARTS + (rows[r, R_OPS + 1 + i] >> 12)] += 1
        else:
            x = (a - base) // X_SIZE
            xa = base + x * X_SIZE
            if op == CLEAR:
                w[regs] = x + 1
                w[regs + 1] = w[xa + X_INIT]
                counts[N_CLEAR] += 1
                if len(w) > plane_size(cpus, n):
                    W.written_narrow(w, c, cpus, n)
            elif op == OVERWRITE or (w[a] == x + 1 and w[a + 1] == w[xa + X_VER] - 1):
                w[a] = x + 1
                w[a + 1] = w[xa + X_VER]
    return OK


@inline
def set_pointers(w: World, codes: int, c: int, t: int, s: int, cpus: int, n: int) -> None:
    """Set the pointers a row asks for; `codes` holds 3 bits for each of CPU, task and second, two each."""
    base = context_base(cpus)
    for i in range(2):
        code = codes >> 3 * i & 7
        if code:
            owner = 0
            if code == 1 + TASK:
                owner = t + 1
            elif code == 1 + SECOND:
                owner = s + 1
            elif code == 1 + TASK_KERNEL:
                owner = kernel_owner(t, n)
            elif code == 1 + SECOND_KERNEL:
                owner = kernel_owner(s, n)
            w[c * C_SIZE + C_PTR + i] = owner
        code = codes >> 6 + 3 * i & 7
        if code:
            w[base + t * X_SIZE + X_PTR + i] = c + 1 if code == 2 else 0
        code = codes >> 12 + 3 * i & 7
        if code:
            w[base + s * X_SIZE + X_PTR + i] = c + 1 if code == 2 else 0


@inline
def run_row(w: World, rows: Ints, r: int, c: int, t: int, s: int, cpus: int, n: int, counts: Counts) -> int:
    """Carry out one decision: its operations, then its new words and pointers."""
    verdict = OK
    if rows[r, R_OPS]:
        verdict = run_ops(w, rows, r, c, t, s, cpus, n, counts)
    if rows[r, R_PTRS]:
        set_pointers(w, rows[r, R_PTRS], c, t, s, cpus, n)
    base = context_base(cpus)
    w[c * C_SIZE + C_WORD] = rows[r, R_CPU]
    w[base + t * X_SIZE + X_WORD] = rows[r, R_TASK]
    w[base + s * X_SIZE + X_WORD] = rows[r, R_SECOND]
    return verdict


@inline
def new_version(w: World, x: int, cpus: int) -> None:
    """Make every copy of context `x` stale: its value is being replaced from outside."""
    w[context_base(cpus) + x * X_SIZE + X_VER] += 1


@inline
def copy_of_parent(w: World, t: int, s: int, cpus: int) -> None:
    """Make thread `s` a copy of `t`, policy fields included, as the kernel's structure copy at fork does."""
    ta = context_base(cpus) + t * X_SIZE
    sa = context_base(cpus) + s * X_SIZE
    w[sa + X_WORD] = w[ta + X_WORD]
    w[sa + X_PTR] = w[ta + X_PTR]
    w[sa + X_PTR + 1] = w[ta + X_PTR + 1]


@inline
def copy_image_to_child(w: World, t: int, s: int, cpus: int, n: int) -> None:
    """Give child `s` the parent's image: right if it was the parent's latest value, else as wrong as that."""
    ta = context_base(cpus) + t * X_SIZE
    sa = context_base(cpus) + s * X_SIZE
    owner, version = w[ta + X_IMAGE], w[ta + X_IMAGE + 1]
    if owner == 0 and version == W.ZEROS and len(w) > plane_size(cpus, n) and w[ta + X_INIT] == w[ta + X_VER]:
        owner, version = t + 1, w[ta + X_VER]  # zeros, and that is right
    w[sa + X_VER] += 1
    w[sa + X_INIT] = 0
    w[sa + X_BIRTH] = w[sa + X_VER] - 1
    own = owner == t + 1 and version >= w[ta + X_BIRTH]
    w[sa + X_IMAGE] = s + 1 if own else owner
    w[sa + X_IMAGE + 1] = version
    if own:
        w[sa + X_IMAGE + 1] = w[sa + X_VER] if version == w[ta + X_VER] else w[sa + X_VER] - 1


@inline
def find_row(
    w: World, handlers: Ints, index: Ints, e: int, c: int, t: int, s: int, cpus: int, n: int, asked: Counts
) -> int:
    """Return the number of the row for this event and view, -1 when the policy does not handle it, -2 when unknown.

    When unknown, `asked` gets the event and the key.
    """
    base = int(handlers[e, H_BASE])
    if base == -1:
        return -1
    key = view_key(w, handlers, e, c, t, s, cpus, n)
    if base >= 0:
        r = int(index[base + key]) - 1
    else:
        page = int(index[-2 - base + (key >> PAGE_BITS)])
        r = int(index[page + (key & (1 << PAGE_BITS) - 1)]) - 1 if page else -1
    if r < 0:
        asked[0] = e
        asked[1] = key
        return -2
    return r


@inline
def before_row(w: World, e: int, c: int, t: int, s: int, cpus: int, n: int) -> int:
    """Do what an event does to the values before kernel code handles it."""
    if e == _EXEC or e == _SIGRETURN:
        new_version(w, t, cpus)
        if e == _EXEC:
            a = context_base(cpus) + t * X_SIZE
            w[a + X_INIT] = w[a + X_BIRTH] = w[a + X_VER]
    elif e == _PTRACE_WRITE or e == _VCPU_SETREG or e == _VCPU_RESET:
        new_version(w, s, cpus)
        if e == _VCPU_RESET:
            a = context_base(cpus) + s * X_SIZE
            w[a + X_INIT] = w[a + X_VER]
    elif e == _NEON_END:
        a = context_base(cpus) + t * X_SIZE
        if w[c * C_SIZE + C_REGS] != kernel_owner(t, n) or w[c * C_SIZE + C_REGS + 1] != w[a + X_KVER]:
            return KERNEL_VALUE_LOST
    return OK


@inline
def frame_verdict(w: World, ta: int, t: int, wide: bool) -> int:
    """Return what is wrong with a signal frame built now from the image of task `t`, whose record is at `ta`.

    `wide`: the world has more registers than FPSIMD, and zeros have a label of their own.
    """
    owner, version = w[ta + X_IMAGE], w[ta + X_IMAGE + 1]
    if owner == t + 1 and version == w[ta + X_VER]:
        return OK
    if owner == 0 and wide and version == W.ZEROS and w[ta + X_INIT] == w[ta + X_VER]:
        return OK
    if owner == 0 or (owner == t + 1 and version >= w[ta + X_BIRTH]):
        return STALE_FRAME
    return LEAKING_FRAME


@inline
def after_row(w: World, e: int, c: int, t: int, s: int, cpus: int, n: int) -> int:
    """Do what an event does to the values after kernel code has handled it."""
    regs = c * C_SIZE + C_REGS
    ta = context_base(cpus) + t * X_SIZE
    if e == _NEON_BEGIN:
        w[ta + X_KVER] += 1
        w[regs] = kernel_owner(t, n)
        w[regs + 1] = w[ta + X_KVER]
    elif e == _SOFTIRQ_BEGIN or e == _EFI_BEGIN:
        w[regs] = softirq_owner(n)
        w[regs + 1] = 0
    elif e == _FORK:
        copy_image_to_child(w, t, s, cpus, n)
    elif e == _PM_ENTER or e == _CPU_DOWN:
        w[regs] = 0
    elif e == _SIGNAL:
        return frame_verdict(w, ta, t, len(w) > plane_size(cpus, n))
    return OK


@inline
def ignored(handlers: Ints, e: int) -> bool:
    """Tell whether event `e` changes nothing where there is FPSIMD alone: no handler, and no effect on values."""
    return handlers[e, H_BASE] == -1 and not (MIND_BEFORE | MIND_AFTER | _USES) >> e & 1


@inline
def step(
    w: World,
    handlers: Ints,
    index: Ints,
    rows: Ints,
    e: int,
    c: int,
    t: int,
    s: int,
    cpus: int,
    n: int,
    counts: Counts,
    asked: Counts,
    wide: bool,
) -> int:
    """Let event `e` happen on CPU `c` to task `t` and second participant `s` (n: none); return OK or what went wrong.

    On NO_ROW nothing has happened: learn the row that `asked` names, and step again. `asked[2]` gets the row used.
    `wide`: the world has more registers than FPSIMD.
    """
    if e == _CPU_DOWN or e == _CPU_UP:
        t = s = n  # nobody else is in view
    if e == _FORK:
        copy_of_parent(w, t, s, cpus)
    r = find_row(w, handlers, index, e, c, t, s, cpus, n, asked)
    asked[2] = r
    if r == -2:
        return NO_ROW
    verdict = OK
    if MIND_BEFORE >> e & 1:
        verdict = before_row(w, e, c, t, s, cpus, n)
    if wide:
        W.wide_before(w, e, t, s, cpus, n, handlers[0, H_FEATURES])
    if r >= 0:
        verdict = max(verdict, run_row(w, rows, r, c, t, s, cpus, n, counts))
    if MIND_AFTER >> e & 1:
        verdict = max(verdict, after_row(w, e, c, t, s, cpus, n))
    if wide:
        verdict = max(verdict, W.wide_after(w, e, c, t, s, cpus, n, handlers[0, H_FEATURES]))
    return verdict


@inline
def use(
    w: World,
    handlers: Ints,
    index: Ints,
    rows: Ints,
    guest: bool,
    c: int,
    t: int,
    s: int,
    cpus: int,
    n: int,
    counts: Counts,
    asked: Counts,
) -> int:
    """Let the guest of vCPU `s`, or user mode of task `t`, read and write FP registers on CPU `c`.

    If the trap is armed its handler runs first. A use writes: it makes the newest version.
    """
    trap = GUEST_TRAP if guest else USER_TRAP
    asked[2] = -1
    if w[c * C_SIZE + C_WORD] & trap:
        e = _GUEST_TRAP if guest else _USER_TRAP
        verdict = step(w, handlers, index, rows, e, c, t, s, cpus, n, counts, asked, False)
        if verdict == NO_ROW:
            return NO_ROW
        counts[N_GUEST_TRAP if guest else N_USER_TRAP] += 1
        if w[c * C_SIZE + C_WORD] & trap:
            return TRAP_NOT_SERVED
    x = s if guest else t
    regs = c * C_SIZE + C_REGS
    xa = context_base(cpus) + x * X_SIZE
    wrong = w[regs] != x + 1 or w[regs + 1] != w[xa + X_VER]
    w[xa + X_VER] += 1
    w[regs] = x + 1
    w[regs + 1] = w[xa + X_VER]
    return WRONG_VALUE if wrong else OK


@inline
def count_trap(counts: Counts, trap: int) -> None:
    """Count one trap taken."""
    if trap == _USER_TRAP:
        counts[N_USER_TRAP] += 1
    elif trap == _GUEST_TRAP:
        counts[N_GUEST_TRAP] += 1
    elif trap == _SVE_TRAP:
        counts[N_SVE_TRAP] += 1
    elif trap == _GUEST_SVE_TRAP:
        counts[N_SVE_TRAP + 1] += 1
    else:
        counts[N_SME_TRAP] += 1


@bare
def use_wide(
    w: World,
    handlers: Ints,
    index: Ints,
    rows: Ints,
    e: int,
    c: int,
    t: int,
    s: int,
    cpus: int,
    n: int,
    counts: Counts,
    asked: Counts,
) -> int:
    """Let a use `e` happen in a world with more features than FPSIMD; traps are taken first, each at most once.

    A user SVE or SME trap is served on the way back to user mode: only the trap is taken, using is another event.
    """
    asked[2] = -1
    for _ in range(3):
        trap = W.trap_of(w, e, c)
        if trap == 0:
            break
        verdict = step(w, handlers, index, rows, trap, c, t, s, cpus, n, counts, asked, True)
        if verdict != OK:
            return verdict
        count_trap(counts, trap)
        if trap == _SVE_TRAP or trap == _SME_TRAP:
            return OK
    if W.trap_of(w, e, c):
        return TRAP_NOT_SERVED
    guest = e == _GUEST_FP or e == _GUEST_SVE
    return W.wide_use(w, e, s if guest else t, c, cpus, n, handlers[0, H_FEATURES])
