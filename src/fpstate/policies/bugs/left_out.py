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
        "needs a fork that fails, and storage that can be freed",
    ),
    LeftOut(
        "A12",
        "byte order wrong when FPSIMD and SVE formats are converted",
        "byte order of an image is not modelled",
    ),
    LeftOut(
        "A14",
        "SVE buffer of the tracee cleared with the tracer's size",
        "length of an image is not modelled",
    ),
    LeftOut(
        "A19",
        "SMSTOP after restore wipes kernel-mode registers",
        "needs streaming mode",
    ),
    LeftOut(
        "A20",
        "FPMR reset by the streaming-mode change during load",
        "needs streaming mode and FPMR",
    ),
    LeftOut(
        "A22",
        "signal entry stops streaming mode of the wrong task",
        "needs streaming mode",
    ),
    LeftOut(
        "A23",
        "sigreturn merge depends on the wrong flag in streaming mode",
        "needs streaming mode and formats",
    ),
    LeftOut(
        "A24",
        "ptrace enables streaming mode without storage or trap change",
        "needs streaming mode and storage",
    ),
    LeftOut(
        "A25",
        "sme_alloc replaces a live ZA buffer",
        "needs ZA storage",
    ),
    LeftOut(
        "A26",
        "SVE vector-length change drops the buffer while SME stays untrapped",
        "needs vector lengths and storage",
    ),
    LeftOut(
        "A27",
        "SME-only systems: streaming registers loaded in the wrong format",
        "needs formats of images",
    ),
    LeftOut(
        "A28",
        "sigreturn of an SVE context leaves mode bits inconsistent",
        "needs streaming mode",
    ),
    LeftOut(
        "A29",
        "sigreturn of ZA context without vector storage",
        "needs ZA storage",
    ),
    LeftOut(
        "A30",
        "ptrace SVE write leaves format and flag in disagreement",
        "the flag disagrees with the saved format and does no harm; formats are not modelled",
    ),
    LeftOut(
        "A31",
        "EFI runtime call: streaming state saved/restored with inverted tests",
        "needs streaming mode",
    ),
    LeftOut(
        "A33",
        "callers assume kernel NEON is always allowed (BUG at kernel_neon_begin)",
        "a kernel BUG is no property here, and a softirq has no scalar code to fall back to",
    ),
    LeftOut(
        "A34",
        "SVE state written by ptrace is thrown away later in the syscall",
        "needs SVE state that a system call may drop",
    ),
    LeftOut(
        "A35",
        "fork from a streaming-mode parent",
        "needs streaming mode and storage",
    ),
    LeftOut(
        "K4",
        "host SME-enabled note never cleared on vcpu_load",
        "K3's mistake again with the SME bit; there is one user trap",
    ),
    LeftOut(
        "K5",
        "'No host SVE during a syscall' assumption goes stale",
        "its fix is the fault of K6, so no fixed side holds; needs SVE state that a system call may drop",
    ),
    LeftOut(
        "K8",
        "vector length of guest left on the CPU while softirq uses NEON",
        "needs vector lengths",
    ),
    LeftOut(
        "K9",
        "nested guest: SVE saved with a length smaller than the buffer layout",
        "needs vector lengths",
    ),
    LeftOut(
        "K10",
        "missing barrier after trap-register write on guest exit (nested)",
        "needs control writes that take effect late",
    ),
    LeftOut(
        "K12",
        "no synchronisation after re-enabling SME for the host",
        "needs control writes that take effect late",
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
        "X7",
        "cached XFD value stale after CPU hotplug",
        "needs a control register and its cached copy",
    ),
    LeftOut(
        "X8",
        "XFD not synchronised when a signal resets state",
        "needs a control register and its cached copy",
    ),
    LeftOut(
        "X9",
        "guest XFD and saved component bits disagree: host restore traps (CVE-2026-23005)",
        "needs a control register and its cached copy",
    ),
    LeftOut(
        "X11",
        "guest XCR0 still on the CPU at sched-out",
        "needs a control register and its cached copy",
    ),
    LeftOut(
        "X12",
        "AMD FXSAVE/XSAVE leave last-instruction pointers of another context (CVE-2006-1056, XSA-52, XSA-172)",
        "needs a register outside the set that is switched",
    ),
    LeftOut(
        "X14",
        "PKRU reachable through XSAVE when protection keys are off",
        "needs a register outside the set that is switched",
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
        "P6",
        "unavailable trap in a transaction reloads stale parts",
        "needs transactions and two register classes with valid bits of their own",
    ),
    LeftOut(
        "R4",
        "scalar FP control register not switched with the vector context",
        "the scalar control register is missing from the wide context; with one class nothing would be saved",
    ),
    LeftOut(
        "R6",
        "FS field read back after write is not what was written",
        "the harm is a stack frame read with the wrong layout; an image here is always whole",
    ),
    LeftOut(
        "S2",
        "FPU state of one domain touched while another domain runs",
        "what one domain learns is who pays for a save; values stay right before and after the fix",
    ),
    LeftOut(
        "S8",
        "no barrier between enabling FPU and saving registers at EL2",
        "needs a control write that is not yet in force for the next instruction",
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
)
