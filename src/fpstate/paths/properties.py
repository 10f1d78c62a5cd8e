"""What must hold: each property by the name a person would say, and how to tell that a move or a state breaks it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fpstate.errors import FpstateError, unknown_name
from fpstate.jit import inline
from fpstate.paths.order import GUEST, KERNEL, RUN, RUN_OUT, USER, WORKER, Bounds
from fpstate.world import verdicts
from fpstate.world.state import (
    CURRENT,
    FREE,
    GUEST_FP_TRAP,
    IMAGE,
    INITIAL,
    LATEST,
    MODE,
    OFF,
    POINT,
    POINTER,
    REGISTERS,
    RUNS,
    SOFTIRQS,
    STASH,
    SVE_IMAGE,
    USER_FP_TRAP,
    USER_SVE_TRAP,
    WORD,
    V,
    World,
    context_of,
    is_latest,
    is_own,
    own,
    owner_of,
)

# Properties as bits.
INTEGRITY: Final = 1
CONFIDENTIALITY: Final = 2
TRAP_SANITY: Final = 4
MEMORY_SAFETY: Final = 8
LOST_UPDATE: Final = 16  # the next ones are of states, not of moves
STALE_PAIR: Final = 32
DANGLING: Final = 64
EXPOSURE: Final = 128
FALSE_NATIVE: Final = 256
VECTOR_LENGTH: Final = 512
MODE_BITS: Final = 1024
USER_SVE_TRAP_WRONG: Final = 2048
KERNEL_TRAP: Final = 4096
DOWN_MODE: Final = 8192
OF_PAIRS: Final = 0  # of pairs of worlds: no bit, no state and no move breaks it (check.timing)
TIMING: Final = "timing"
OF_STATES: Final = LOST_UPDATE | STALE_PAIR | DANGLING | EXPOSURE | FALSE_NATIVE | USER_SVE_TRAP_WRONG


@dataclass(frozen=True)
class Property:
    """One property: its name, what breaks it, and whether a policy that breaks it is wrong."""

    name: str
    bit: int
    broken_when: str
    end_to_end: bool = True


PROPERTIES = {
    p.name: p
    for p in (
        Property("integrity", INTEGRITY, "a context reads a register that is not its latest value"),
        Property("confidentiality", CONFIDENTIALITY, "a context can read another's value, or the kernel's"),
        Property("trap-sanity", TRAP_SANITY, "a trap fires that its handler does not serve"),
        Property("kernel-trap", KERNEL_TRAP, "kernel code touches registers behind a trap that stops it too"),
        Property("vector-length", VECTOR_LENGTH, "SVE registers are moved or used at another's length"),
        Property("mode-bits", MODE_BITS, "a context runs in a streaming or ZA mode that is not its own"),
        Property("memory-safety", MEMORY_SAFETY, "state is saved to, or loaded from, nobody or the dead"),
        Property("lost-update", LOST_UPDATE, "no place holds a context's latest value any more", False),
        Property("stale-pair", STALE_PAIR, "CPU and context name each other, the registers hold others", False),
        Property("dangling-pair", DANGLING, "a CPU and a context that no longer exists name each other", False),
        Property("false-native", FALSE_NATIVE, "a task is not foreign, the registers are not its own", False),
        Property("user-sve-trap", USER_SVE_TRAP_WRONG, "user mode's SVE trap is not as TIF_SVE says", False),
        Property("down-mode", DOWN_MODE, "a CPU goes down in streaming mode, or with ZA enabled", False),
        Property("transient-exposure", EXPOSURE, "another's values lie behind nothing but a trap", False),
        Property(TIMING, OF_PAIRS, "a context can tell by a clock whether another has used FP", False),
    )
}
"""All of them. The last ones are about states between reads: to break one is not yet to corrupt or leak."""

DEFAULT = tuple(p.name for p in PROPERTIES.values() if p.end_to_end)


def bits_of(names: Iterable[str]) -> int:
    """Return the bits of properties by name; FpstateError for an unknown one, or one of pairs of worlds."""
    bits = 0
    for name in names:
        if name not in PROPERTIES:
            raise unknown_name("property", name, PROPERTIES)
        if PROPERTIES[name].bit == OF_PAIRS:
            raise FpstateError(f"'{name}' is about pairs of worlds", expected="properties of one world; it goes alone")
        bits |= PROPERTIES[name].bit
    return bits


GRAVEST_FIRST: Final = (MEMORY_SAFETY, KERNEL_TRAP, TRAP_SANITY, VECTOR_LENGTH, MODE_BITS, CONFIDENTIALITY, INTEGRITY)
"""The order in which properties of moves are named: a leak before a corruption, since every leak is one."""


def first_name(bits: int) -> str:
    """Return the gravest property among `bits`."""
    graver = next((bit for bit in GRAVEST_FIRST if bit & bits), bits)
    return next(p.name for p in PROPERTIES.values() if p.bit & graver)


@inline
def gravity(bits: int) -> int:
    """Return how grave the gravest property among `bits` is; less is graver."""
    for i in range(len(GRAVEST_FIRST)):
        if GRAVEST_FIRST[i] & bits:
            return i
    return len(GRAVEST_FIRST)


# Of moves.


@inline
def seen_on(w: World, c: int) -> int:
    """Return whose value the registers of CPU `c` hold; what a predecessor left in a reused record is a stranger's."""
    label = w.cpu[c, REGISTERS]
    owner = owner_of(label)
    if owner > SOFTIRQS and not owner & 1 and not is_own(w, V, context_of(owner), label):
        return SOFTIRQS
    return owner


@inline
def reader_on(w: World, c: int) -> int:
    """Return the context that a use on CPU `c` would be by."""
    t = w.cpu[c, CURRENT]
    return int(w.context[t, RUNS] - 1 if w.context[t, RUNS] else t)


@inline
def broken_by(verdict: int, seen: int, reader: int) -> int:
    """Return the properties broken, as bits, when context `reader` met `verdict` and registers held owner `seen`."""
    if verdict == verdicts.OK:
        return 0
    if verdict == verdicts.WRONG_VALUE:
        return INTEGRITY if seen == 0 or seen == own(reader) else INTEGRITY | CONFIDENTIALITY
    if verdict == verdicts.MODE_AT_DOWN:
        return DOWN_MODE
    if verdict == verdicts.TRAP_NOT_SERVED or verdict == verdicts.TRAPS_AGAIN:
        return TRAP_SANITY
    if verdict == verdicts.LEAKING_FRAME or verdict >= verdicts.CLASS_LEAKS:
        return INTEGRITY | CONFIDENTIALITY
    if verdict == verdicts.NULL_POINTER or verdict == verdicts.USE_AFTER_FREE or verdict == verdicts.NO_STORAGE:
        return MEMORY_SAFETY
    if verdict == verdicts.WRONG_LENGTH:
        return VECTOR_LENGTH
    if verdict == verdicts.WRONG_MODE:
        return MODE_BITS
    if verdict == verdicts.TRAP_IN_KERNEL:
        return KERNEL_TRAP
    if verdict == verdicts.WARNED or verdict == verdicts.KERNEL_TRAPS:
        return TRAP_SANITY
    return INTEGRITY


# Of states.


@inline
def somewhere(w: World, x: int) -> bool:
    """Tell whether any place still holds the latest value of context `x`."""
    for c in range(len(w.cpu)):
        if is_latest(w, V, x, w.cpu[c, REGISTERS]) or is_latest(w, V, x, w.cpu[c, STASH]):
            return True
    for y in range(len(w.context) - 1):
        if is_latest(w, V, x, w.context[y, IMAGE]) or (w.features and is_latest(w, V, x, w.context[y, SVE_IMAGE])):
            return True
    return bool(w.zeros and w.context[x, INITIAL] == w.context[x, LATEST])  # zeros need no place


@inline
def pair_breaks(w: World, c: int) -> int:
    """Look at the pair "the CPU names me and I name the CPU": it must be true, and not name the dead."""
    owner = w.cpu[c, POINTER]
    x = context_of(owner)
    if owner == 0 or owner & 1 or w.context[x, POINTER] != c + 1:
        return 0
    if w.context[x, MODE] == FREE:
        return DANGLING
    if w.context[x, MODE] == WORKER:
        return 0  # no value is its own
    return 0 if is_latest(w, V, x, w.cpu[c, REGISTERS]) else STALE_PAIR


@inline
def exposes(w: World, c: int) -> bool:
    """Tell whether user or guest code runs on CPU `c` with another's values behind nothing but a trap."""
    mode = w.context[w.cpu[c, CURRENT], MODE]
    trap = GUEST_FP_TRAP if mode == GUEST else USER_FP_TRAP
    if (mode != GUEST and mode != USER) or not w.cpu[c, WORD] & trap:
        return False
    owner = seen_on(w, c)
    return owner != 0 and owner != own(reader_on(w, c))


@inline
def falsely_native(w: World, bounds: Bounds, c: int) -> bool:
    """Tell whether the thread on CPU `c` is not marked foreign although the registers are not its own or its vCPU's.

    Looked at outside handlers and guest runs, for policies with a flag `foreign`: it says that the registers hold what
    the CPU's record names, and that this is the thread or the vCPU it has loaded.
    """
    t = w.cpu[c, CURRENT]
    mode = w.context[t, MODE]
    if not bounds.foreign or w.context[t, WORD] & bounds.foreign or w.context[t, POINT] or t < bounds.cpus:
        return False
    if mode != USER and mode != KERNEL and mode != RUN and mode != RUN_OUT:
        return False
    owner = w.cpu[c, POINTER]
    if owner == 0 or owner & 1:
        return True
    x = context_of(owner)
    if x != t and (mode != RUN or w.context[t, RUNS] != x + 1):
        return True
    return not is_latest(w, V, x, w.cpu[c, REGISTERS])


@inline
def user_trap_wrong(w: World, bounds: Bounds, c: int) -> bool:
    """Tell whether user mode runs on CPU `c` with its SVE trap not as TIF_SVE says, for policies with such a flag."""
    t = w.cpu[c, CURRENT]
    if not bounds.tif_sve or w.context[t, MODE] != USER:
        return False
    return bool((w.context[t, WORD] & bounds.tif_sve != 0) == (w.cpu[c, WORD] & USER_SVE_TRAP != 0))


@inline
def broken_in(w: World, bounds: Bounds, wanted: int) -> int:
    """Return which of the `wanted` properties of states world `w` breaks, as bits."""
    broken = 0
    for c in range(len(w.cpu)):
        if not w.cpu[c, OFF]:
            broken |= pair_breaks(w, c)
            if wanted & EXPOSURE and exposes(w, c):
                broken |= EXPOSURE
            if wanted & FALSE_NATIVE and falsely_native(w, bounds, c):
                broken |= FALSE_NATIVE
            if wanted & USER_SVE_TRAP_WRONG and user_trap_wrong(w, bounds, c):
                broken |= USER_SVE_TRAP_WRONG
    if wanted & LOST_UPDATE:
        for x in range(bounds.cpus, len(w.context) - 1):
            thread_only = bounds.cpus + bounds.tasks <= x < len(w.context) - 1 - bounds.vcpus
            mode = w.context[x, MODE]
            if not thread_only and mode != FREE and mode != WORKER and not somewhere(w, x):
                broken |= LOST_UPDATE
    return broken & wanted
