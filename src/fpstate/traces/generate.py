"""Made-up traces: a seeded mix of VMs, FP tasks, integer tasks, kernel NEON and signals on some CPUs.

They are legal (every event may follow the one before it on its CPU) and repeatable from the seed; benchmarks and
property tests use them. Their FP uses are marked used or unknown at random.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import jit
from fpstate.traces.trace import Contexts, Header, Kind, Trace
from fpstate.world.events import Event

VMM: Final = 0  # what a thread does; threads take turns: 3 VMMs, 3 FP tasks, 1 integer task, 1 kernel thread
FP_TASK: Final = 1
INT_TASK: Final = 2
KTHREAD: Final = 3

_SWITCH: Final = int(Event.THREAD_SWITCH)
_RET: Final = int(Event.RET_TO_USER)
_USER_FP: Final = int(Event.USER_FP)
_USER_MAYBE: Final = int(Event.USER_FP_MAYBE)
_SYSCALL: Final = int(Event.SYSCALL)
_INTERRUPT: Final = int(Event.INTERRUPT)
_RUN_ENTER: Final = int(Event.RUN_ENTER)
_LOAD: Final = int(Event.VCPU_LOAD)
_ENTER: Final = int(Event.GUEST_ENTER)
_GUEST_FP: Final = int(Event.GUEST_FP)
_GUEST_MAYBE: Final = int(Event.GUEST_FP_MAYBE)
_EXIT: Final = int(Event.GUEST_EXIT)
_PUT: Final = int(Event.VCPU_PUT)
_RUN_EXIT: Final = int(Event.RUN_EXIT)
_NEON: Final = int(Event.KERNEL_NEON_BEGIN)
_NEON_END: Final = int(Event.KERNEL_NEON_END)
_SOFTIRQ: Final = int(Event.SOFTIRQ_NEON_BEGIN)
_SOFTIRQ_END: Final = int(Event.SOFTIRQ_NEON_END)
_SIGNAL: Final = int(Event.SIGNAL)
_SIGRETURN: Final = int(Event.SIGRETURN)


@jit
def _random(state: NDArray[np.int64], below: int) -> int:
    """Return the next number below `below` of a multiplicative generator modulo 2**31 - 1 (Park and Miller)."""
    state[0] = state[0] * 48271 % 2147483647
    return int(state[0] >> 8) % below


@jit
def _put(out: NDArray[np.int32], i: int, cpu: int, event: int, subject: int, object_: int) -> int:
    """Append one event if there is room; return the next place."""
    if i < len(out):
        out[i, 0] = cpu
        out[i, 1] = event
        out[i, 2] = subject
        out[i, 3] = object_
    return i + 1


@jit
def _user_run(out: NDArray[np.int32], i: int, cpu: int, t: int, fp_percent: int, state: NDArray[np.int64]) -> int:
    i = _put(out, i, cpu, _RET, t, -1)
    fp = _USER_FP if _random(state, 100) < fp_percent else _USER_MAYBE
    return _put(out, i, cpu, fp, t, -1)


@jit
def _softirq(out: NDArray[np.int32], i: int, cpu: int, t: int) -> int:
    i = _put(out, i, cpu, _SOFTIRQ, t, -1)
    return _put(out, i, cpu, _SOFTIRQ_END, t, -1)


@jit
def _run_vm(
    out: NDArray[np.int32], i: int, cpu: int, t: int, v: int, running: NDArray[np.bool_], state: NDArray[np.int64]
) -> int:
    """Do some guest runs; the KVM_RUN ioctl ends or stays open (the thread is then switched away inside it)."""
    if not running[t]:
        i = _user_run(out, i, cpu, t, 20, state)
        i = _put(out, i, cpu, _SYSCALL, t, -1)
        i = _put(out, i, cpu, _RUN_ENTER, t, v)
        running[t] = True
    i = _put(out, i, cpu, _LOAD, t, v)
    seen = False
    for _ in range(1 + _random(state, 8)):
        i = _put(out, i, cpu, _ENTER, t, v)
        if seen:
            i = _put(out, i, cpu, _GUEST_MAYBE, t, v)
        elif _random(state, 3) == 0:
            i = _put(out, i, cpu, _GUEST_FP, t, v)
            seen = True
        i = _put(out, i, cpu, _EXIT, t, v)
        if _random(state, 50) == 0:
            i = _softirq(out, i, cpu, t)
            seen = False
    i = _put(out, i, cpu, _PUT, t, v)
    if _random(state, 4):
        i = _put(out, i, cpu, _RUN_EXIT, t, v)
        running[t] = False
    return i


@jit
def _run_task(out: NDArray[np.int32], i: int, cpu: int, t: int, fp_percent: int, state: NDArray[np.int64]) -> int:
    """Do some rounds of user code and system calls, now and then with a signal or kernel NEON."""
    for _ in range(1 + _random(state, 4)):
        i = _user_run(out, i, cpu, t, fp_percent, state)
        what = _random(state, 40)
        if what == 0:
            i = _put(out, i, cpu, _INTERRUPT, t, -1)
            i = _put(out, i, cpu, _SIGNAL, t, -1)
            i = _user_run(out, i, cpu, t, fp_percent, state)
            i = _put(out, i, cpu, _SYSCALL, t, -1)
            i = _put(out, i, cpu, _SIGRETURN, t, -1)
        else:
            i = _put(out, i, cpu, _SYSCALL, t, -1)
            if what < 3:
                i = _put(out, i, cpu, _NEON, t, -1)
                i = _put(out, i, cpu, _NEON_END, t, -1)
            elif what == 3:
                i = _softirq(out, i, cpu, t)
    return i


@jit
def _mix(
    out: NDArray[np.int32],
    cpus: int,
    per_cpu: int,
    first_vcpu: int,
    kinds: NDArray[np.uint8],
    state: NDArray[np.int64],
) -> None:
    """Fill `out` with rows of CPU, event, subject, object. FP tasks move to another CPU in one of ten turns."""
    current = np.arange(cpus)
    where = np.arange(len(kinds)) % cpus
    running = np.zeros(len(kinds), np.bool_)
    i = 0
    while i < len(out):
        cpu = _random(state, cpus)
        t = cpus + cpu + cpus * _random(state, per_cpu)
        if where[t] != cpu or current[cpu] == t:
            t = cpu if current[cpu] != cpu else t
        if where[t] != cpu or current[cpu] == t:
            continue
        i = _put(out, i, cpu, _SWITCH, current[cpu], t)
        current[cpu] = t
        if t < cpus:
            continue
        kind = kinds[t]
        if kind == VMM:
            i = _run_vm(out, i, cpu, t, first_vcpu + t - cpus, running, state)
        elif kind == FP_TASK:
            i = _run_task(out, i, cpu, t, 80, state)
        elif kind == INT_TASK:
            i = _run_task(out, i, cpu, t, 0, state)
        if kind == FP_TASK and _random(state, 10) == 0:
            i = _put(out, i, cpu, _SWITCH, t, cpu)
            current[cpu] = cpu
            where[t] = _random(state, cpus)


_TURNS: Final = (VMM, FP_TASK, INT_TASK, VMM, FP_TASK, KTHREAD, VMM, FP_TASK)


def mixed_trace(events: int, *, seed: int, cpus: int = 8, threads_per_cpu: int = 8) -> Trace:
    """Return a made-up trace of exactly `events` events, the same for the same arguments."""
    threads = cpus * threads_per_cpu
    turns = [_TURNS[k // cpus % len(_TURNS)] for k in range(threads)]
    kinds = np.array([KTHREAD] * cpus + turns, np.uint8)
    rows = np.empty((events, 4), np.int32)
    _mix(rows, cpus, threads_per_cpu, cpus + threads, kinds, np.array([seed % 2147483646 + 1], np.int64))
    kind = [Kind.IDLE] * cpus + [Kind.KTHREAD if k == KTHREAD else Kind.USER for k in turns] + [Kind.VCPU] * threads
    names = ["vmm", "fp", "int", "kthread"]
    name = [f"swapper/{c}" for c in range(cpus)] + [names[k] for k in turns] + [names[k] for k in turns]
    tid = np.concatenate([np.zeros(cpus), np.arange(1, threads + 1), np.arange(1, threads + 1)]).astype(np.int32)
    owner = np.concatenate([np.full(cpus + threads, -1), np.arange(cpus, cpus + threads)]).astype(np.int32)
    header = Header(f"made up, seed {seed}", "generated", cpus=cpus, lines=events)
    contexts = Contexts(np.array(kind, np.uint8), tid, owner, name)
    return Trace(
        np.arange(events, dtype=np.int64) * 1000,
        rows[:, 0].astype(np.uint16),
        rows[:, 1].astype(np.uint8),
        np.ascontiguousarray(rows[:, 2]),
        np.ascontiguousarray(rows[:, 3]),
        np.zeros(events, np.uint32),
        contexts,
        header,
    )
