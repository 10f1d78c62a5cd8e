"""K10: a trap is lifted at the exit, and the vector length accessed before that is in force."""

from __future__ import annotations

from fpstate.policies.base import Policy
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost
from fpstate.policies.linux_6_14 import Linux61y, Owner, SaveAtLoad


class Faulty(Linux61y):
    """A guest hypervisor may trap SVE of its own guest; the exit lifts that and goes on to switch lengths."""

    name = "k10-faulty"

    def guest_enter(self, cpu: SaveAtLoad.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        super().guest_enter(cpu, task, vcpu)
        if cpu.fp_owner is Owner.GUEST_OWNED:
            cpu.guest_sve_trap = True  # as the guest hypervisor asks

    def guest_sve_trap(self, cpu: SaveAtLoad.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        cpu.guest_sve_trap = False  # the guest hypervisor lets its guest have SVE
        cpu.isb()

    def lift_traps(self, cpu: SaveAtLoad.Cpu) -> None:
        cpu.guest_sve_trap = False

    def guest_exit(self, cpu: SaveAtLoad.Cpu, task: DeferredHost.Task, vcpu: Policy.Vcpu) -> None:
        self.lift_traps(cpu)
        super().guest_exit(cpu, task, vcpu)


class Fixed(Faulty):
    """A barrier follows."""

    name = "k10-fixed"

    def lift_traps(self, cpu: SaveAtLoad.Cpu) -> None:
        super().lift_traps(cpu)
        cpu.isb()


BUG = Bug(
    "K10", "no barrier after the trap write on guest exit", "257d0aa8e250", Faulty, Fixed, "trap-sanity", 9, tasks=1,
    vcpus=1, events=("kvm", "guest_sve"), features=("guest-sve", "barriers"),
)  # fmt: skip
