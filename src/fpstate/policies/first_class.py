"""first-class: vCPUs and tasks are equal contexts; only somebody else's load forces a reload."""

from __future__ import annotations

from fpstate.policies.base import Context, Policy


class FirstClass(Policy):
    """Dave Martin's "ultimately": whose the registers are is a fact about a CPU and a context, and put keeps it.

    Clean residency: whoever stops running is saved if he may have written, but stays in the registers until they are
    loaded with something else. Invalidation from outside clears the context's `cpu`.
    """

    name = "first-class"
    source = "review of [PATCH v3 09/41], Dave Martin, 22 January 2018; no kernel does all of it"
    gives_up = ("transient exposure", "timing")

    class Cpu(Policy.Cpu):
        last: Context | None = None
        dirty: bool = False  # the registers may be newer than the image of `last`

    class Task(Policy.Task):
        cpu: Policy.Cpu | None = None

    class Vcpu(Policy.Vcpu):
        cpu: Policy.Cpu | None = None

    def clean(self, cpu: Cpu) -> None:
        if cpu.dirty:
            cpu.save(cpu.last)
            cpu.dirty = False

    def resident(self, cpu: Cpu, x: Task | Vcpu) -> bool:
        return cpu.last is x and x.cpu is cpu

    def acquire(self, cpu: Cpu, x: Task | Vcpu) -> None:
        self.clean(cpu)
        if not self.resident(cpu, x):
            cpu.load(x)
            cpu.last = x
            x.cpu = cpu

    def forget(self, cpu: Cpu, x: Task | Vcpu) -> None:
        x.cpu = None
        if cpu.last is x:
            cpu.last = None
            cpu.dirty = False

    # Events.

    def thread_switch(self, cpu: Cpu, task: Task, next: Task) -> None:
        self.clean(cpu)

    def ret_to_user(self, cpu: Cpu, task: Task) -> None:
        if not self.resident(cpu, task):
            self.acquire(cpu, task)
        cpu.dirty = True

    def guest_enter(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = not self.resident(cpu, vcpu)
        if not cpu.guest_fp_trap:
            cpu.dirty = True

    def guest_fp_trap(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        cpu.guest_fp_trap = False
        self.acquire(cpu, vcpu)
        cpu.dirty = True

    def vcpu_put(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        if cpu.last is vcpu:
            self.clean(cpu)

    def kernel_neon_begin(self, cpu: Cpu, task: Task) -> None:
        self.clean(cpu)
        cpu.last = None

    def fork(self, cpu: Cpu, task: Task, child: Task) -> None:
        if cpu.last is task:
            self.clean(cpu)
        child.cpu = None

    def exec(self, cpu: Cpu, task: Task) -> None:
        self.forget(cpu, task)
        cpu.overwrite(task)

    def exit(self, cpu: Cpu, task: Task) -> None:
        self.forget(cpu, task)

    def signal(self, cpu: Cpu, task: Task) -> None:
        if cpu.last is task:
            self.clean(cpu)

    def sigreturn(self, cpu: Cpu, task: Task) -> None:
        self.forget(cpu, task)
        cpu.overwrite(task)

    def ptrace_write(self, cpu: Cpu, task: Task, tracee: Task) -> None:
        cpu.edit(tracee)
        self.forget(cpu, tracee)

    def vcpu_setreg(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        cpu.edit(vcpu)
        self.forget(cpu, vcpu)

    def vcpu_reset(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        cpu.overwrite(vcpu)
        self.forget(cpu, vcpu)

    def vcpu_free(self, cpu: Cpu, task: Task, vcpu: Vcpu) -> None:
        self.forget(cpu, vcpu)

    def cpu_down(self, cpu: Cpu) -> None:
        cpu.last = None
        cpu.dirty = False

    def cpu_pm_enter(self, cpu: Cpu, task: Task) -> None:
        self.clean(cpu)
        cpu.last = None
