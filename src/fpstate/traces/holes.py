"""Holes: places where a recording lacks something that must have happened, since the world has no other way on.

An import fills each hole with what is certain to have happened there, so that a trace is a path of the world and no
policy is blamed for what the recorder left out. Events filled in have line 0.
"""

from __future__ import annotations

from typing import Any, Final

SWITCH, MOVED, SYSCALL, RETURN, GUEST, NEON, HOTPLUG, LEFT_OUT = range(8)
"""Kinds of holes; see HOLES."""

HOLES: Final = {
    "switch": "a CPU goes on with another thread, and no switch to it was recorded",
    "moved": "a thread goes on while another CPU still ran it: it was taken to have been switched out there",
    "syscall": "a thread in user mode does what only a system call can do, and none was recorded",
    "return": "a thread does what only user mode can do, and nothing shows its return there",
    "guest": "part of a KVM_RUN was not recorded: a guest entry or exit, vcpu_load or vcpu_put, its beginning or end",
    "neon": "the beginning or the end of a use of FP in the kernel was not recorded",
    "hotplug": "a CPU that is down goes on, or one that is not idle goes down",
    "left_out": "what a line says cannot have happened there at all: it was left out",
}
"""What each kind of hole is, by its name in a header, in the order of the numbers above."""
HOW_OFTEN, FIRST_LINE = 0, 1


def listed(counts: list[list[int]]) -> list[dict[str, Any]]:
    """Return holes as a header has them, `kind`, `times` and `line` of the first, from the counts of an import."""
    named = zip(HOLES, counts, strict=True)
    return [{"kind": kind, "times": n[HOW_OFTEN], "line": n[FIRST_LINE]} for kind, n in named if n[HOW_OFTEN]]


def sentences(holes: list[dict[str, Any]]) -> list[str]:
    """Return one sentence for each kind of hole in a header."""
    said = []
    for hole in holes:
        often = "once, at" if hole["times"] == 1 else f"{hole['times']:,} times, first at"
        said.append(f"Hole ({hole['kind']}): {HOLES[hole['kind']]}; {often} line {hole['line']}.")
    return said
