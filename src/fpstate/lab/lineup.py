"""The emulator's log and the kernel's trace as one: each stay in user mode or in a guest gets its line.

Every line of the trace was written by a function whose calls the emulator logged. Both are in the order of their CPU,
and on each CPU the line of the mark (payload/init.c) says where they meet. So a stay between the nth and the next call
lies between their lines. It gets the time of the line before it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from fpstate.errors import FpstateError
from fpstate.lab.emulator import CpuLog, Stay, Watched, Where
from fpstate.lab.kernel import Kernel, Symbols, decisions
from fpstate.lab.recipe import Recipe

MARK = "tracing_mark_write"
_HEAD = re.compile(r"\s*(.*)-(\d+) +\[(\d+)\] +\S+ +(\d+\.\d+): ([^ :]+):?")
_NEXT = re.compile(r"next_comm=(.*) next_pid=(\d+) ")
_RETURNERS = ("do_notify_resume", "exit_to_user_mode_prepare")
_RESCHEDULER, _RESTORER = "schedule", "fpsimd_restore_current_state"
"""What sees to FP state on the way to user mode (arch/arm64/kernel/signal.c v6.1, entry-common.c later)."""
_WITHOUT = "--no-emulator captures without it"
_TURNS = {"sched_switch", "fpsimd_preserve_current_state", "signal_deliver", "sched_process_exit"}
_STALES = {"sched_switch", "kernel_neon_begin"}
_SHARED = {"sched_process_exit": "trace_event_raw_event_sched_process_template"}
"""Writers that several events share, until they have one of their own (sched_process_exit's tells group_dead)."""


def addresses(kernel: Kernel, symbols: Symbols, recipe: Recipe) -> tuple[list[int], Watched]:
    """Return the addresses to watch, and what they stand for."""
    places = {name: _place(symbols, name, function) for name, function in _writers(recipe).items()}
    found = {name: address for name, address in places.items() if address is not None}
    if MARK not in found:
        raise FpstateError(
            f"the kernel has no function {MARK}", expected="it, to line up the emulator's log", hint=_WITHOUT
        )
    passes, checks = (_deciding(kernel, symbols, callee) for callee in (_RESCHEDULER, _RESTORER))
    n, k = len(found), len(found) + len(passes)
    turns, stales = (frozenset(i for i, name in enumerate(found) if name in names) for names in (_TURNS, _STALES))
    restorer = list(found).index(_RESTORER) if _RESTORER in found else -1
    watched = Watched(
        tuple(found), frozenset(range(n, k)), frozenset(range(k, k + len(checks))), turns, stales, restorer
    )
    return [*found.values(), *passes, *checks], watched


def _deciding(kernel: Kernel, symbols: Symbols, callee: str) -> list[int]:
    return [address for caller in _RETURNERS for address in decisions(kernel, symbols, caller, callee)]


def _place(symbols: Symbols, name: str, function: str) -> int | None:
    """Return the address of the function that writes the lines of a name, or None."""
    own = symbols.address(function)
    return symbols.address(_SHARED[name]) if own is None and name in _SHARED else own


def _writers(recipe: Recipe) -> dict[str, str]:
    """Return the kernel function to watch for each name of a line: the function itself, or the event's writer.

    Probes have none: their line follows one that has.
    """
    names = [event.partition("/")[2] for event in recipe.events]
    events = {name: f"trace_event_raw_event_{name}" for name in names}
    return {MARK: MARK, **events, **{name: name for name in recipe.functions}}


@dataclass
class _Cpu:
    """The lines of one CPU: their indices in the trace, and of those that were watched the number of the writer."""

    lines: list[int] = field(default_factory=list)
    watched: list[tuple[int, int]] = field(default_factory=list)  # (place in `lines`, writer)
    tids: list[str] = field(default_factory=list)  # the thread that runs after each line
    who: list[str] = field(default_factory=list)  # the same, as comm-tid
    times: list[str] = field(default_factory=list)
    mark: int = -1  # place in `watched`


def lined_up(trace: list[str], logs: list[CpuLog], watched: Watched) -> list[str]:
    """Return the lines of the trace with a `user_run`, `guest_run` or `almost_user` line for every stay.

    Raise FpstateError where the trace and the logs disagree.
    """
    names = list(watched.names)
    cpus = _by_cpu(trace, len(logs), {name: i for i, name in enumerate(names)})
    added: dict[int, list[str]] = {}
    for log, cpu in zip(logs, cpus, strict=True):
        if not cpu.watched:
            continue
        first = _meet(log, cpu, names.index(MARK))
        _check(trace, log, cpu, first, names)
        for calls, stay in log.stays:
            place = calls - first  # so many watched lines come before it
            if 0 < place < len(cpu.watched):
                at = cpu.watched[place][0] - 1
                added.setdefault(cpu.lines[at], []).append(_line(cpu, at, log.cpu, stay))
    return [line for i, old in enumerate(trace) for line in (old, *added.get(i, ()))]


def _by_cpu(trace: list[str], n: int, numbers: dict[str, int]) -> list[_Cpu]:
    cpus = [_Cpu() for _ in range(n)]
    comms: dict[str, str] = {}
    for i, line in enumerate(trace):
        if line.startswith("#") or not (head := _HEAD.match(line)):
            continue
        comm, tid, number, time, name = head.groups()
        cpu = cpus[int(number)]
        if comm != "<...>":
            comms[tid] = comm
        if name == "sched_switch" and (found := _NEXT.search(line)):
            now = found[2]
            comms[now] = found[1]
        else:
            now = cpu.tids[-1] if cpu.tids else tid
        if name in numbers:
            if name == MARK:
                cpu.mark = len(cpu.watched)
            cpu.watched.append((len(cpu.lines), numbers[name]))
        cpu.lines.append(i)
        cpu.times.append(time)
        cpu.tids.append(now)
        cpu.who.append(f"{comms.get(now, '<...>'):>16}-{now:<7}")
    return cpus


def _meet(log: CpuLog, cpu: _Cpu, mark: int) -> int:
    """Return the number of calls before the one that wrote the first watched line."""
    marks = [i for i, number in enumerate(log.called) if number == mark]
    if cpu.mark < 0 or len(marks) != 1:
        raise FpstateError(
            f"CPU {log.cpu} has {int(cpu.mark >= 0)} marks in the trace and {len(marks)} in the emulator's log",
            expected="one of each",
            hint=_WITHOUT,
        )
    return marks[0] - cpu.mark


def _check(trace: list[str], log: CpuLog, cpu: _Cpu, first: int, names: list[str]) -> None:
    """Raise FpstateError unless each line has its call; an interrupt may swap two between the same stays."""
    lines = [number for _, number in cpu.watched]
    calls = log.called[first : first + len(lines)] if first >= 0 else []
    if lines == calls:
        return
    borders = [0, *sorted({n - first for n, _ in log.stays if 0 < n - first < len(lines)}), len(lines)]
    for a, b in pairwise(borders):
        if lines[a:b] == calls[a:b] or (b < len(lines) and Counter(lines[a:b]) == Counter(calls[a:b])):
            continue
        if b == len(lines) and not Counter(lines[a:b]) - Counter(log.called[first + a : first + b + 8]):
            continue  # the end, where the recorder stops in the middle
        wrong = next((i for i in range(a, b) if lines[i : i + 1] != calls[i : i + 1]), a)
        at = cpu.lines[cpu.watched[wrong][0]]
        seen = names[calls[wrong]] if wrong < len(calls) else "nothing"
        raise FpstateError(
            f"the emulator's log does not fit the trace on CPU {log.cpu}: `{trace[at].strip()}`",
            expected=f"a line of {seen}",
            hint=_WITHOUT,
        )


def _line(cpu: _Cpu, at: int, number: int, stay: Stay) -> str:
    """Return the line of a stay: like the kernel's own, with the thread the CPU runs."""
    fields = f" fp={int(stay.fp or stay.sve)} sve={int(stay.sve)} traps={stay.traps}"
    what = f"{stay.where.value}:{'' if stay.where is Where.ALMOST_USER else fields}"
    return f"{cpu.who[at]} [{number:03}] ..... {cpu.times[at]:>12}: {what}"
