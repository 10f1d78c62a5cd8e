"""PowerPC: a thread's registers are given up when it stops running, and loaded at its next use, by a trap.

`live` stands for the valid bits in the current thread's MSR together with its `fp_save_area`: whose the registers
are. On the way to user mode Linux may load early (`load_fp` counts uses); here it always waits for the trap.
"""

from __future__ import annotations

from fpstate.policies.base import Context, Policy


class PowerPc(Policy):
    """The host half."""

    class Cpu(Policy.Cpu):
        live: Context | None = None

    def save_fpu(self, cpu: Cpu, context: Context) -> None:
        cpu.save(context)

    def giveup_fpu(self, cpu: Cpu) -> None:
        if cpu.live is not None:
            self.save_fpu(cpu, cpu.live)
            cpu.live = None

    # Events.

    def thread_switch(self, cpu: Cpu, task: Policy.Task, next: Policy.Task) -> None:
        self.giveup_fpu(cpu)

    def ret_to_user(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = cpu.live is not task

    def user_fp_trap(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.user_fp_trap = False
        cpu.load(task)
        cpu.live = task

    def kernel_neon_begin(self, cpu: Cpu, task: Policy.Task) -> None:
        self.giveup_fpu(cpu)

    def fork(self, cpu: Cpu, task: Policy.Task, child: Policy.Task) -> None:
        if cpu.live is task:
            self.save_fpu(cpu, task)  # save_all: the registers stay valid

    def exec(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.live = None
        cpu.overwrite(task)

    def exit(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.live = None

    def signal(self, cpu: Cpu, task: Policy.Task) -> None:
        self.giveup_fpu(cpu)

    def sigreturn(self, cpu: Cpu, task: Policy.Task) -> None:
        cpu.live = None
        cpu.overwrite(task)

    def ptrace_write(self, cpu: Cpu, task: Policy.Task, tracee: Policy.Task) -> None:
        cpu.edit(tracee)

    def vcpu_setreg(self, cpu: Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)


class PowerPcHv(PowerPc):
    """KVM HV on POWER9 and later: the thread gives its registers up once per KVM_RUN, the guest is eager."""

    def run_enter(self, cpu: PowerPc.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        self.giveup_fpu(cpu)  # kvmppc_save_user_regs

    def guest_enter(self, cpu: PowerPc.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.load(vcpu)

    def guest_exit(self, cpu: PowerPc.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)


class PowerPcPr(PowerPc):
    """KVM PR: the guest's state is loaded at its trap, and is live like a thread's; its save area is the vCPU."""

    class Vcpu(Policy.Vcpu):
        owned: bool = False  # guest_owned_ext

    def lost(self, cpu: PowerPc.Cpu, vcpu: Vcpu) -> bool:
        return vcpu.owned and cpu.live is not vcpu

    def guest_enter(self, cpu: PowerPc.Cpu, task: Policy.Task, vcpu: Vcpu) -> None:
        if self.lost(cpu, vcpu):  # kvmppc_handle_lost_ext
            cpu.load(vcpu)
            cpu.live = vcpu
        cpu.guest_fp_trap = not vcpu.owned

    def guest_fp_trap(self, cpu: PowerPc.Cpu, task: Policy.Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = False  # kvmppc_handle_ext
        self.giveup_fpu(cpu)
        cpu.load(vcpu)
        cpu.live = vcpu
        vcpu.owned = True

    def vcpu_put(self, cpu: PowerPc.Cpu, task: Policy.Task, vcpu: Vcpu) -> None:
        if cpu.live is vcpu:  # kvmppc_giveup_ext
            self.giveup_fpu(cpu)
        vcpu.owned = False
