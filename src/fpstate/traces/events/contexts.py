"""The contexts at the end of a trace: which tasks are kernel threads, and the order the columns refer to."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fpstate.traces.events.known import (
    CONTEXTS,
    FIRST_SEEN,
    IDLE,
    INSIDE,
    KIND,
    KTHREAD_FOR_SURE,
    NAME,
    OWNER,
    PARENT,
    TID,
    USER,
    Known,
)
from fpstate.traces.events.meaning import KTHREADD
from fpstate.traces.trace import IF_SILENT, LEAST_OBJECT, Contexts, Kind
from fpstate.world.events import Event

_KTHREAD_NAME = re.compile(
    r"kthreadd$|(?:kworker|ksoftirqd|ktimersd?|migration|cpuhp|rcu[a-z]*|idle_inject|irq|jbd2|card\d+-crtc\d+|"
    r"scsi_[a-z]+_\d+|xfs|sugov|kschedfreq|mmcqd|ext4|btrfs)[/_:-]|"
    r"rcu_|usb-storage|kinteractive|smem_native_|dhd_|(?:khungtaskd|"
    r"khugepaged|kcompactd\d*|kswapd\d*|ksmd|kauditd|kdevtmpfs|oom_reaper|writeback|kdamond\.\d+|"
    r"watchdogd?(?:/\d+)?|kthrotld|kblockd|netns|psimon|spi\d+|loop\d+|hwrng|vhost-\d+|kvm-[a-z-]+|kthread.*)$"
)
_USER_EVENTS = (
    Event.RET_TO_USER, Event.RET_TO_USER_MAYBE, Event.USER_FP, Event.USER_FP_MAYBE, Event.USER_SVE, Event.SYSCALL,
    Event.INTERRUPT, Event.FORK, Event.EXIT,
)  # fmt: skip
"""Events that only user tasks have. A kernel thread forks and exits too, but has no FP state of its own to copy."""


@dataclass(frozen=True)
class Found:
    """Contexts in the order they were met.

    `place[i]` is the row of context i in a `Contexts`; `inside[i]` says that it was in the kernel when it was first
    seen to do anything: it did not run in user mode before. `told` is how many were told to be user tasks by their
    names alone, although system calls were recorded.
    """

    contexts: Contexts
    place: NDArray[np.int32]
    inside: NDArray[np.bool_]
    told: int = 0


def is_kthread_name(name: str) -> bool:
    """Return whether a thread with this comm is most likely a kernel thread."""
    return _KTHREAD_NAME.match(name) is not None


def found_contexts(m: Known, names: list[str], cpus: int, syscalls: bool) -> Found:
    """Return the contexts of a finished scan; `names` are the comms by number.

    A CPU whose idle thread was not met gets one. Threads are told by what only user tasks do, by a wait that only
    kernel threads do, by who forked them, and where nothing else tells, by their comm.
    """
    n = int(m.facts[CONTEXTS])
    missing = [c for c in range(cpus) if m.cpu[c, IDLE] < 0]
    comm = _comms(m, n, names)
    kind, told = _kinds(m, n, comm)
    total = n + len(missing)
    met = np.flatnonzero(m.cpu[:cpus, IDLE] >= 0)
    idle = np.concatenate([m.cpu[met, IDLE], np.arange(n, total)]).astype(np.int32)
    idle_cpu = np.concatenate([met, np.array(missing, np.int64)])
    contexts = Contexts(
        np.concatenate([kind, np.zeros(len(missing), np.uint8)]),
        np.concatenate([m.context[:n, TID].astype(np.int32), np.zeros(len(missing), np.int32)]),
        np.concatenate([m.context[:n, OWNER].astype(np.int32), np.full(len(missing), -1, np.int32)]),
        comm + [""] * len(missing),
    )
    for context, c in zip(idle.tolist(), idle_cpu.tolist(), strict=True):
        contexts.name[context] = f"swapper/{c}"
    inside = np.concatenate([m.context[:n, FIRST_SEEN] == INSIDE, np.zeros(len(missing), bool)])
    return Found(contexts, _places(total, idle, idle_cpu), inside, told if syscalls else 0)


def _comms(m: Known, n: int, names: list[str]) -> list[str]:
    table = [*names, "<...>"]  # -1: a thread no line names
    comm = [table[i] for i in m.context[:n, NAME].tolist()]
    owners = m.context[:n, OWNER].tolist()
    return [comm[owner] if owner >= 0 else name for name, owner in zip(comm, owners, strict=True)]


def _kinds(m: Known, n: int, comm: list[str]) -> tuple[NDArray[np.uint8], int]:
    """Return what each context is, and how many user tasks were told by their names."""
    told = 0
    kind = m.context[:n, KIND].astype(np.uint8)
    user = (m.context[:n, USER] == 1).tolist()
    sure = (m.context[:n, USER] == KTHREAD_FOR_SURE).tolist()
    tids, parents = m.context[:n, TID].tolist(), m.context[:n, PARENT].tolist()
    for i in np.flatnonzero(kind == Kind.USER).tolist():
        parent = parents[i]
        if user[i] or sure[i]:
            continue
        if parent >= 0 and tids[parent] != KTHREADD:
            user[i] = user[parent]
        elif parent < 0:
            user[i] = not is_kthread_name(comm[i])
            told += user[i]
    threads = kind == Kind.USER
    kind[threads & ~np.array(user, bool)] = Kind.KTHREAD
    return kind, told


def _places(total: int, idle: NDArray[np.int32], idle_cpu: NDArray[np.int64]) -> NDArray[np.int32]:
    place = np.full(total, -1, np.int32)
    place[idle] = idle_cpu
    rest = np.flatnonzero(place < 0)
    place[rest] = np.arange(len(idle), total, dtype=np.int32)
    return place


def in_order(found: Found) -> Contexts:
    """Return the contexts with idle threads first, as a `Trace` has them."""
    where = np.argsort(found.place, kind="stable")
    c = found.contexts
    owner = c.owner[where]
    owner[owner >= 0] = found.place[owner[owner >= 0]]
    names = [c.name[i] for i in where.tolist()]
    return Contexts(c.kind[where], c.tid[where], owner, names)


def moved(found: Found, column: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return a `subject` or `object` column that refers to the contexts `in_order`."""
    if not len(found.place):
        return column
    none = np.arange(LEAST_OBJECT, 0, dtype=np.int32)  # negative numbers count from the end, and find themselves
    return np.concatenate([found.place, none])[column]


def not_happened(
    found: Found, event: NDArray[np.uint8], subject: NDArray[np.int32], obj: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Return which rows did not happen after all, now that all is known of each thread.

    These are what only user tasks do, of kernel threads; and possible runs in user mode of threads in a system call.
    """
    chosen = np.zeros(256, bool)
    chosen[list(_USER_EVENTS)] = True
    rows = chosen[event]
    rows[rows] = found.contexts.kind[subject[rows]] == Kind.KTHREAD
    perhaps = np.flatnonzero(obj == IF_SILENT)
    rows[perhaps] |= found.inside[subject[perhaps]]
    return rows
