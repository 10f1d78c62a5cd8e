"""Recorded bugs that the gallery does not have, and why."""

from __future__ import annotations

from fpstate.policies.bugs.bug import LeftOut

LEFT_OUT: tuple[LeftOut, ...] = (
    LeftOut(
        "A7",
        "first user task starts with foreign flag clear",
        "every CPU starts in its idle thread, so each task is switched to first, and that switch computes its flag",
    ),
    LeftOut(
        "A10",
        "world switch follows a pointer to a dead task",
        "the kernel only read a flag through the dead owner; a handler cannot read a field of a context not in view",
    ),
    LeftOut(
        "A11",
        "failed fork frees the parent's SVE buffer",
        "needs a fork that fails midway, and two contexts that share one storage",
    ),
    LeftOut(
        "A12",
        "byte order wrong when FPSIMD and SVE formats are converted",
        "byte order of an image is not modelled",
    ),
    LeftOut(
        "A14",
        "SVE buffer of the tracee cleared with the tracer's size",
        "the harm is the part of the storage beyond the tracer's size; storage here is there or not, and has one label",
    ),
    LeftOut(
        "A23",
        "sigreturn merge depends on the wrong flag in streaming mode (c94f2f326146)",
        "the delivery half is A23-delivery; the return half needs signal frames of streaming mode, whose FPSIMD "
        "part the handler edits",
    ),
    LeftOut(
        "A33",
        "callers assume kernel NEON is always allowed (BUG at kernel_neon_begin)",
        "a kernel BUG is no property here, and a softirq has no scalar code to fall back to",
    ),
    LeftOut(
        "K13",
        "lazy host restore shows whether a protected guest used FP",
        "what is seen is time, and no property is about time",
    ),
    LeftOut(
        "X6",
        "bad user frame copied over the kernel's saved state",
        "needs invalid frames and a sigreturn that fails",
    ),
    LeftOut(
        "X9",
        "guest XFD and saved component bits disagree: host restore traps (CVE-2026-23005)",
        "needs a write of a control register by the guest, which the hypervisor takes up later than the exit",
    ),
    LeftOut(
        "X11",
        "guest XCR0 still on the CPU at sched-out",
        "the guest's control register in force until a switch is what K8 shows, with the vector length for XCR0",
    ),
    LeftOut(
        "X14",
        "PKRU reachable through XSAVE when protection keys are off",
        "the fix makes the register unreachable; in a world that has FPMR everybody reaches it",
    ),
    LeftOut(
        "P1",
        "junk checkpointed FP after FP-unavailable in a transaction (CVE-2019-15030)",
        "needs a second, checkpointed copy of the registers that a transaction rolls back to",
    ),
    LeftOut(
        "P2",
        "FP enabled on return from interrupt without fixing the checkpoint (CVE-2019-15031)",
        "needs a checkpointed copy: the live one is repaired, the checkpoint is not",
    ),
    LeftOut(
        "R6",
        "FS field read back after write is not what was written",
        "the harm is a stack frame read with the wrong layout as told by a hardware hint; no such hint is modelled",
    ),
    LeftOut(
        "S2",
        "FPU state of one domain touched while another domain runs",
        "what one domain learns is who pays for a save; values stay right before and after the fix",
    ),
    LeftOut(
        "S9",
        "'Nobody uses the FPU' heuristic fires for the only FPU thread",
        "the harm is needless traps, each served; no property counts them",
    ),
    LeftOut(
        "N7",
        "non-lazy marker left set from an earlier load",
        "a marker that stays set breaks only an internal rule of Xen, with no wrong value following",
    ),
    LeftOut(
        "N9",
        "arm VFP save/restore assembly lacks memory constraints",
        "the fault is in what the compiler may do with assembly, not in a decision",
    ),
    LeftOut(
        "N10",
        "nested SVM: FPU trap set up in the wrong control block",
        "needs nested guests and two control blocks that can hold the trap",
    ),
    LeftOut(
        "B37",
        "FPCA taken from a stale register when PendSV runs twice (RT-Thread)",
        "the harm is a stack frame popped with the wrong layout; frames have places here, and no layout",
    ),
)
