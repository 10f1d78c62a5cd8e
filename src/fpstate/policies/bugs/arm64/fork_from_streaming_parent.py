"""A35: a child inherits streaming mode that a debugger gave its parent inside the system call; and its stale V."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost


class Faulty(FormatHost):
    """The child's form is reset, its mode is the parent's."""

    name = "a35-faulty"

    def fork(self, cpu: DeferredHost.Cpu, task: FormatHost.Task, child: FormatHost.Task) -> None:
        DeferredHost.fork(self, cpu, task, child)
        child.fp_type = Form.FPSIMD
        child.in_syscall = True
        child.svcr_za = child.tif_sme = False


class Fixed(FormatHost):
    """The mode is reset as well."""

    name = "a35-fixed"


class CloneFaulty(FormatHost):
    """The FPSIMD form of the parent's image is copied, though its SVE form may be the newer one."""

    name = "clone-faulty"

    def fork(self, cpu: DeferredHost.Cpu, task: FormatHost.Task, child: FormatHost.Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_task_state(child)
        child.tif_sve = False
        child.fp_type = Form.FPSIMD
        child.in_syscall = True


class CloneFixed(FormatHost):
    """The FPSIMD form is brought up to date first."""

    name = "clone-fixed"


BUG = Bug(
    "A35", "fork from a streaming-mode parent", "arm64/fpsimd: Clear PSTATE.SM during clone()", Faulty, Fixed,
    "mode-bits", 8, events=("exit", "fork", "ptrace_streaming"), features=("sme",),
    note="The debugger has to exit first to make room for the child.",
)  # fmt: skip
CLONE = Bug(
    "M-clone", "child gets an old FPSIMD form", "arm64/fpsimd: Consistently preserve FPSIMD state during clone()",
    CloneFaulty, CloneFixed, "integrity", 8, events=("exit", "fork", "ptrace_sve", "user_sve"), features=("sve",),
    note="The debugger has to exit first to make room for the child.",
)  # fmt: skip
