"""R4: the scalar control register is not switched with the wide form of the state."""

from __future__ import annotations

from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_format import Form, FormatHost


class Faulty(FormatHost):
    """The wide form (MSA) is taken to include all of the narrow one; FPMR stands for FCSR."""

    name = "r4-faulty"

    def fpsimd_save(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        if task.foreign:
            return
        if task.tif_sve and not task.in_syscall:
            cpu.save_sve(task)
            task.fp_type = Form.SVE
        else:
            cpu.save_part("fpmr", task)
            cpu.save(task)
            task.fp_type = Form.FPSIMD

    def task_fpsimd_load(self, cpu: FormatHost.Cpu, task: FormatHost.Task) -> None:
        if task.fp_type is Form.SVE:
            task.tif_sve = True
            cpu.set_vl(task)
            cpu.load_sve(task)
        else:
            task.tif_sve = False
            cpu.load_part("fpmr", task)
            cpu.load(task)


class Fixed(FormatHost):
    """It is saved and loaded with both forms."""

    name = "r4-fixed"


BUG = Bug(
    "R4", "scalar control register not switched with the vectors", "1793e7594ea9", Faulty, Fixed, "confidentiality", 14,
    events=("user_sve", "interrupt"), features=("sve", "fpmr"),
)  # fmt: skip
