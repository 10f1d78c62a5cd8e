"""Numbers the scanner gives to the lines that matter, and the names it knows them by."""

from __future__ import annotations

from fpstate.world.events import Truth

IGNORED = 0
SWITCH = 1  # a: previous thread id, b: next thread id, other: next comm
SYS_ENTER = 2  # a: number, b: 1 when it is KVM_RUN, 2 and more as in `fields.asked_length`, or minus the thread id
# whose FP registers ptrace writes
SYS_EXIT = 3  # a: number
FORK = 4  # b: child's thread id, other: child's comm
EXEC = 5  # b: thread id before, other: name of the program
EXIT = 6
KVM_ENTRY = 7
KVM_EXIT = 8
KVM_USERSPACE_EXIT = 9
CPUHP = 10  # a: the CPU, b: one of the three steps below
SIGNAL_DELIVER = 11  # a: 1 when there is a handler
PRESERVE = 12  # a: one of the two callers below
FLUSH_THREAD = 13
THREAD_SWITCH = 14
NEON_BEGIN = 15
NEON_END = 16
CTXSYNC = 17
FUNCTION = 18  # only a wrapper: the function's name follows
LOST = 19  # a: events lost on this CPU, 0 when unknown
USER_RUN = 20  # seen by an emulator: a return to user mode. a: RUN_FP, RUN_SVE: what was used there; b: FP, SVE traps
ALMOST_USER = 22  # the same: the kernel had seen to FP state for user mode, and then did something else first
GUEST_RUN = 21  # the same for a guest, before its exit
FLUSH_TASK = 23  # a: CALLER_SVE_TRAP
BY_NAME = 24  # only a wrapper: a system call whose name says which, as the events of `syscalls:` do
ENTER_BY_NAME, IOCTL_BY_NAME, PTRACE_BY_NAME, PRCTL_BY_NAME, SIGRETURN_BY_NAME, EXIT_BY_NAME = range(25, 31)
"""The same, in a trace.dat."""
VCPU_LOAD = 31  # kvm_arch_vcpu_load: by vcpu_load, or by the preempt notifier
VCPU_PUT = 32  # kvm_arch_vcpu_put: the same the other way round
UPDATE = 33  # fpsimd_update_current_state: sigreturn takes over the frame's registers, unless it has given up its own
SAVE_AND_FLUSH = 34  # since v6.16 (929fa99b1215) what PRESERVE was for a fork; sigreturn has it too. a: which of them
FIRST_TRUTH = 64

RUN_FP, RUN_SVE = 1, 2

STEP_DEAD, STEP_TAKEDOWN, STEP_BRINGUP = 1, 2, 3
MOST_NUMBER = 1_000_000_000
CALL, SIGRETURN_CALL = MOST_NUMBER + 1, MOST_NUMBER + 2
"""`a` of a system call that has a name and no number, and of sigreturn: no number of a system call is as great."""
CALLER_FORK, CALLER_SIGNAL, CALLER_SVE_TRAP, CALLER_SIGRETURN = 1, 2, 3, 4

NEED_RESCHED = 1  # bits of the flags column of a raw row
INTERRUPT = 2  # softirq, hardirq or NMI
HAS_FLAGS = 4  # the line has a flags column
RUNNABLE = 8  # sched_switch only: prev_state is exactly R
UNNAMED = 16  # the comm is `<...>`, or cut short
STOPPER = 32  # sched_switch only: the next thread is a CPU's stopper, migration/N
DEAD = 64  # sched_switch only: prev_state is X or Z, the previous thread will never run again
KTHREAD_WAITS = 128  # sched_switch only: prev_state is I, in which only kernel threads wait (TASK_IDLE)

BY_CALLER = PRESERVE, FLUSH_TASK, SAVE_AND_FLUSH
"""Functions whose meaning hangs on their caller."""

MAX_TRAPS = 8  # of one guest run; with more, more are not counted
MAX_CPU = 4095
MAX_TID = 4_194_304

EVENTS = {
    "sched_switch": SWITCH,
    "sys_enter": SYS_ENTER,
    "sys_exit": SYS_EXIT,
    "sched_process_fork": FORK,
    "sched_process_exec": EXEC,
    "sched_process_exit": EXIT,
    "kvm_entry": KVM_ENTRY,
    "kvm_exit": KVM_EXIT,
    "kvm_userspace_exit": KVM_USERSPACE_EXIT,
    "cpuhp_enter": CPUHP,
    "signal_deliver": SIGNAL_DELIVER,
    "function": FUNCTION,
    "PERF_RECORD_LOST": LOST,
    "PERF_RECORD_LOST_SAMPLES": LOST,
    "user_run": USER_RUN,
    "guest_run": GUEST_RUN,
    "almost_user": ALMOST_USER,
}
FUNCTIONS = {
    "fpsimd_preserve_current_state": PRESERVE,
    "fpsimd_save_and_flush_current_state": SAVE_AND_FLUSH,
    "fpsimd_flush_thread": FLUSH_THREAD,
    "fpsimd_flush_task_state": FLUSH_TASK,
    "fpsimd_thread_switch": THREAD_SWITCH,
    "kernel_neon_begin": NEON_BEGIN,
    "kernel_neon_end": NEON_END,
    "kvm_arch_vcpu_ctxsync_fp": CTXSYNC,
    "kvm_arch_vcpu_load": VCPU_LOAD,
    "kvm_arch_vcpu_put": VCPU_PUT,
    "fpsimd_update_current_state": UPDATE,
}
TRUTHS = {truth.name.lower(): int(truth) for truth in Truth}
NAMED = {
    "sys_enter_ioctl": IOCTL_BY_NAME,
    "sys_enter_ptrace": PTRACE_BY_NAME,
    "sys_enter_prctl": PRCTL_BY_NAME,
    "sys_enter_sigreturn": SIGRETURN_BY_NAME,
    "sys_enter_rt_sigreturn": SIGRETURN_BY_NAME,
}
KNOWN = EVENTS | FUNCTIONS | TRUTHS
"""Every name that has a meaning; names not here are counted and skipped."""
