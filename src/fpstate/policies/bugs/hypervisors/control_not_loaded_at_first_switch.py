"""B10: a control register is not loaded at the first switch-in, and the state is saved under it."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_switched import WideSwitchedHost


class Fixed(WideSwitchedHost):
    """The control register (XSS; here the vector length) goes with the thread of a vCPU from its first switch on."""

    name = "b10-fixed"

    class Task(WideSwitchedHost.Task):
        launched: bool = False

    def load_control(self, cpu: WideSwitchedHost.Cpu, next: Task) -> None:
        cpu.set_vl(next)

    def ret_to_user(self, cpu: WideSwitchedHost.Cpu, task: Task) -> None:
        task.launched = True

    def thread_switch(self, cpu: WideSwitchedHost.Cpu, task: Task, next: Task) -> None:
        if task.mm and task.launched:
            cpu.save_sve(task)
        if next.mm:
            self.make_area(cpu, next)
            self.load_control(cpu, next)
            if next.launched:
                cpu.load_sve(next)
            else:
                cpu.clear(next)
                cpu.zero_sve()


class Faulty(Fixed):
    """It is loaded for vCPUs that have been launched only, and saved for all."""

    name = "b10-faulty"

    def load_control(self, cpu: WideSwitchedHost.Cpu, next: Fixed.Task) -> None:
        if next.launched:
            cpu.set_vl(next)


BUG = Bug(
    "B10", "control register not loaded at first switch-in (ACRN)", "projectacrn/acrn-hypervisor pulls 6435, 6439",
    Faulty, Fixed, "vector-length", 6, tasks=1, events=("user_sve", "interrupt"), features=("sve",),
    note="vCPUs are threads here; a length in force that is not the image's stands for the fault at XRSTORS.",
)  # fmt: skip
