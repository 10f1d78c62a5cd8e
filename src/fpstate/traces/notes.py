"""The sentences of a header about what a recording could not show, and what follows from that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpstate.traces.events import known
from fpstate.traces.lines import scan
from fpstate.traces.lines.codes import TRUTHS
from fpstate.traces.lines.sniff import Beginning
from fpstate.world.events import Event

_USER_FP = (
    "Whether a task used FP in user mode cannot be recorded: each return to user mode may be followed by it "
    f"({Event.USER_FP_MAYBE.name})."
)


def unobserved(
    found: Beginning,
    counts: dict[str, int],
    facts: NDArray[np.int64],
    scanned: NDArray[np.int64],
    lost: list[dict[str, Any]],
    cut: bool,
    told: int,
) -> list[str]:
    """Return the sentences for a finished import.

    `counts` are lines by event name, `facts` those of `Known`, `scanned` those of the scanner;
    `cut` says that the last line was incomplete; `told` tasks made no system call though those were recorded.
    """
    sentences = (
        *_losses(lost, cut),
        *found.said,
        _guessed(found, facts),
        *_clocks(scanned),
        *_switches(counts, scanned),
        *_users(counts, facts, scanned),
        _silent(told),
        *_guests(found, counts, facts),
        *_neon(counts, facts),
        _truths(counts),
    )
    return [sentence for sentence in sentences if sentence]


def _times(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _losses(lost: list[dict[str, Any]], cut: bool) -> list[str]:
    overwritten = sum(int(loss["events"]) for loss in lost if loss["cpu"] < 0)
    lost = [loss for loss in lost if loss["cpu"] >= 0]
    events = sum(int(loss["events"]) for loss in lost)
    return [
        f"The recorder lost events that came first ({overwritten}, overwritten by later ones): the trace begins later."
        if overwritten
        else "",
        f"The recorder lost events ({events or 'an unknown number'} in {_times(len(lost), 'place')}): "
        "what happened there is missing."
        if lost
        else "",
        "The last line is cut short and was left out." if cut else "",
    ]


def _guessed(found: Beginning, facts: NDArray[np.int64]) -> str:
    """Return the sentence of what the recording should say and does not, so that it was guessed."""
    guesses = [
        "the number of CPUs (the highest that a line names)" if not found.cpus else "",
        "the machine (arm64, for the numbers of system calls)" if not found.arch and found.by_number else "",
        "the clock (one that counts from boot)" if not found.facts.get("clock") and facts[known.SYSCALLS] else "",
    ]
    text = ", ".join(filter(None, guesses))
    return f"Not said by the recording, and guessed: {text}." if text else ""


def _clocks(scanned: NDArray[np.int64]) -> list[str]:
    ticks = "Times are ticks of a counter, taken as nanoseconds: durations and delays mean nothing."
    return [ticks if scanned[scan.TICKS] else ""]


def _silent(told: int) -> str:
    if not told:
        return ""
    who = "1 task makes" if told == 1 else f"{told} tasks make"
    return (
        f"{who} no system call in the trace: told from kernel threads by name, with a possible return to user mode at "
        f"each switch to it ({Event.RET_TO_USER_MAYBE.name})."
    )


def _switches(counts: dict[str, int], scanned: NDArray[np.int64]) -> list[str]:
    return [
        "" if counts.get("sched_switch") else "Thread switches (sched_switch) were not recorded.",
        "sched_switch was printed without the + of a preempted task: some vCPUs that waited for their mutex "
        "are taken to have been loaded."
        if scanned[scan.SHORT_SWITCH] and counts.get("kvm_entry")
        else "",
    ]


def _users(counts: dict[str, int], facts: NDArray[np.int64], scanned: NDArray[np.int64]) -> list[str]:
    syscalls = bool(facts[known.SYSCALLS])
    unflagged = scanned[scan.FLAGGED] < scanned[scan.EVENTS]
    signals = counts.get("signal_deliver") or facts[known.MARKS]
    return [
        "" if facts[known.USER_RUNS] else _USER_FP,
        ""
        if syscalls
        else "System calls were not recorded: returns to user mode are only possible ones, at each switch to a task "
        f"({Event.RET_TO_USER_MAYBE.name}), and kernel threads were told from user tasks by their names.",
        "" if signals else "Signals were not recorded.",
        "Lines have no flags column: whether a task was to be rescheduled on its way to user mode is not known."
        if unflagged and syscalls
        else "",
    ]


def _guests(found: Beginning, counts: dict[str, int], facts: NDArray[np.int64]) -> list[str]:
    if not facts[known.ANY_RUN]:
        return []
    binds = bool(facts[known.BINDS])
    unknown = int(facts[known.UNKNOWN_USE])
    return [
        f"No line shows whether a guest used FP in {unknown} of {_times(int(facts[known.ANY_RUN]), 'guest run')}: "
        f"it may have ({Event.GUEST_FP_MAYBE.name})."
        if unknown
        else "",
        f"After a guest's first use of FP since a load, its later runs may use it unseen ({Event.GUEST_FP_MAYBE.name})."
        if binds and not facts[known.GUEST_RUNS]
        else "",
        "No fpsimd_bind_state_to_cpu line: the guests are taken to have used no FP."
        if found.binds and not binds and counts.get("kvm_arch_vcpu_ctxsync_fp")
        else "",
        f"{_times(int(facts[known.IN_GUEST]), 'guest run')} under way already at the first line."
        if facts[known.IN_GUEST]
        else "",
    ]


def _neon(counts: dict[str, int], facts: NDArray[np.int64]) -> list[str]:
    if not counts.get("kernel_neon_begin"):
        return ["No kernel_neon_begin line: use of FP in the kernel is not in the trace, if there was any."]
    plain = "Lines have no flags column: all use of FP in the kernel is taken to be the current task's."
    return [plain if facts[known.PLAIN_NEON] else ""]


def _truths(counts: dict[str, int]) -> str:
    if any(counts.get(name) for name in TRUTHS):
        return ""
    return "No line shows what the kernel did about FP state: predictions cannot be compared with it."
