"""The properties a check can look for, by the names a person would say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fpstate.check import search
from fpstate.errors import unknown_name


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
        Property("integrity", search.INTEGRITY, "a context reads a register that is not its latest value"),
        Property("confidentiality", search.CONFIDENTIALITY, "a context can read another's value, or the kernel's"),
        Property("trap-sanity", search.TRAP_SANITY, "a trap fires that its handler does not serve"),
        Property("vector-length", search.VECTOR_LENGTH, "SVE registers are moved or used at another's length"),
        Property("mode-bits", search.MODE, "a context runs in a streaming or ZA mode that is not its own"),
        Property("memory-safety", search.MEMORY_SAFETY, "state is saved to, or loaded from, nobody or the dead"),
        Property("lost-update", search.LOST_UPDATE, "no place holds a context's latest value any more", False),
        Property("stale-pair", search.STALE_PAIR, "CPU and context name each other, the registers hold others", False),
        Property("dangling-pair", search.DANGLING, "a CPU and a context that no longer exists name each other", False),
        Property("false-native", search.FALSE_NATIVE, "a task is not foreign, the registers are not its own", False),
        Property("user-sve-trap", search.USER_SVE_TRAP_WRONG, "user mode's SVE trap is not as TIF_SVE says", False),
        Property("transient-exposure", search.EXPOSURE, "another's values lie behind nothing but a trap", False),
    )
}
"""All of them. The last ones are about states between reads: to break one is not yet to corrupt or leak."""

DEFAULT = tuple(p.name for p in PROPERTIES.values() if p.end_to_end)


def bits_of(names: Iterable[str]) -> int:
    """Return the bits of properties by name; FpstateError for an unknown one."""
    bits = 0
    for name in names:
        if name not in PROPERTIES:
            raise unknown_name("property", name, PROPERTIES)
        bits |= PROPERTIES[name].bit
    return bits


def first_name(bits: int) -> str:
    """Return the gravest property among `bits`: a leak before a corruption, since every leak is one."""
    order = ("memory-safety", "trap-sanity", "vector-length", "mode-bits", "confidentiality", *PROPERTIES)
    return next(name for name in order if PROPERTIES[name].bit & bits)
