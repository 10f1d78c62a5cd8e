"""SME in guests, as proposed in 2026: entry writes the guest's SVCR, whoever's the registers are.

Mark Brown, "[PATCH v12 00/29] KVM: arm64: Implement support for SME", 9 July 2026, on v7.2-rc2. In another's streaming
mode the guest's own kernel would get exceptions that the hypervisor never hears of, so SVCR cannot wait for the first
trap (kvm_sme_configure_traps; up to v4 it did). SMCR, the streaming vector length, is written at the same place; it
destroys nothing, and is not modelled.
"""

from __future__ import annotations

from fpstate.policies.base import Policy, when
from fpstate.policies.first_class import FirstClass
from fpstate.policies.host_deferred import BindableHost, DeferredHost
from fpstate.policies.host_format import FormatHost, FormHost
from fpstate.policies.linux_6_16 import Linux72, Linux616


class SmeGuests(BindableHost):
    """What the hypervisor knows of a guest's streaming mode and ZA: the SVCR that it had at its last exit."""

    class Vcpu(Policy.Vcpu):
        svcr_sm: bool = when("guest-sme", False)  # SVCR of the vCPU's context
        svcr_za: bool = when("guest-sme", False)

    def write_svcr(self, cpu: DeferredHost.Cpu, vcpu: Vcpu) -> None:
        if vcpu.has_sme:
            cpu.set_svcr(vcpu.svcr_sm, vcpu.svcr_za)

    def read_svcr(self, cpu: DeferredHost.Cpu, vcpu: Vcpu) -> None:
        if vcpu.has_sme:
            vcpu.svcr_sm, vcpu.svcr_za = cpu.sm, cpu.za

    def load_guest(self, cpu: DeferredHost.Cpu, vcpu: Vcpu) -> None:
        if vcpu.svcr_za:
            cpu.load_part("za", vcpu)
        super().load_guest(cpu, vcpu)

    def vcpu_reset(self, cpu: DeferredHost.Cpu, task: DeferredHost.Task, vcpu: Vcpu) -> None:
        super().vcpu_reset(cpu, task, vcpu)
        vcpu.svcr_sm = vcpu.svcr_za = False
        if vcpu.has_sme:
            cpu.overwrite_part("za", vcpu)


class SmeGuestV12(SmeGuests, Linux72):
    """The host's state has been saved at vcpu_load, so entry finds nobody's registers, or the guest's own mode."""

    name = "sme-guest-v12"
    kernels = ""
    source = "Mark Brown, [PATCH v12 00/29] KVM: arm64: Implement support for SME, 9 July 2026"
    supports = Linux72.supports | {"guest-sme"}

    def guest_enter(self, cpu: Linux616.Cpu, task: DeferredHost.Task, vcpu: SmeGuests.Vcpu) -> None:
        super().guest_enter(cpu, task, vcpu)
        self.write_svcr(cpu, vcpu)

    def guest_exit(self, cpu: Linux616.Cpu, task: DeferredHost.Task, vcpu: SmeGuests.Vcpu) -> None:
        cpu.isb()
        self.read_svcr(cpu, vcpu)
        super().guest_exit(cpu, task, vcpu)
        if self.guest_sme and task.foreign:
            cpu.smstop()  # kvm_arch_vcpu_ctxsync_fp: the registers are not the guest's


class FirstClassSme(SmeGuests, FirstClass):  # type: ignore[misc]
    """first-class, where whoever is resident is saved and given up before entry changes the mode."""

    name = "first-class-sme"
    source = "first-class with the entry of sme-guest-v12; this project"
    supports = FirstClass.supports | {"guest-sme"}

    class Vcpu(SmeGuests.Vcpu, FirstClass.Vcpu):
        pass

    def guest_enter(self, cpu: FirstClass.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        if vcpu.has_sme and (cpu.sm, cpu.za) != (vcpu.svcr_sm, vcpu.svcr_za):
            self.fpsimd_save_and_flush_cpu_state(cpu, task)
        super().guest_enter(cpu, task, vcpu)
        self.write_svcr(cpu, vcpu)

    def load_guest(self, cpu: FormHost.Cpu, vcpu: SmeGuests.Vcpu) -> None:
        self.write_svcr(cpu, vcpu)  # whoever was there has been given up, and his mode with him
        super().load_guest(cpu, vcpu)

    def guest_exit(self, cpu: FirstClass.Cpu, task: FormatHost.Task, vcpu: Vcpu) -> None:
        self.read_svcr(cpu, vcpu)
        super().guest_exit(cpu, task, vcpu)
        if self.guest_sme and cpu.last_state is None:
            cpu.smstop()
