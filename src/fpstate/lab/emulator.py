"""The emulator's log of one CPU: which functions were called, and between them each stay in user mode or in a guest.

Lines come from QEMU's `-d int` (target/arm/helper.c, arm_log_exception and helper_exception_return) and from the plugin
(payload/plugin.c), in one file per thread, so in the order in which the CPU went through them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from fpstate.errors import FpstateError

FP_TRAP, SVE_TRAP = 0x07, 0x19
"""Exception classes (Arm ARM, ESR_ELx.EC): an FP or SIMD access that was trapped, an SVE access that was trapped."""

_TOKEN = re.compile(
    rb"^(?:@A (?P<called>\d+)|@(?P<used>[FS])|Taking exception (?P<exception>\d+) \[.*\] on CPU (?P<cpu>\d+)"
    rb"|\.\.\.from EL(?P<origin>\d) to EL(?P<target>\d)|\.\.\.with ESR 0x(?P<ec>[0-9a-f]+)/"
    rb"|Exception return from AArch\d\d EL\d to AArch\d\d EL(?P<el>\d) PC 0x(?P<pc>[0-9a-f]+))",
    re.M,
)
_INTERRUPTS = {5, 6, 14, 15, 24}  # QEMU's EXCP_IRQ, FIQ, VIRQ, VFIQ, VSERR: the ESR printed is an old one
_GUESTS = range(0x20000000, 0x40000000)  # where payload/vmm.c puts guest code, and the host has no RAM


class Where(Enum):
    """Where a CPU was outside the kernel, or was about to be."""

    USER = "user_run"
    GUEST = "guest_run"
    ALMOST_USER = "almost_user"  # the kernel had seen to FP state for user mode, and then did something else first


@dataclass
class Stay:
    """A time in user mode, or in a guest, between two calls of the functions watched; `fp` is use other than by SVE."""

    where: Where
    fp: bool = False
    sve: bool = False
    traps: int = 0  # accesses that trapped: of user mode by SVE, of a guest (to the hypervisor) by FP or SVE


@dataclass
class CpuLog:
    """What one CPU did: `called[i]` is a function's number; `stays` are (how many calls came before, the stay)."""

    cpu: int
    called: list[int] = field(default_factory=list)
    stays: list[tuple[int, Stay]] = field(default_factory=list)
    exceptions: Counter[tuple[bool, int]] = field(default_factory=Counter)
    """Synchronous exceptions by (of a guest, exception class)."""


@dataclass(frozen=True)
class Watched:
    """What the numbers of the plugin's lines stand for: `names[i]` writes lines of that name to the trace.

    On the way to user mode the kernel goes through its thread flags until none is left to serve. `passes` begin each
    time, with flags just read; `checks` decide whether FP state is loaded. Neither writes lines. After one of `turns`
    the kernel is not on its way to user mode any more; one of `stales` may have changed flags that a pass has read.
    What such a pass had read shows only in whether it calls the `restorer`.
    """

    names: tuple[str, ...]
    passes: frozenset[int]
    checks: frozenset[int]
    turns: frozenset[int]
    stales: frozenset[int]
    restorer: int  # -1: not watched


def read_logs(paths: Iterable[Path], cpus: int, watched: Watched) -> list[CpuLog]:
    """Return what each CPU did. Raise FpstateError if a CPU has no log."""
    logs = [log for path in paths if (log := read_log(path.read_bytes(), watched)) is not None]
    by_cpu = {log.cpu: log for log in logs}
    if sorted(by_cpu) != list(range(cpus)) or len(logs) != cpus:
        raise FpstateError(f"the emulator logged CPUs {sorted(log.cpu for log in logs)}", expected=f"{cpus} CPUs")
    return [by_cpu[cpu] for cpu in range(cpus)]


def read_log(text: bytes, watched: Watched) -> CpuLog | None:
    """Return what one thread's log says; None for a thread that runs no CPU."""
    log = CpuLog(-1)
    stay: Stay | None = None  # the one the CPU is in
    left: Stay | None = None  # the one an exception has just ended, until its class is known
    exception = 0
    fresh = checked = False
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "called":
            number = int(token["called"])
            if number >= len(watched.names):
                fresh = fresh or number in watched.passes
                checked = checked or (fresh and number in watched.checks)
                continue
            fresh = fresh and number not in watched.stales
            checked = checked or number == watched.restorer
            if checked and number in watched.turns:
                log.stays.append((len(log.called), Stay(Where.ALMOST_USER)))
                checked = False
            log.called.append(number)
        elif kind == "used":
            if stay is not None:
                stay.fp, stay.sve = stay.fp or token["used"] == b"F", stay.sve or token["used"] == b"S"
        elif kind == "cpu":
            exception, log.cpu, left = int(token["exception"]), int(token["cpu"]), None
        elif kind == "target":
            if stay is not None and not (
                stay.where is Where.GUEST and token["target"] == b"1"
            ):  # a guest's own handlers are the guest
                left, stay = stay, None
        elif kind == "ec":
            if left is not None and exception not in _INTERRUPTS:
                _left_by(log, left, int(token["ec"], 16))
            left = None
        else:
            stay = _entered(log, int(token["el"]), int(token["pc"], 16))
            checked = checked and (stay is None or stay.where is not Where.USER)
    return log if log.cpu >= 0 else None


def _entered(log: CpuLog, el: int, pc: int) -> Stay | None:
    """Return the stay that an exception return begins or goes on with; None if it stays in kernel or hypervisor."""
    if el == 2 or (el == 1 and pc not in _GUESTS):
        return None
    where = Where.USER if el == 0 else Where.GUEST
    if log.stays and log.stays[-1][0] == len(log.called) and log.stays[-1][1].where is where:
        return log.stays[-1][1]
    log.stays.append((len(log.called), Stay(where)))
    return log.stays[-1][1]


def _left_by(log: CpuLog, stay: Stay, ec: int) -> None:
    guest = stay.where is Where.GUEST
    log.exceptions[guest, ec] += 1
    if guest:
        stay.traps += ec in (FP_TRAP, SVE_TRAP)
    elif ec == SVE_TRAP:
        stay.traps += 1
        stay.sve = False  # it was told, and then it trapped; `fp` stays if another instruction used FP before
