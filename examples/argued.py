"""What is argued about in 2026, done as one would at first: each corrupts, and `fpstate check` shows how."""

from __future__ import annotations

from fpstate.policies.first_class import FirstClass
from fpstate.policies.host_format import Form, FormHost
from fpstate.policies.sme_guests import FirstClassSme, SmeGuests, SmeGuestV12
from fpstate.policies.sve_timeout import SveTimeout
from fpstate.policies.thread_handoff import ThreadHandoff


class Written(SmeGuests, FirstClass):
    """first-class, and SVCR written on the way in, as sme-guest-v12 does."""

    name = "written"
    supports = FirstClassSme.supports

    class Vcpu(SmeGuests.Vcpu, FirstClass.Vcpu):
        pass

    def guest_enter(self, cpu: FirstClass.Cpu, task: FirstClass.Task, vcpu: Vcpu) -> None:
        super().guest_enter(cpu, task, vcpu)
        self.write_svcr(cpu, vcpu)

    def load_guest(self, cpu: FirstClass.Cpu, vcpu: SmeGuests.Vcpu) -> None:
        self.write_svcr(cpu, vcpu)
        super().load_guest(cpu, vcpu)

    def guest_exit(self, cpu: FirstClass.Cpu, task: FirstClass.Task, vcpu: Vcpu) -> None:
        self.read_svcr(cpu, vcpu)
        super().guest_exit(cpu, task, vcpu)


class InTrap(SmeGuestV12):
    """SVCR written with the rest of the guest's registers, in the trap of its first use, as up to v4 of the series."""

    name = "in-trap"

    def write_svcr(self, cpu: SmeGuestV12.Cpu, vcpu: SmeGuests.Vcpu) -> None:
        pass

    def load_guest(self, cpu: SmeGuestV12.Cpu, vcpu: SmeGuests.Vcpu) -> None:
        SmeGuests.write_svcr(self, cpu, vcpu)
        super().load_guest(cpu, vcpu)


class Unsaved(ThreadHandoff):
    """What a thread offers is taken to be in its image: it will be switched away, and saved then."""

    name = "unsaved"

    def handoff_prepare(self, cpu: ThreadHandoff.Cpu, task: ThreadHandoff.Task) -> None:
        pass


class Unmarked(ThreadHandoff):
    """The worker's image is changed, and what says where its registers are is left as it was."""

    name = "unmarked"

    def handoff_finish(self, cpu: ThreadHandoff.Cpu, task: ThreadHandoff.Task, next: ThreadHandoff.Task) -> None:
        task.foreign = True  # the registers of this CPU are not its own


class Copied(ThreadHandoff):
    """All of the thread's record is copied, and with it the CPU that it was on last."""

    name = "copied"

    def handoff_finish(self, cpu: ThreadHandoff.Cpu, task: ThreadHandoff.Task, next: ThreadHandoff.Task) -> None:
        task.fpsimd_cpu = next.fpsimd_cpu
        task.foreign = True


class Unflushed(SveTimeout):
    """SVE stays enabled, and what the registers hold beyond FPSIMD is left there."""

    name = "unflushed"

    def task_fpsimd_load(self, cpu: SveTimeout.Cpu, task: SveTimeout.Task) -> None:
        keeps = task.fp_type is Form.FPSIMD and task.tif_sve and not task.expired
        if keeps:
            cpu.set_vl(task)
        FormHost.task_fpsimd_load(self, cpu, task)
        if keeps:
            task.tif_sve = True


class Tenth(SveTimeout):
    """A tenth of a second."""

    name = "a-tenth"
    timeout = 0.1


class Hundredth(SveTimeout):
    """A hundredth."""

    name = "a-hundredth"
    timeout = 0.01
