"""A31: after a call to EFI, streaming mode is put back by a test that is the wrong way round."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import FormatHost


class Fixed(FormatHost):
    """Where kernel NEON is not allowed, the registers go to a buffer of the CPU, and streaming mode is left."""

    name = "a31-fixed"

    class Cpu(FormatHost.Cpu):
        efi_sm: bool = False  # efi_sm_state

    def efi_begin(self, cpu: Cpu, task: FormatHost.Task) -> None:
        cpu.efi_sm = cpu.sm
        cpu.stash_host()
        cpu.set_svcr(False, cpu.za)

    def streaming_before(self, cpu: Cpu) -> bool:
        return cpu.efi_sm

    def efi_end(self, cpu: Cpu, task: FormatHost.Task) -> None:
        cpu.set_svcr(self.streaming_before(cpu), cpu.za)
        cpu.load_stash()


class Faulty(Fixed):
    """Streaming mode comes back where it was off, and does not where it was on: a save then finds no storage."""

    name = "a31-faulty"

    def streaming_before(self, cpu: Fixed.Cpu) -> bool:
        return not cpu.efi_sm


BUG = Bug(
    "A31", "EFI call: streaming mode put back by an inverted test", "2e990e63220b", Faulty, Fixed, "memory-safety", 9,
    tasks=1, events=("user_smstart", "interrupt", "efi_begin"), features=("sme",),
    note="The kernel's mistake is known from recollection only. The CPU's buffer holds V alone here, so the tasks do "
    "not use SVE.",
)  # fmt: skip
