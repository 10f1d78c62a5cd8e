"""B18: the note "the guest's XCR0 is loaded" is cleared to force a reload."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import WideSwitchedHost


class Fixed(WideSwitchedHost):
    """Emulation of the guest's write leaves the note, which puts the host's XCR0 back later. XCR0 is a length here."""

    name = "b18-fixed"
    supports = frozenset({"sve", "guest-sve"})

    class Cpu(WideSwitchedHost.Cpu):
        guest_sve_trap: bool = False
        guest_xcr0: bool = False  # guest_xcr0_loaded

    class Task(WideSwitchedHost.Task):
        in_run: bool = False

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        if task.mm and not task.in_run:
            cpu.save_sve(task)
        if next.mm:
            self.make_area(cpu, next)
            cpu.set_vl(next)
            cpu.load_sve(next)

    def run_enter(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.save_sve(task)
        task.in_run = True

    def guest_enter(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_xcr0 = True
        cpu.set_vl(vcpu)
        cpu.load_sve(vcpu)
        cpu.load_part("zcr", vcpu)

    def guest_exit(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.save_part("zcr", vcpu)
        cpu.set_vl(vcpu)
        cpu.save_sve(vcpu)

    def vcpu_put(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        if cpu.guest_xcr0:
            cpu.set_vl(task)
            cpu.guest_xcr0 = False
        cpu.load_sve(task)

    def run_exit(self, cpu: Cpu, task: Task, vcpu: Policy.Vcpu) -> None:
        cpu.set_vl(task)
        cpu.load_sve(task)
        task.in_run = False


class Faulty(Fixed):
    """The note is cleared, so that the next entry loads the new value; if there is none, the guest's stays."""

    name = "b18-faulty"

    def guest_exit(self, cpu: Fixed.Cpu, task: Fixed.Task, vcpu: Policy.Vcpu) -> None:
        super().guest_exit(cpu, task, vcpu)
        cpu.guest_xcr0 = False


BUG = Bug(
    "B18", "note that guest XCR0 is loaded cleared to force a reload", "42bdf991f4ca", Faulty, Fixed, "vector-length",
    8, tasks=1, vcpus=1, events=("kvm",), features=("sve", "guest-sve"),
    note="Each exit stands for one in which the guest writes XCR0; a wrong length for the fault in the host's restore.",
)  # fmt: skip
