"""The policy that docs/tutorial.md writes, breaks and mends."""

from fpstate.policies.base import Context, Policy


class Lazy(Policy):
    """Load a task's registers when it first uses them; save them when somebody else does."""

    name = "lazy"

    class Cpu(Policy.Cpu):
        owner: Context | None = None

    def thread_switch(self, cpu, task, next):
        cpu.user_fp_trap = cpu.owner is not next

    def user_fp_trap(self, cpu, task):
        cpu.user_fp_trap = False
        if cpu.owner is not None and cpu.owner is not task:
            cpu.save(cpu.owner)
        cpu.load(task)
        cpu.owner = task


class LazyMigrating(Lazy):
    """The same, saved at the switch as well, so that another CPU finds the values."""

    name = "lazy-migrating"

    class Task(Policy.Task):
        last_cpu: Policy.Cpu | None = None

    def thread_switch(self, cpu, task, next):
        if cpu.owner is task and not cpu.user_fp_trap:
            cpu.save(task)
        cpu.user_fp_trap = cpu.owner is not next or next.last_cpu is not cpu

    def user_fp_trap(self, cpu, task):
        cpu.user_fp_trap = False
        cpu.load(task)
        cpu.owner = task
        task.last_cpu = cpu
