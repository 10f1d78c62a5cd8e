"""The emulator's log and the kernel's trace as one: each stay in user mode or in a guest gets its line.

Every line of the trace was written by a function whose calls the emulator logged. Both are in the order of their CPU,
but for what interrupts have overtaken (`spells`), and on each CPU the line of the mark (payload/init.c) says where they
meet. So a stay between the nth and the next call lies between their lines. It gets the time of the line before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from fpstate.errors import FpstateError
from fpstate.lab.emulator import CpuLog, Stay, Watched, Where
from fpstate.lab.kernel import Kernel, Symbols, decisions, opened
from fpstate.lab.recipe import Recipe
from fpstate.lab.spells import Mark, MismatchError, Spell, placed, spells, turn_back

MARK = "tracing_mark_write"
SWITCH, _SWITCHED = "sched_switch", "fpsimd_thread_switch"
_LOADS, _PUTS = "kvm_arch_vcpu_load", "kvm_arch_vcpu_put"
_HEAD = re.compile(r"\s*(.*)-(\d+) +\[(\d+)\] +\S+ +(\d+\.\d+): ([^ :]+):?")
_NEXT = re.compile(r"next_comm=(.*) next_pid=(\d+) ")
_RETURNERS = ("do_notify_resume", "exit_to_user_mode_prepare", "exit_to_user_mode_loop", "irqentry_exit")
_RESCHEDULER, _RESTORER = "schedule", "fpsimd_restore_current_state"
"""What sees to FP state on the way to user mode (arch/arm64/kernel/signal.c v6.1, kernel/entry/common.c later)."""
_WITHOUT = "--no-emulator captures without it"
_TURNS = {"sched_switch", "fpsimd_preserve_current_state", "signal_deliver", "sched_process_exit"}
_FLUSHES = "fpsimd_save_and_flush_current_state", "fpsimd_save_and_flush_cpu_state", "fpsimd_flush_task_state"
_STALES = {"sched_switch", "kernel_neon_begin", *_FLUSHES}
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
    passes = [opened(kernel, symbols, f, at) for f, at in _deciding(kernel, symbols, _RESCHEDULER)]
    checks = [at for _, at in _deciding(kernel, symbols, _RESTORER)]
    n, k = len(found), len(found) + len(passes)
    turns, stales = (frozenset(i for i, name in enumerate(found) if name in names) for names in (_TURNS, _STALES))
    restorer = list(found).index(_RESTORER) if _RESTORER in found else -1
    watched = Watched(
        tuple(found), frozenset(range(n, k)), frozenset(range(k, k + len(checks))), turns, stales, restorer
    )
    return [*found.values(), *passes, *checks], watched


def _deciding(kernel: Kernel, symbols: Symbols, callee: str) -> list[tuple[str, int]]:
    """Return the branches that decide about a call on the way to user mode, each with the function it is in."""
    return [(caller, at) for caller in _RETURNERS for at in decisions(kernel, symbols, caller, callee)]


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


class StaleCodeError(FpstateError):
    """The emulator went on with a translation of code that the kernel had patched: chance, gone when done again.

    QEMU 7.2 reads code before it write-protects its page.
    """


@dataclass
class _Cpu:
    """The lines of one CPU: their indices in the trace, and of those that were watched the number of the writer."""

    lines: list[int] = field(default_factory=list)
    watched: list[tuple[int, int]] = field(default_factory=list)  # (place in `lines`, writer)
    tids: list[str] = field(default_factory=list)  # the thread that runs after each line
    who: list[str] = field(default_factory=list)  # the same, as comm-tid
    times: list[str] = field(default_factory=list)
    mark: int = -1  # place in `watched`

    def index(self, place: int) -> int:
        """Return the index in the trace of a line that was watched."""
        return self.lines[self.watched[place][0]]

    def thread(self, place: int) -> str:
        """Return the thread that runs after a line that was watched; each CPU's idle thread is one of its own."""
        tid = self.tids[self.watched[place][0]]
        return tid if tid != "0" else f"0 of CPU {id(self)}"


def lined_up(trace: list[str], logs: list[CpuLog], watched: Watched) -> list[str]:
    """Return the lines of the trace with a `user_run`, `guest_run` or `almost_user` line for every stay.

    Raise StaleCodeError if the emulator did not run what the kernel had patched, and FpstateError where the trace and
    the logs disagree.
    """
    names = list(watched.names)
    cpus = _by_cpu(trace, len(logs), {name: i for i, name in enumerate(names)})
    _check_patched(cpus, names)
    added: dict[int, list[str]] = {}
    try:
        every = [spell for log, cpu in zip(logs, cpus, strict=True) for spell in _spells(log, cpu, names)]
        owed: dict[str, int] = {}  # by thread: the call that it is in, with its line to come
        for spell in sorted(every, key=lambda spell: cpus[spell.cpu].index(spell.start)):
            cpu = cpus[spell.cpu]
            who = cpu.thread(spell.start)
            before = owed.pop(who, None)
            if before is not None and before == watched.restorer:
                turn_back(spell, watched.turns)
            found, now = placed(spell, before)
            if now is not None:
                owed[who] = now
            for lines, stay in found:
                place = spell.start + lines  # so many watched lines come before it
                if 0 < place < len(cpu.watched):
                    at = cpu.watched[place][0] - 1
                    added.setdefault(cpu.lines[at], []).append(_line(cpu, at, spell.cpu, stay))
    except MismatchError as wrong:
        raise FpstateError(
            f"the emulator's log does not fit the trace on CPU {wrong.cpu}: "
            f"`{trace[cpus[wrong.cpu].index(wrong.place)].strip()}`",
            expected=f"a line of {names[wrong.expected] if wrong.expected >= 0 else 'nothing'}",
            hint=_WITHOUT,
        ) from None
    return [line for i, old in enumerate(trace) for line in (old, *added.get(i, ()))]


def _check_patched(cpus: list[_Cpu], names: list[str]) -> None:
    """Raise StaleCodeError if what the kernel patches its scheduler to do was not done.

    Threads were switched and no line says so; or a CPU loads a vCPU without having put the one before, or puts one that
    it has not loaded: the notifiers that do so when its thread is switched are patched in with the first VM.
    """
    seen = {names[name] for cpu in cpus for _, name in cpu.watched}
    if _SWITCHED in seen and SWITCH not in seen:
        raise StaleCodeError(f"the recording has no line of {SWITCH}", expected="one for each", hint="capture again")
    for number, cpu in enumerate(cpus):
        both = [names[n] for _, n in cpu.watched if names[n] in (_LOADS, _PUTS)]
        twice = next((one for one, two in pairwise(both) if one == two), None)
        if twice is not None:
            lacking = _PUTS if twice == _LOADS else _LOADS
            given = f"the recording has no line of {lacking} between two of {twice} on CPU {number}"
            raise StaleCodeError(given, expected="one", hint="capture again")


def _spells(log: CpuLog, cpu: _Cpu, names: list[str]) -> list[Spell]:
    """Return the spells of a CPU; none if it wrote no line."""
    if not cpu.watched:
        return []
    marks = [i for i, name in enumerate(log.called) if names[name] == MARK]
    if cpu.mark < 0 or len(marks) != 1:
        raise FpstateError(
            f"CPU {log.cpu} has {int(cpu.mark >= 0)} marks in the trace and {len(marks)} in the emulator's log",
            expected="one of each",
            hint=_WITHOUT,
        )
    lines = [name for _, name in cpu.watched]
    begins = [0, *(i for i in range(cpu.mark) if names[lines[i]] == SWITCH)]
    who = cpu.thread(cpu.mark)
    before = [n for n, place in enumerate(begins) if cpu.thread(place) == who]
    return spells(log, lines, names.index(SWITCH), Mark(cpu.mark, marks[0], before[::-1]))


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
        if name == SWITCH and (found := _NEXT.search(line)):
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


def _line(cpu: _Cpu, at: int, number: int, stay: Stay) -> str:
    """Return the line of a stay: like the kernel's own, with the thread the CPU runs."""
    fields = f" fp={int(stay.fp or stay.sve)} sve={int(stay.sve)} traps={stay.traps}"
    what = f"{stay.where.value}:{'' if stay.where is Where.ALMOST_USER else fields}"
    return f"{cpu.who[at]} [{number:03}] ..... {cpu.times[at]:>12}: {what}"
