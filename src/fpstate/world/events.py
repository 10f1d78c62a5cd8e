"""The events of the world: their numbers, names and who takes part.

The numbers are the `event` column of a trace. A participant is `task` (the current thread), `vcpu` (the
vCPU that thread runs), or `next` (a second thread: the next one to run, a child, a tracee).
In a trace row, `subject` is the task and `object` is the vCPU or the second thread.
"""

from __future__ import annotations

from enum import IntEnum


class Event(IntEnum):
    """What can happen. Order facts are those of Linux (scheduler, preempt notifiers, KVM run loop)."""

    NONE = 0
    THREAD_SWITCH = 1  # task -> next, after the scheduler chose, before the stacks change
    RET_TO_USER = 2  # task returns to user mode
    RET_TO_USER_MAYBE = 3  # the trace does not show whether it did
    USER_FP = 4  # task uses FP in user mode (reads and writes)
    USER_FP_MAYBE = 5  # the trace does not show whether it did
    SYSCALL = 6  # task enters the kernel by a system call
    RUN_ENTER = 7  # the KVM_RUN ioctl begins
    VCPU_LOAD = 8  # also by the preempt notifier at sched_in
    GUEST_ENTER = 9
    GUEST_FP = 10  # the guest uses FP in this run
    GUEST_FP_MAYBE = 11  # the trace does not show whether it did
    GUEST_EXIT = 12
    VCPU_PUT = 13  # also by the preempt notifier at sched_out, before THREAD_SWITCH
    RUN_EXIT = 14  # the KVM_RUN ioctl returns
    KERNEL_NEON_BEGIN = 15
    KERNEL_NEON_END = 16
    SOFTIRQ_NEON_BEGIN = 17
    SOFTIRQ_NEON_END = 18
    FORK = 19  # task duplicates itself into next
    EXEC = 20  # task gets a new program: its FP state becomes all zeros
    EXIT = 21  # task dies; a thread switch away follows
    SIGNAL = 22  # a signal frame is built for task
    SIGRETURN = 23  # task's FP state is replaced by that of the frame
    PTRACE_WRITE = 24  # task replaces the FP state of next, which is stopped
    VCPU_SETREG = 25  # task replaces FP registers of a vCPU that is not loaded
    VCPU_RESET = 26
    VCPU_FREE = 27
    CPU_DOWN = 28  # the `cpu` of the event is torn down; after the handler its registers are lost
    CPU_UP = 29
    CPU_PM_ENTER = 30  # the CPU may lose its registers
    CPU_PM_EXIT = 31
    USER_FP_TRAP = 32  # task used FP while the user trap was armed
    GUEST_FP_TRAP = 33  # the guest used FP while the guest trap was armed
    USER_SVE = 34  # task uses SVE in user mode
    SVE_TRAP = 35  # it did so while the user SVE trap was armed
    GUEST_SVE = 36
    GUEST_SVE_TRAP = 37
    INTERRUPT = 38  # task enters the kernel otherwise than by a system call: nothing may be discarded
    VL_CHANGE = 39  # task asks for another vector length (prctl PR_SVE_SET_VL): its SVE state is lost, V is kept
    SIGRETURN_SVE = 40  # the frame has an SVE record: all of V and Z is replaced
    PTRACE_SVE = 41  # task replaces V and Z of next, which is stopped (regset NT_ARM_SVE)
    SMCCC = 42  # a call to firmware, which may drop SVE state if told that none is live
    EFI_BEGIN = 43  # firmware is called that uses FP registers freely
    EFI_END = 44
    USER_SMSTART = 45  # task enters streaming mode and enables ZA: V, Z and ZA become zeros
    USER_SMSTOP = 46  # task leaves both: V, Z become zeros, ZA is gone
    USER_ZA = 47  # task uses ZA
    SME_TRAP = 48  # task used an SME instruction while the user SME trap was armed
    PTRACE_STREAMING = 49  # task writes streaming-mode registers of next (regset NT_ARM_SSVE): SM is set, V and Z
    PTRACE_ZA = 50  # task writes ZA of next (regset NT_ARM_ZA), which enables it
    SIGRETURN_ZA = 51  # the frame has a ZA record and no SVE record
    PTRACE_READ = 52  # task reads the FP state of next, which is stopped (a debugger, a core dump)
    PTRACE_VL = 53  # task sets the vector length of next, which is stopped: its SVE and ZA state is lost, V is kept
    VCPU_GETREG = 54  # task reads the registers of a vCPU, which is not loaded (KVM_GET_ONE_REG)
    VCPU_UNBIND = 55  # task takes a vCPU from the thread that has it in KVM_RUN, which is not in the guest
    GUEST_CONTROL = 56  # between guest runs, kernel code does for a guest what it asked of its FP control register
    IPI = 57  # another CPU interrupts kernel code on this one
    NESTED_SWITCH = 58  # a guest hypervisor and its own guest take turns on a vCPU, which its thread puts and loads
    GUEST_SVCR = 59  # the guest writes SVCR: it enters streaming mode and enables ZA, or leaves both
    HANDOFF_PREPARE = 60  # task, about to block in a system call, offers its identity in user mode to a worker
    HANDOFF_FINISH = 61  # task, a worker, takes over the identity of next, and will return to user mode in its place


N_EVENTS = 62

MAYBE = {
    Event.RET_TO_USER_MAYBE: Event.RET_TO_USER,
    Event.USER_FP_MAYBE: Event.USER_FP,
    Event.GUEST_FP_MAYBE: Event.GUEST_FP,
}
"""Events a recorder could not see, and what they are if they happened."""

PARTICIPANTS: dict[Event, tuple[str, ...]] = {
    Event.THREAD_SWITCH: ("task", "next"),
    Event.RET_TO_USER: ("task",),
    Event.SYSCALL: ("task",),
    Event.RUN_ENTER: ("task", "vcpu"),
    Event.VCPU_LOAD: ("task", "vcpu"),
    Event.GUEST_ENTER: ("task", "vcpu"),
    Event.GUEST_EXIT: ("task", "vcpu"),
    Event.VCPU_PUT: ("task", "vcpu"),
    Event.RUN_EXIT: ("task", "vcpu"),
    Event.KERNEL_NEON_BEGIN: ("task",),
    Event.KERNEL_NEON_END: ("task",),
    Event.SOFTIRQ_NEON_BEGIN: ("task",),
    Event.SOFTIRQ_NEON_END: ("task",),
    Event.FORK: ("task", "next"),
    Event.EXEC: ("task",),
    Event.EXIT: ("task",),
    Event.SIGNAL: ("task",),
    Event.SIGRETURN: ("task",),
    Event.PTRACE_WRITE: ("task", "next"),
    Event.VCPU_SETREG: ("task", "vcpu"),
    Event.VCPU_RESET: ("task", "vcpu"),
    Event.VCPU_FREE: ("task", "vcpu"),
    Event.CPU_DOWN: (),
    Event.CPU_UP: (),
    Event.CPU_PM_ENTER: ("task",),
    Event.CPU_PM_EXIT: ("task",),
    Event.USER_FP_TRAP: ("task",),
    Event.GUEST_FP_TRAP: ("task", "vcpu"),
    Event.SVE_TRAP: ("task",),
    Event.GUEST_SVE_TRAP: ("task", "vcpu"),
    Event.INTERRUPT: ("task",),
    Event.VL_CHANGE: ("task",),
    Event.SIGRETURN_SVE: ("task",),
    Event.PTRACE_SVE: ("task", "next"),
    Event.SMCCC: ("task",),
    Event.EFI_BEGIN: ("task",),
    Event.EFI_END: ("task",),
    Event.SME_TRAP: ("task",),
    Event.PTRACE_STREAMING: ("task", "next"),
    Event.PTRACE_ZA: ("task", "next"),
    Event.SIGRETURN_ZA: ("task",),
    Event.PTRACE_READ: ("task", "next"),
    Event.PTRACE_VL: ("task", "next"),
    Event.VCPU_GETREG: ("task", "vcpu"),
    Event.VCPU_UNBIND: ("task", "vcpu"),
    Event.GUEST_CONTROL: ("task", "vcpu"),
    Event.IPI: ("task",),
    Event.NESTED_SWITCH: ("task", "vcpu"),
    Event.HANDOFF_PREPARE: ("task",),
    Event.HANDOFF_FINISH: ("task", "next"),
}
"""Events a policy may handle, and who takes part beside the CPU."""


_SVE = (Event.SVE_TRAP, Event.INTERRUPT, Event.VL_CHANGE, Event.SIGRETURN_SVE, Event.PTRACE_SVE, Event.SMCCC)
_SME = (Event.SME_TRAP, Event.PTRACE_STREAMING, Event.PTRACE_ZA, Event.SIGRETURN_ZA)
NEEDS: dict[Event, str] = {
    **dict.fromkeys((*_SVE, Event.EFI_BEGIN, Event.EFI_END), "sve"),
    **dict.fromkeys(_SME, "sme"),
    Event.GUEST_SVE_TRAP: "guest-sve",
    Event.PTRACE_VL: "sve",
    Event.GUEST_CONTROL: "aarch32",
}
"""Events that only a world with a feature has."""


PREEMPTIBLE: frozenset[Event] = frozenset(
    (
        Event.SYSCALL, Event.RET_TO_USER, Event.FORK, Event.EXEC, Event.EXIT, Event.SIGNAL, Event.SIGRETURN,
        Event.PTRACE_WRITE, Event.VCPU_SETREG, Event.VCPU_RESET, Event.VCPU_FREE, Event.USER_FP_TRAP, Event.INTERRUPT,
        Event.VL_CHANGE, Event.SIGRETURN_SVE, Event.SIGRETURN_ZA, Event.PTRACE_SVE, Event.PTRACE_STREAMING,
        Event.PTRACE_ZA, Event.SVE_TRAP, Event.SME_TRAP, Event.SMCCC, Event.RUN_EXIT,
        Event.PTRACE_READ, Event.PTRACE_VL, Event.VCPU_GETREG, Event.VCPU_UNBIND, Event.GUEST_CONTROL,
        Event.HANDOFF_PREPARE, Event.HANDOFF_FINISH,
    )
)  # fmt: skip
"""Events whose handler may be interrupted at its points by softirqs and by the scheduler."""
SOFTIRQ_ONLY: frozenset[Event] = frozenset(
    (
        Event.VCPU_LOAD, Event.VCPU_PUT, Event.KERNEL_NEON_BEGIN, Event.KERNEL_NEON_END, Event.RUN_ENTER,
        Event.GUEST_ENTER, Event.GUEST_EXIT, Event.GUEST_FP_TRAP, Event.GUEST_SVE_TRAP, Event.NESTED_SWITCH,
    )
)  # fmt: skip
"""The same by softirqs alone. In all other handlers nothing may come between, so a point in them is refused."""


IF_HANDLED: frozenset[Event] = frozenset(
    (
        Event.PTRACE_READ, Event.PTRACE_VL, Event.VCPU_GETREG, Event.VCPU_UNBIND, Event.GUEST_CONTROL, Event.IPI,
        Event.NESTED_SWITCH, Event.HANDOFF_PREPARE, Event.HANDOFF_FINISH,
    )
)  # fmt: skip
"""Events that not every system has: they happen under a policy that handles them, or if they are asked for by name."""


class Truth(IntEnum):
    """What a real kernel was seen to do about FP state: lines a recording may hold beside the events.

    In the trace they are numbered from 64 on; `subject` is the current thread, `object` is -1.
    Names are those of the kernel's functions (arch/arm64/kernel/fpsimd.c, arch/arm64/kvm/fpsimd.c, v6.1).
    """

    HW_SAVE = 64  # kprobe in fpsimd_save, on the branch that stores the FPSIMD registers
    HW_SVE_SAVE = 65  # the same on the SVE branch
    TASK_FPSIMD_LOAD = 66
    FPSIMD_RESTORE_CURRENT_STATE = 67
    FPSIMD_SAVE_AND_FLUSH_CPU_STATE = 68
    FPSIMD_BIND_STATE_TO_CPU = 69
    KVM_ARCH_VCPU_LOAD_FP = 70
    KVM_ARCH_VCPU_PUT_FP = 71
    DO_SVE_ACC = 72
    GUEST_FP_TRAP = 73  # the hypervisor's own FP trap (kvm_hyp_handle_fpsimd), seen by an emulator
