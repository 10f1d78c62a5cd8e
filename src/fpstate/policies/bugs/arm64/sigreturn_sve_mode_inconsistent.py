"""A28: returning to an SVE frame leaves streaming mode set (CVE-2026-23102)."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.host_format import Form, FormatHost


class Faulty(FormatHost):
    """A frame that says "not streaming" does not change the mode, which a debugger set inside the system call."""

    name = "a28-faulty"

    def sigreturn_sve(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        task.svcr_za = task.in_syscall = False
        task.fp_type = Form.SVE
        DeferredHost.sigreturn_sve(self, cpu, task)


class Fixed(FormatHost):
    """Mode, flag and storage are set or cleared in one go before the data is loaded."""

    name = "a28-fixed"


BUG = Bug(
    "A28", "sigreturn of an SVE frame leaves the mode inconsistent", "d2907cbe9ea0", Faulty, Fixed, "mode-bits", 8,
    events=("ptrace_streaming", "sigreturn_sve"), features=("sme",),
    note="The second case of the record; frames of streaming mode are not modelled.",
)  # fmt: skip
