"""The fields of events that matter, read from the text after `event:`, mostly from the line's end.

Comms may hold anything, even the text of a field, so fields around one are found by its greatest length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fpstate.jit import inline
from fpstate.traces.lines import codes
from fpstate.traces.lines.head import Bytes, is_digit, number, number_before, skip_spaces

_COMM = 15  # a comm's greatest length
PRCTL = 167
PR_SVE_SET_VL, PR_SVE_VL_LEN_MASK, PR_SVE_SET_VL_ONEXEC = 50, 0xFFFF, 1 << 18
PTRACE = 117  # of arm64 and all others that have the generic system call table
PTRACE_SETREGSET, NT_PRFPREG, NT_ARM_SVE = 0x4205, 2, 0x405


def _text(s: str) -> NDArray[np.uint8]:
    return np.frombuffer(s.encode(), np.uint8).copy()


ARROW = _text(" ==> ")
LONG_ARROW = _text(" ==>")
MIGRATION = _text("migration/")
NEXT_COMM = _text(" next_comm=")
PREV_PID = _text("prev_pid=")
NEXT_PID = _text(" next_pid=")
CHILD_COMM = _text(" child_comm=")
CHILD_PID = _text(" child_pid=")
PID = _text("pid=")
RAW_NR = _text("id=")
ARRAY = _text("ARRAY[")
ENTER = _text("sys_enter_")
SYS_EXIT_OF = _text("sys_exit_")
IOCTL = _text("ioctl")
SIGRETURN = _text("sigreturn")
RT_SIGRETURN = _text("rt_sigreturn")
PTRACE_CALL = _text("ptrace")
PRCTL_CALL, OPTION, ARG2 = _text("prctl"), _text("option"), _text("arg2")
CMD = _text("cmd")
REQUEST = _text("request")
TRACEE = _text("pid")
ADDR = _text("addr")
RETURNS = _text(" -> ")
OLD_PID = _text(" old_pid=")
HANDLER = _text(" sa_handler=")
NR = _text("NR ")
KVM_RUN = _text("ae80")
KVM_RUN_NUMBER = 0xAE80
SYS = _text("sys_")
PARENT_IP = _text("parent_ip=")
HEX = _text("0x")
STEP = _text("step")
TARGET = _text("target")
CPU = _text("cpu")
RUN_FP = _text("fp=")
RUN_SVE = _text("sve=")
RUN_TRAPS = _text("traps=")
CPU_DEAD = _text("(fpsimd_cpu_dead)")
TAKEDOWN = _text("(takedown_cpu)")
BRINGUP = _text("(bringup_cpu)")
OF_FORK = _text("arch_dup_task_struct")
OF_SIGNAL = _text("fpsimd_signal_preserve_current_state")
OF_SVE_TRAP = _text("do_sve_acc")
OF_SIGRETURN = _text("restore_sigframe")
OF_SIGRETURN_INLINE = _text("__arm64_sys_rt_sigreturn")
LOST_WORD = _text("lost ")


class Fields(NamedTuple):
    """What a raw row holds beside the head; `other` to `other_end` is a second name, empty when equal."""

    ok: bool
    a: int
    b: int
    flags: int
    other: int
    other_end: int


@inline
def at(b: Bytes, i: int, e: int, text: NDArray[np.uint8]) -> bool:
    """Return whether `text` stands at `i`."""
    if i < 0 or i + len(text) > e:
        return False
    for k in range(len(text)):
        if b[i + k] != text[k]:
            return False
    return True


@inline
def find(b: Bytes, i: int, e: int, text: NDArray[np.uint8]) -> int:
    """Return where `text` first stands in `b[i:e]`, or -1."""
    for k in range(i, e - len(text) + 1):
        if b[k] == text[0] and at(b, k, e, text):
            return k
    return -1


@inline
def _bad() -> Fields:
    return Fields(False, 0, 0, 0, 0, 0)


@inline
def _plain(a: int, b: int) -> Fields:
    return Fields(True, a, b, 0, 0, 0)


@inline
def _state(b: Bytes, lo: int, hi: int) -> int:
    """Return what the state of the previous thread says: R alone, X or Z (x in old kernels), I alone, or none of these.

    Raw fields have the number: bits of kernel/sched's TASK_ and EXIT_ states, 16, 32 and in old kernels 64 are death.
    """
    if is_digit(b[lo]):
        state, _ = number(b, lo, hi)
        if state & (16 | 32 | 64):
            return codes.DEAD
        return codes.RUNNABLE if state == 0 else codes.KTHREAD_WAITS if state == 128 else 0
    if hi - lo == 1 and b[lo] == 73:
        return codes.KTHREAD_WAITS
    if b[lo] == 88 or b[lo] == 90 or b[lo] == 120:
        return codes.DEAD
    return codes.RUNNABLE if hi - lo == 1 and b[lo] == 82 else 0


@inline
def _switch_long(b: Bytes, i: int, e: int) -> Fields:
    """Parse `prev_comm=X prev_pid=N prev_prio=N prev_state=S ==> next_comm=Y next_pid=N next_prio=N`.

    Raw fields have no arrow.
    """
    _, q = number_before(b, i, e - 1)
    while q > i and b[q] != 32:
        q -= 1
    next_tid, p = number_before(b, i, q - 1)
    name_end = p - len(NEXT_PID) + 1
    if next_tid < 0 or not at(b, name_end, e, NEXT_PID):
        return _bad()
    arrow = find(b, max(i, name_end - _COMM - len(NEXT_COMM)), name_end, NEXT_COMM)
    if arrow < 0:
        return _bad()
    state_end = arrow - len(LONG_ARROW) if at(b, arrow - len(LONG_ARROW), e, LONG_ARROW) else arrow
    s = state_end
    while s > i and b[s - 1] != 61:
        s -= 1
    q = s - 1
    while q > i and b[q] != 32:
        q -= 1
    _, q = number_before(b, i, q - 1)
    while q > i and b[q] != 32:
        q -= 1
    prev_tid, q = number_before(b, i, q - 1)
    if prev_tid < 0 or not at(b, q - len(PREV_PID) + 1, e, PREV_PID):
        return _bad()
    return Fields(True, prev_tid, next_tid, _state(b, s, state_end), arrow + len(NEXT_COMM), name_end)


@inline
def _switch_short(b: Bytes, i: int, e: int) -> Fields:
    """Parse `X:N [prio] S ==> Y:N [prio]`, as trace-cmd and perf print it."""
    q = e - 1
    while q > i and b[q] != 91:
        q -= 1
    next_tid, name_end = number_before(b, i, q - 2)
    if next_tid < 0 or b[name_end] != 58:
        return _bad()
    arrow = find(b, max(i, name_end - _COMM - len(ARROW)), name_end, ARROW)
    if arrow < 0:
        return _bad()
    s = arrow
    while s > i and b[s - 1] != 32:
        s -= 1
    q = s
    while q > i and b[q] != 91:
        q -= 1
    prev_tid, q = number_before(b, i, q - 2)
    if prev_tid < 0 or b[q] != 58:
        return _bad()
    return Fields(True, prev_tid, next_tid, _state(b, s, arrow), arrow + len(ARROW), name_end)


@inline
def _switch(b: Bytes, i: int, e: int) -> Fields:
    f = _switch_short(b, i, e) if b[e - 1] == 93 else _switch_long(b, i, e)
    if f.a > codes.MAX_TID or f.b > codes.MAX_TID:
        return _bad()
    stopper = codes.STOPPER if at(b, f.other, f.other_end, MIGRATION) else 0
    return Fields(f.ok, f.a, f.b, f.flags | stopper, f.other, f.other_end)


@inline
def _signed(b: Bytes, i: int, e: int) -> tuple[int, int]:
    if i < e and b[i] == 45:
        v, k = number(b, i + 1, e)
        return -v, (k if v >= 0 else -1)
    v, k = number(b, i, e)
    return v, (k if v >= 0 else -1)


@inline
def _second_is_kvm_run(b: Bytes, i: int, e: int) -> int:
    """Return 1 when the second of the hexadecimal arguments `(x, y, ...)` is KVM_RUN."""
    k = i
    while k < e and b[k] != 44:
        k += 1
    k = skip_spaces(b, k + 1, e)
    while k < e and (b[k] == 48 or b[k] == 120):  # 0x
        k += 1
    end = k + len(KVM_RUN)
    return 1 if at(b, k, e, KVM_RUN) and end < e and (b[end] == 44 or b[end] == 41) else 0


@inline
def _hex(b: Bytes, i: int, e: int) -> tuple[int, int]:
    """Return the hexadecimal number at `i`, with or without 0x, and where it ends; -1 when it is too long or none."""
    k = i
    if at(b, k, e, HEX):
        k += len(HEX)
    start = k
    v = np.int64(0)
    while k < e and (is_digit(b[k]) or 97 <= b[k] <= 102) and k - start < 15:
        v = v * 16 + (np.int64(b[k]) - (48 if b[k] < 97 else 87))
        k += 1
    ends = k == e or b[k] == 44 or b[k] == 41 or b[k] == 32
    return (int(v), k) if k > start and ends else (-1, k)


@inline
def _written_tracee(b: Bytes, i: int, e: int) -> int:
    """Return the thread id in ptrace's arguments `(4205, tid, set, ...)` when it writes FP registers, else 0."""
    request, k = _hex(b, i + 1, e)
    tid, k = _hex(b, skip_spaces(b, k + 1, e), e)
    regset, k = _hex(b, skip_spaces(b, k + 1, e), e)
    return tid if writes_fp(request, tid, regset) else 0


@inline
def writes_fp(request: int, tid: int, regset: int) -> bool:
    """Return whether ptrace with these arguments writes a thread's FP registers."""
    fp = regset == NT_PRFPREG or regset == NT_ARM_SVE
    return request == PTRACE_SETREGSET and fp and 0 < tid <= codes.MAX_TID


@inline
def asked_length(option: int, length: int) -> int:
    """Return what is kept of the first two arguments of prctl: 2 more than the vector length asked for in bytes, or 0.

    Beside the length are flags; PR_SVE_SET_VL_ONEXEC puts it off (include/uapi/linux/prctl.h).
    """
    now = option == PR_SVE_SET_VL and 0 <= length < PR_SVE_SET_VL_ONEXEC
    return 2 + (length & PR_SVE_VL_LEN_MASK) if now else 0


@inline
def _raw_argument(b: Bytes, i: int, e: int, n: int) -> int:
    """Return the nth of six arguments in `ARRAY[58, 0f, ...]`, bytes from the lowest; -1 when it is cut short."""
    bytes_ = 1
    k = i
    while k < e and b[k] != 93:
        bytes_ += b[k] == 44
        k += 1
    size = bytes_ // 6
    if size * 6 != bytes_ or size > 8 or k - i != 4 * bytes_ - 2:
        return -1
    v = np.int64(0)
    for q in range(size * (n + 1) - 1, size * n - 1, -1):
        high, low = np.int64(b[i + 4 * q]), np.int64(b[i + 4 * q + 1])
        v = (v << 8) | ((high - (48 if high < 97 else 87)) << 4) | (low - (48 if low < 97 else 87))
    return int(v)


@inline
def _raw_syscall(b: Bytes, i: int, e: int, enter: bool) -> Fields:
    """Parse `id=29 args=ARRAY[05, 00, ...]` or `id=29 ret=0`."""
    nr, k = _signed(b, i + len(RAW_NR), e)
    if k < 0 or abs(nr) > codes.MOST_NUMBER:
        return _bad()
    if not enter:
        return _plain(nr, 0)
    k = find(b, k, e, ARRAY)
    if k < 0:
        return _bad()
    k += len(ARRAY)
    second = _raw_argument(b, k, e, 1)
    if second == KVM_RUN_NUMBER:
        return _plain(nr, 1)
    if nr == PRCTL:
        return _plain(nr, asked_length(_raw_argument(b, k, e, 0), second))
    writes = nr == PTRACE and writes_fp(_raw_argument(b, k, e, 0), second, _raw_argument(b, k, e, 2))
    return _plain(nr, -second if writes else 0)


@inline
def _argument(b: Bytes, i: int, e: int, name: NDArray[np.uint8]) -> int:
    """Return the argument `name: 0xae80` (hexadecimal) or raw `name=44672` of a system call, or -1."""
    k = find(b, i, e, name)
    if k < 0 or k + len(name) >= e:
        return -1
    k += len(name)
    raw = b[k] == 61
    k = skip_spaces(b, k + 1, e)
    if raw and not at(b, k, e, HEX):
        return number(b, k, e)[0]
    return _hex(b, k, e)[0]


@inline
def _same(b: Bytes, i: int, e: int, text: NDArray[np.uint8]) -> bool:
    return e - i == len(text) and at(b, i, e, text)


@inline
def by_name(b: Bytes, lo: int, hi: int, e: int) -> tuple[int, Fields]:
    """Return the code and the fields of a line whose event `b[lo:hi]` begins with `sys_`.

    It is `sys_ioctl(fd: 5, cmd: ae80, arg: 0)` and `sys_ioctl -> 0x0` as the kernel prints the events of `syscalls:`,
    `sys_enter_ioctl: fd: 0x5, ...` and `sys_exit_ioctl: 0x0` as others do; or a function of such a name.
    """
    call = lo + len(ENTER)
    if not at(b, lo, hi, ENTER):
        if at(b, lo, hi, SYS_EXIT_OF) or at(b, hi, e, RETURNS):
            return codes.SYS_EXIT, _plain(codes.CALL, 0)
        if hi >= e or b[hi] != 40:
            return codes.IGNORED, _plain(0, 0)
        call = lo + len(SYS)
    if _same(b, call, hi, RT_SIGRETURN) or _same(b, call, hi, SIGRETURN):
        return codes.SYS_ENTER, _plain(codes.SIGRETURN_CALL, 0)
    what = 0
    if _same(b, call, hi, IOCTL):
        what = 1 if _argument(b, hi, e, CMD) == KVM_RUN_NUMBER else 0
    elif _same(b, call, hi, PTRACE_CALL):
        tid = _argument(b, hi, e, TRACEE)
        what = -tid if writes_fp(_argument(b, hi, e, REQUEST), tid, _argument(b, hi, e, ADDR)) else 0
    elif _same(b, call, hi, PRCTL_CALL):
        what = asked_length(_argument(b, hi, e, OPTION), _argument(b, hi, e, ARG2))
    return codes.SYS_ENTER, _plain(codes.CALL, what)


@inline
def _syscall(b: Bytes, i: int, e: int, enter: bool) -> Fields:
    """Parse `NR 29 (5, ae80, 0)` or `NR 29 = 0`, or the same as raw fields."""
    if at(b, i, e, RAW_NR):
        return _raw_syscall(b, i, e, enter)
    if not at(b, i, e, NR):
        return _bad()
    nr, k = _signed(b, i + len(NR), e)
    k = skip_spaces(b, k, e) if k >= 0 else e
    if k >= e or b[k] != (40 if enter else 61) or abs(nr) > codes.MOST_NUMBER:
        return _bad()
    if not enter:
        return _plain(nr, 0)
    if _second_is_kvm_run(b, k, e):
        return _plain(nr, 1)
    if nr == PRCTL:
        option, at_second = _hex(b, k + 1, e)
        return _plain(nr, asked_length(option, _hex(b, skip_spaces(b, at_second + 1, e), e)[0]))
    return _plain(nr, -_written_tracee(b, k, e) if nr == PTRACE else 0)


@inline
def _fork(b: Bytes, i: int, e: int) -> Fields:
    """Parse `comm=X pid=N child_comm=Y child_pid=M`."""
    while e > i and b[e - 1] == 32:
        e -= 1
    child, q = number_before(b, i, e - 1)
    name_end = q - len(CHILD_PID) + 1
    if child < 0 or child > codes.MAX_TID or not at(b, name_end, e, CHILD_PID):
        return _bad()
    name = find(b, max(i, name_end - _COMM - len(CHILD_COMM)), name_end, CHILD_COMM)
    if name < 0:
        return _bad()
    return Fields(True, 0, child, 0, name + len(CHILD_COMM), name_end)


@inline
def _exec(b: Bytes, i: int, e: int) -> Fields:
    """Parse `filename=/bin/x pid=N old_pid=N`."""
    old, q = number_before(b, i, e - 1)
    p = q - len(OLD_PID) + 1
    if old < 0 or old > codes.MAX_TID or not at(b, p, e, OLD_PID):
        return _bad()
    _, q = number_before(b, i, p - 1)
    end = q - len(PID)
    if not at(b, end + 1, e, PID):
        return _bad()
    lo = end
    while lo > i and b[lo - 1] != 47 and b[lo - 1] != 61:
        lo -= 1
    return Fields(True, 0, old, 0, lo, min(end, lo + _COMM))


@inline
def _field(b: Bytes, i: int, e: int, name: NDArray[np.uint8]) -> int:
    """Return the number after `name`, and a colon or equals sign if there is one; or -1."""
    k = find(b, i, e, name)
    if k < 0:
        return -1
    k += len(name)
    if k < e and (b[k] == 58 or b[k] == 61):
        k += 1
    value, _ = number(b, skip_spaces(b, k, e), e)
    return value


@inline
def _hotplug(b: Bytes, i: int, e: int) -> Fields:
    """Parse `cpu: 0001 target: 153 step: 235 (name)`; b is 0 for a step without meaning here."""
    cpu, target, step = _field(b, i, e, CPU), _field(b, i, e, TARGET), _field(b, i, e, STEP)
    if cpu < 0 or target < 0 or step < 0 or cpu > codes.MAX_CPU:
        return _bad()
    k = i
    while k < e and b[k] != 40:
        k += 1
    if at(b, k, e, CPU_DEAD) and target < step:
        return _plain(cpu, codes.STEP_DEAD)
    if at(b, k, e, TAKEDOWN) and target < step:
        return _plain(cpu, codes.STEP_TAKEDOWN)
    if at(b, k, e, BRINGUP) and target > step:
        return _plain(cpu, codes.STEP_BRINGUP)
    return _plain(cpu, 0)


@inline
def _signal(b: Bytes, i: int, e: int) -> Fields:
    """Parse `... sa_handler=ADDRESS ...`: 0 and 1 are the default action and ignoring, which build no frame."""
    k = find(b, i, e, HANDLER)
    if k < 0:
        return _bad()
    k += len(HANDLER)
    while k < e and (b[k] == 48 or b[k] == 120):
        k += 1
    more = k + 1 < e and b[k + 1] != 32
    none = k >= e or b[k] == 32 or (b[k] == 49 and not more)
    return _plain(0 if none else 1, 0)


@inline
def _caller(b: Bytes, i: int, e: int) -> int:
    """Return which caller `<-name`, `<-- name` or raw `parent_ip=name` gives."""
    k = skip_spaces(b, i, e)
    if at(b, k, e, PARENT_IP):
        k += len(PARENT_IP)
    while k < e and (b[k] == 60 or b[k] == 45 or b[k] == 32):
        k += 1
    if at(b, k, e, OF_FORK):
        return codes.CALLER_FORK
    if at(b, k, e, OF_SVE_TRAP):
        return codes.CALLER_SVE_TRAP
    if at(b, k, e, OF_SIGRETURN) or at(b, k, e, OF_SIGRETURN_INLINE):
        return codes.CALLER_SIGRETURN
    return codes.CALLER_SIGNAL if at(b, k, e, OF_SIGNAL) else 0


@inline
def _run(b: Bytes, i: int, e: int) -> Fields:
    """Parse `fp=1 sve=0 traps=1`."""
    fp, sve, traps = _field(b, i, e, RUN_FP), _field(b, i, e, RUN_SVE), _field(b, i, e, RUN_TRAPS)
    if fp < 0 or fp > 1 or sve < 0 or sve > 1 or traps < 0:
        return _bad()
    return _plain(fp * codes.RUN_FP | sve * codes.RUN_SVE, min(traps, codes.MAX_TRAPS))


@inline
def _lost(b: Bytes, i: int, e: int) -> Fields:
    k = find(b, i, e, LOST_WORD)
    n = number(b, k + len(LOST_WORD), e)[0] if k >= 0 else 0
    return _plain(min(max(n, 0), 2_000_000_000), 0)


@inline
def before_address(b: Bytes, i: int, e: int) -> int:
    """Return where an address of 8 digits or more stands in `b[i:e]`, as perf prints it behind the fields; or `e`."""
    k = i
    while k < e:
        start = k
        while k < e and (is_digit(b[k]) or 97 <= b[k] <= 102):
            k += 1
        if k - start >= 8 and start > i and b[start - 1] == 32 and (k == e or b[k] == 32):
            return start
        k = max(k, start + 1)
    return e


@inline
def parse_fields(b: Bytes, i: int, e: int, code: int) -> Fields:
    """Return what the text `b[i:e]` after the name of the event says; not ok when it cannot be read."""
    i = skip_spaces(b, i, e)
    while e > i and (b[e - 1] == 32 or b[e - 1] == 13):
        e -= 1
    if code == codes.IGNORED:
        return _plain(0, 0)
    if code == codes.SWITCH:
        return _switch(b, i, e) if e > i else _bad()
    if code == codes.SYS_ENTER or code == codes.SYS_EXIT:
        return _syscall(b, i, e, code == codes.SYS_ENTER)
    if code == codes.FORK:
        return _fork(b, i, e)
    if code == codes.EXEC:
        return _exec(b, i, e)
    if code == codes.CPUHP:
        return _hotplug(b, i, e)
    if code == codes.SIGNAL_DELIVER:
        return _signal(b, i, e)
    if code in codes.BY_CALLER:
        return _plain(_caller(b, i, e), 0)
    if code == codes.USER_RUN or code == codes.GUEST_RUN:
        return _run(b, i, e)
    if code == codes.LOST:
        return _lost(b, i, e)
    return _plain(0, 0)
