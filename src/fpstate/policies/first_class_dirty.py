"""first-class-dirty: nothing is saved until somebody else needs the registers, wherever that is."""

from __future__ import annotations

from fpstate.policies.first_class import FirstClass


class FirstClassDirty(FirstClass):
    """Dirty residency: a switch and vcpu_put do nothing; whoever needs a state live elsewhere interrupts that CPU.

    NetBSD's pcu(9) is the one kernel facility that leaves state dirty on another CPU like this.
    """

    name = "first-class-dirty"
    source = "review of [PATCH v3 09/41], Dave Martin, 22 January 2018, taken to its end; no kernel does it"

    def acquire(self, cpu: FirstClass.Cpu, x: FirstClass.Task | FirstClass.Vcpu) -> None:
        if not self.resident(cpu, x):
            self.bring_home(cpu, x)
        super().acquire(cpu, x)

    def clean(self, cpu: FirstClass.Cpu) -> None:
        if cpu.dirty and cpu.last is not None:  # an interrupt from another CPU may have taken what was here
            cpu.save(cpu.last)
        cpu.dirty = False

    def bring_home(self, cpu: FirstClass.Cpu, x: FirstClass.Task | FirstClass.Vcpu) -> None:
        """Bring the image of `x` up to date, whether it is live here or on another CPU."""
        if cpu.last is x:
            self.clean(cpu)
        else:
            cpu.fetch(x)

    def forget(self, cpu: FirstClass.Cpu, x: FirstClass.Task | FirstClass.Vcpu) -> None:
        if cpu.last is not x:
            cpu.fetch(x)
        super().forget(cpu, x)

    # Events.

    def thread_switch(self, cpu: FirstClass.Cpu, task: FirstClass.Task, next: FirstClass.Task) -> None:
        pass

    def vcpu_put(self, cpu: FirstClass.Cpu, task: FirstClass.Task, vcpu: FirstClass.Vcpu) -> None:
        pass

    def fork(self, cpu: FirstClass.Cpu, task: FirstClass.Task, child: FirstClass.Task) -> None:
        self.bring_home(cpu, task)
        child.cpu = None

    def signal(self, cpu: FirstClass.Cpu, task: FirstClass.Task) -> None:
        self.bring_home(cpu, task)

    def sigreturn(self, cpu: FirstClass.Cpu, task: FirstClass.Task) -> None:
        self.forget(cpu, task)
        cpu.overwrite(task)

    def ptrace_write(self, cpu: FirstClass.Cpu, task: FirstClass.Task, tracee: FirstClass.Task) -> None:
        self.bring_home(cpu, tracee)
        super().ptrace_write(cpu, task, tracee)

    def vcpu_setreg(self, cpu: FirstClass.Cpu, task: FirstClass.Task, vcpu: FirstClass.Vcpu) -> None:
        self.bring_home(cpu, vcpu)
        super().vcpu_setreg(cpu, task, vcpu)

    def vcpu_reset(self, cpu: FirstClass.Cpu, task: FirstClass.Task, vcpu: FirstClass.Vcpu) -> None:
        self.forget(cpu, vcpu)
        cpu.overwrite(vcpu)

    def cpu_down(self, cpu: FirstClass.Cpu) -> None:
        self.clean(cpu)
        cpu.last = None
