"""Where the kernel is entered at each event, by function; what happens inside is not said here, but seen.

Arguments are entities of the view, what stands for what a user or a debugger hands in (`buffer`, SIMD registers; the
`frame` of a signal, its `contexts`, and `plain contexts`, in which the record of SVE is empty; a `regset` of SVE), the
`layout` of a frame, the task's `section` (where kernel NEON is saved to; softirqs hand in the same, since theirs stands
for it) and its `registers` of user mode, or numbers. `guest` of an entry says where it stands to the guest: "enter"
ends where the guest would run, "trap" and "exit" go on there; "return" goes on where a system call has been made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fpstate.kernel.entities import OTHER_LENGTH
from fpstate.world.events import Event


@dataclass(frozen=True)
class Call:
    """A call of one function; the first of `names` that the kernel has."""

    names: tuple[str, ...]
    arguments: tuple[str | int, ...] = ()
    irqs_off: bool = False
    optional: bool = False  # not made where the kernel has none of them
    hypervisor: str = ""  # what is called at EL2 instead, with its arguments in registers, by a kernel that runs below


@dataclass(frozen=True)
class Entry:
    """What is called at an event, in order. `before` is called first, and the view put in after it."""

    calls: tuple[Call, ...] = ()
    before: tuple[Call, ...] = ()
    guest: str = ""
    softirq: bool = False
    preempt_off: bool = False
    only_if: str = ""
    """A flag that the code before, which is not run, tests: nothing is done unless it is set."""
    allocates_for: str = "task"
    """Who gets storage that is allocated."""
    syndrome: int = 0  # ESR
    gives: str = ""
    """Whose registers get a new value from outside, which the code is to write: that which is handed in, or zeros."""
    others: tuple[str, ...] = ()
    """Entities whose images this event itself copies: what the kernel does to them is what the event means."""


def _call(name: str, *arguments: str | int, irqs_off: bool = False, optional: bool = False) -> Call:
    return Call(tuple(name.split("|")), arguments, irqs_off, optional)


FP_ACCESS: Final = 0x07 << 26  # ESR_EL2.EC: a trapped access to SIMD or floating point (Arm ARM, D24.2.40)
RUN: Final = Call(("__kvm_vcpu_run",), ("vcpu",), irqs_off=True, hypervisor="__kvm_nvhe_handle___kvm_vcpu_run")
GUEST_RUNS: Final = "__guest_enter", "__kvm_nvhe___guest_enter"
"""Where a guest begins to run: of a kernel at EL2, and of one below."""
NEON_BEGIN: Final = _call("kernel_neon_begin", "section")
NEON_END: Final = _call("kernel_neon_end", "section")
FLUSH_FIRST: Final = _call("fpsimd_save_and_flush_current_state", optional=True)
"""Since v6.16 restore_sigframe makes the image the only copy first (929fa99b1215)."""
ENTRIES: Final = {
    Event.THREAD_SWITCH: Entry((_call("fpsimd_thread_switch", "next", irqs_off=True),)),
    Event.RET_TO_USER: Entry((_call("fpsimd_restore_current_state"),), only_if="TIF_FOREIGN_FPSTATE"),
    Event.EXEC: Entry((_call("fpsimd_flush_thread"),), gives="task"),
    Event.FORK: Entry(
        (_call("arch_dup_task_struct", "next", "task"), _call("fpsimd_flush_task_state", "next")),
        others=("next", "next.kernel"),
    ),
    Event.SIGNAL: Entry((_call("fpsimd_signal_preserve_current_state|fpsimd_save_and_flush_current_state"),)),
    Event.SIGRETURN: Entry((FLUSH_FIRST, _call("fpsimd_update_current_state", "buffer")), gives="task"),
    Event.PTRACE_WRITE: Entry((_call("fpr_set", "next", 0, 0, 16, "buffer", 0),), gives="next"),
    Event.KERNEL_NEON_BEGIN: Entry((NEON_BEGIN,)),
    Event.KERNEL_NEON_END: Entry((NEON_END,), before=(NEON_BEGIN,)),
    Event.SOFTIRQ_NEON_BEGIN: Entry((NEON_BEGIN,), softirq=True),
    Event.SOFTIRQ_NEON_END: Entry((NEON_END,), before=(NEON_BEGIN,), softirq=True),
    Event.CPU_PM_ENTER: Entry((_call("fpsimd_cpu_pm_notifier", 0, 0, 0, irqs_off=True),)),
    Event.CPU_DOWN: Entry((_call("fpsimd_cpu_dead", 0),)),
    Event.VCPU_LOAD: Entry((_call("kvm_arch_vcpu_load_fp", "vcpu"),), preempt_off=True),
    Event.GUEST_ENTER: Entry(  # ctxflush since v5.17
        (_call("kvm_arch_vcpu_ctxflush_fp", "vcpu", irqs_off=True, optional=True), RUN), guest="enter"
    ),
    Event.GUEST_FP_TRAP: Entry(guest="trap", syndrome=FP_ACCESS),
    Event.GUEST_EXIT: Entry((_call("kvm_arch_vcpu_ctxsync_fp", "vcpu", irqs_off=True),), guest="exit"),
    Event.VCPU_PUT: Entry((_call("kvm_arch_vcpu_put_fp", "vcpu"),), preempt_off=True),
}
"""The kernel's own code. Copying a task at FORK is the event itself; so is the frame that SIGRETURN hands in."""

NEW_LENGTH: Final = 16 * OTHER_LENGTH
SYSTEM_CALL: Final = 172
SYSTEM_CALLED: Final = "__arm64_sys_getpid"
"""A system call that a task makes, and its function: where it is reached, the entry of system calls is over."""
FLUSH_ENDS: Final = (0x2518E40F, 0x25289000)  # PFALSE P15.B; WRFFR P0.B
"""What the zeroing of all that SVE has beside V ends in, where it is no function (since v7.2)."""
RANDOM: Final = "get_random_u16"
KILLS: Final = ("force_signal_inject", "force_sig")
"""What kills a task whose registers cannot be saved: as bad as a fault."""
WHOLE_RETURN: Final = "el0t_64_sync_handler"
"""What enters and leaves the kernel for a system call, where the way back to user mode is C (since v5.15)."""
SVE_ENTRIES: Final = {
    Event.SIGNAL: Entry(
        (
            *ENTRIES[Event.SIGNAL].calls,
            _call("setup_sigframe_layout", "layout", 0),  # what the frame has room for
            _call("preserve_fpsimd_context", "frame", optional=True),
        )
    ),
    Event.SYSCALL: Entry(
        (_call("el0t_64_sync_handler|el0_sync_handler", "registers", irqs_off=True),), syndrome=0x56000000
    ),
    Event.RET_TO_USER: Entry(guest="return"),
    Event.SVE_TRAP: Entry((_call("do_sve_acc", 0, "registers"),)),
    Event.VL_CHANGE: Entry(
        (
            _call("vec_set_vector_length", "task", 0, NEW_LENGTH, 0, optional=True),
            _call("sve_set_vector_length", "task", NEW_LENGTH, 0, optional=True),
        )
    ),
    Event.PTRACE_VL: Entry(
        (
            _call("vec_set_vector_length", "next", 0, NEW_LENGTH, 0, optional=True),
            _call("sve_set_vector_length", "next", NEW_LENGTH, 0, optional=True),
        ),
        allocates_for="next",
    ),
    Event.SIGRETURN: Entry((FLUSH_FIRST, _call("restore_sve_fpsimd_context", "plain contexts")), gives="task"),
    Event.SIGRETURN_SVE: Entry((FLUSH_FIRST, _call("restore_sve_fpsimd_context", "contexts")), gives="task"),
    Event.PTRACE_SVE: Entry(
        (_call("sve_set", "next", 0, 0, "regset size", "regset", 0),), allocates_for="next", gives="next"
    ),
    Event.GUEST_SVE_TRAP: Entry(guest="trap", syndrome=0x19 << 26),
}
"""The same where there is SVE."""

NOTED: Final = (
    "task_fpsimd_load", "fpsimd_restore_current_state", "fpsimd_save_and_flush_cpu_state", "fpsimd_bind_state_to_cpu",
    "kvm_arch_vcpu_load_fp", "kvm_arch_vcpu_put_fp", "fpsimd_save", "fpsimd_save_user_state", "do_sve_acc",
)  # fmt: skip
"""Functions whose calls a recording shows, or in which it shows saves."""

AS_NAMED: Final = {"task": "task", "next": "next", "vcpu": "vcpu"}
"""Roles in which each entity stands for itself."""

ARM_EXCEPTION_IRQ: Final = 0  # arch/arm64/include/asm/kvm_asm.h: why a guest was left
ARM_EXCEPTION_TRAP: Final = 2
