"""A29: returning to a frame with ZA enables SME without storage for streaming registers (CVE-2026-23107)."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost


class Faulty(FormatHost):
    """Only ZA gets storage."""

    name = "a29-faulty"

    def sigreturn_za(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        cpu.alloc_za(task)
        cpu.overwrite_part("za", task)
        self.forget(cpu, task)
        task.tif_sme = task.svcr_za = True
        task.fp_type = Form.FPSIMD
        DeferredHost.sigreturn(self, cpu, task)


class Fixed(FormatHost):
    """Streaming registers get theirs too."""

    name = "a29-fixed"


BUG = Bug(
    "A29", "sigreturn of a ZA frame without vector storage", "ea8ccfddbce0", Faulty, Fixed, "memory-safety", 7, tasks=1,
    events=("sigreturn_za", "user_smstart", "interrupt"), features=("sme",),
)  # fmt: skip
