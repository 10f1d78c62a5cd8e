"""S6: a control register of an inactive vCPU is saved again, after it was changed for a thread without vCPU."""

from __future__ import annotations

from fpstate.policies.base import Context, Policy
from fpstate.policies.bugs.bug import Bug


class Fixed(Policy):
    """The register is saved only while the vCPU is active. An idle thread stands for threads without a vCPU."""

    name = "s6-fixed"

    class Cpu(Policy.Cpu):
        vcpu: Context | None = None  # armHSCurVCPU
        active: bool = False  # armHSVCPUActive

    class Task(Policy.Task):
        mm: bool = True  # has a vCPU

    def save_whole(self, cpu: Cpu) -> None:
        if cpu.active:
            cpu.save(cpu.vcpu)

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        if not next.mm:  # vcpu_disable
            if cpu.active:
                cpu.save(cpu.vcpu)
                cpu.active = False
            cpu.load(next)  # FPU enabled for a plain thread
        else:  # vcpu_switch
            if cpu.vcpu is not None and cpu.vcpu is not next:
                self.save_whole(cpu)
            cpu.load(next)
            cpu.vcpu = next
            cpu.active = True


class Faulty(Fixed):
    """All registers of the last vCPU are saved at the switch to another, though it was disabled in between."""

    name = "s6-faulty"

    def save_whole(self, cpu: Fixed.Cpu) -> None:
        cpu.save(cpu.vcpu)


BUG = Bug(
    "S6", "control register of a disabled vCPU saved twice", "8e18a0b558b5", Faulty, Fixed, "integrity", 9,
    tasks=2, events=("base",),
    note="vCPUs are threads here, and the register is CPACR_EL1, which guests read and write. The value that comes "
    "back is the initial one of a plain thread.",
)  # fmt: skip
