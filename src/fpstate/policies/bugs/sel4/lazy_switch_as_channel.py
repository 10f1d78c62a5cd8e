"""S3: lazy switching leaves a thread's registers in place while others run (RFC-18)."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.sel4_flag import SeL4Flag
from fpstate.policies.sel4_lazy import SeL4Lazy


class Faulty(SeL4Lazy):
    """Whether the registers are switched is left to faults, so the next thread runs with only a trap before them."""

    name = "s3-faulty"


class Fixed(SeL4Flag):
    """The registers are switched with each thread that has the FPU enabled."""

    name = "s3-fixed"


BUG = Bug(
    "S3", "lazy FPU switching as LazyFP exposure", "5035def0b9bf", Faulty, Fixed, "transient-exposure", 8, tasks=2,
    events=("base",),
    note="seL4 has no fork, exec, signals or kernel-mode FP. The timing side of it has no property.",
)  # fmt: skip
