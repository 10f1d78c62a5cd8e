"""A trace: what happened on a real kernel, in columns, with a header that says what was not seen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpstate.errors import FpstateError
from fpstate.world.events import Event

UNLESS_RELOADED = -2
"""`object` of an inferred RET_TO_USER, where reloads are recorded and none was: if one was due, it did not happen."""
IF_SILENT = -3
"""`object`, while a trace is imported, of a possible run in user mode: none if the thread was in a system call."""

UNLESS_PREEMPTIBLE = -4
"""`object` of a KERNEL_NEON_END put in where a section was preempted: kernels in which it cannot be end it there.

The end it had is for the others: its object is IF_PREEMPTIBLE.
"""
IF_PREEMPTIBLE = LEAST_OBJECT = -5


_SWITCHING = (
    Event.THREAD_SWITCH, Event.RUN_ENTER, Event.VCPU_LOAD, Event.GUEST_ENTER,
    Event.KERNEL_NEON_BEGIN, Event.SOFTIRQ_NEON_BEGIN,
)  # fmt: skip
"""Events without which no policy has anything to do."""


def version_of(kernel: str) -> tuple[int, int]:
    """Return the version in the name of a Linux release, such as 6.12.118+deb13-arm64; (0, 0) if it has none."""
    found = re.match(r"(\d{1,3})\.(\d{1,4})", kernel)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class Kind(IntEnum):
    """What a context is."""

    IDLE = 0  # one per CPU, thread id 0
    KTHREAD = 1  # never runs in user mode
    USER = 2
    VCPU = 3  # a guest's FP state; `owner` is the thread that runs it


@dataclass(frozen=True)
class Contexts:
    """Every thread and vCPU of a trace; its row number is the `subject` or `object` of events.

    A thread id that is reused after exit is a new context. Idle threads come first, one per CPU: row c is CPU c's.
    """

    kind: NDArray[np.uint8]
    tid: NDArray[np.int32]  # thread id; of a vCPU: that of the thread that runs it
    owner: NDArray[np.int32]  # of a vCPU: the context of that thread; else -1
    name: list[str]

    def __len__(self) -> int:
        return len(self.kind)

    def label(self, i: int) -> str:
        """Return what a person would call context `i`, like `vmm-107` or `vcpu of vmm-107`."""
        if i < 0:
            return "-"
        name = f"{self.name[i]}-{self.tid[i]}"
        return f"vcpu of {name}" if self.kind[i] == Kind.VCPU else name


@dataclass
class Header:
    """What is known about a recording itself."""

    source: str  # file it was imported from
    format: str  # "ftrace", "trace-cmd report", "perf script", "trace.dat", "generated"
    kernel: str = ""  # version, empty when the recording does not say
    mode: str = ""  # "vhe", "nvhe", or empty
    clock: str = ""
    arch: str = ""  # "arm64", or another machine by the name uname has for it; empty when nothing tells
    cpus: int = 0
    lines: int = 0  # lines (or records) read
    observed: list[str] = field(default_factory=list)  # names of recorded events and functions that occur
    unobserved: list[str] = field(default_factory=list)  # sentences: what could not be seen, and what follows
    ignored: dict[str, int] = field(default_factory=dict)  # event name -> lines that mean nothing here
    lost: list[dict[str, Any]] = field(default_factory=list)  # {"cpu", "events" (0: unknown), "line"}
    holes: list[dict[str, Any]] = field(default_factory=list)  # {"kind" (`holes.HOLES`), "times", "line": the first}
    missing: list[str] = field(default_factory=list)  # what the recorder could not record, as the recording says
    sorted: bool = False  # time ran backwards across CPUs and lines were put in order


@dataclass
class Trace:
    """The columns, one row per event, in order of time; about 23 bytes an event.

    `event` holds a `world.events.Event` (below 64) or a `Truth` (64 and up). Events on one CPU are in that CPU's order,
    and all are a path of the world: each is one that `paths.order` allows where it stands.
    """

    time: NDArray[np.int64]  # nanoseconds of the recorder's clock
    cpu: NDArray[np.uint16]
    event: NDArray[np.uint8]
    subject: NDArray[np.int32]  # context
    object: NDArray[np.int32]  # context, or -1
    line: NDArray[np.uint32]  # line of the source this row comes from, 0 when there is none: it fills a hole
    contexts: Contexts
    header: Header

    def __len__(self) -> int:
        return len(self.event)

    def about(self) -> dict[str, Any]:
        """Return what results say of the trace they are about: `trace` in docs/json.md."""
        h = self.header
        about = {"source": h.source, "events": len(self), "unobserved": h.unobserved}
        return about | {"lost": h.lost, "holes": h.holes, "arch": h.arch}

    def shows_switching(self) -> bool:
        """Return whether a line, not a hole, shows a thread switch, a guest run or use of FP in the kernel."""
        shown = np.isin(self.event, _SWITCHING)
        return bool((shown & (self.line > 0)).any() if self.header.holes else shown.any())

    def refuse_idle(self) -> None:
        """Raise FpstateError if no policy has anything to do: a table of them would be all zeros."""
        if not self.shows_switching():
            raise FpstateError(
                "shows no thread switch and no guest run: there is nothing to compare",
                expected="lines of sched_switch, kvm_entry or the like",
                where=self.header.source,
                hint="record it with sched:sched_switch, raw_syscalls and kvm",
            )
