"""A36: a new vector length brings back registers of long ago: V of a stale SVE form is copied over V just saved.

Since v6.2 (8c845e273104) a task keeps TIF_SVE over a system call, while what is saved there is saved as FPSIMD. But
`vec_set_vector_length` went on to copy V from the SVE form whenever TIF_SVE was set: until v6.15, and in 6.12.y. It is
mended in 7.3.4, and, as far as is known, by Mark Rutland's series of 8 May 2025 (v6.16).

https://lore.kernel.org/all/20250508132644.1395904-1-mark.rutland@arm.com/
"""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import Form
from fpstate.policies.linux_6_14 import Linux612y


class Faulty(Linux612y):
    """The flag says which form V is taken from."""

    name = "a36-faulty"

    def vl_change(self, cpu: Linux612y.Cpu, task: Linux612y.Task) -> None:
        self.fpsimd_save(cpu, task)
        self.fpsimd_flush_task_state(task)
        if task.tif_sve:
            task.tif_sve = False
            cpu.narrow(task)
            task.fp_type = Form.FPSIMD
        cpu.free_sve(task)
        cpu.alloc_sve(task)


class Fixed(Linux612y):
    """The form that was saved last says it."""

    name = "a36-fixed"


BUG = Bug(
    "A36", "A new vector length brings back old registers", "patch series of 2025-05-08, v6.16", Faulty, Fixed,
    "integrity", 8, tasks=1, events=("user_sve", "vl_change"), features=("sve",),
    note="Found in Debian's 6.12.118 by running its code. That the series mends it is from recollection; 7.3.4 does.",
)  # fmt: skip
