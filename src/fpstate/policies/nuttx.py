"""NuttX on arm64 today: FP registers are part of each exception frame, and so saved and loaded with it."""

from __future__ import annotations

from fpstate.policies.base import Policy


class NuttX(Policy):
    """Saved at each entry to the kernel, loaded at each return: no flags, no traps, nothing at a switch.

    It was lazy once (bug O3). With the registers in memory the kernel may use FP as it likes. An
    exit from a guest is an exception like any other; NuttX itself has none, nor fork, exec or ptrace.
    """

    name = "nuttx"
    kernels = "NuttX on arm64"
    source = "nuttx: arch/arm64/src/common/arm64_fpu.c, 02c329a19dc8, and arm64_vector_table.S"

    def syscall(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.save(task)

    def interrupt(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.save(task)

    def ret_to_user(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.load(task)

    def guest_enter(self, cpu: Policy.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.load(vcpu)

    def guest_exit(self, cpu: Policy.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.save(vcpu)

    # What changes an image from outside.

    def exec(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.overwrite(task)

    def signal(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        """Do nothing: the image is what the exception frame holds."""

    def sigreturn(self, cpu: Policy.Cpu, task: Policy.Task) -> None:
        cpu.overwrite(task)

    def ptrace_write(self, cpu: Policy.Cpu, task: Policy.Task, tracee: Policy.Task) -> None:
        cpu.edit(tracee)

    def vcpu_setreg(self, cpu: Policy.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.edit(vcpu)

    def vcpu_reset(self, cpu: Policy.Cpu, task: Policy.Task, vcpu: Policy.Vcpu) -> None:
        cpu.overwrite(vcpu)
