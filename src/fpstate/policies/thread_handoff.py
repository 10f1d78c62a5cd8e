"""Handing a thread over, as proposed for io_uring in 2026: another thread returns to user mode in its place.

Jens Axboe's RFC: a thread about to block in a request that was issued inline offers what user mode sees of it, FP
registers included, to an idle worker of the same process (kernel/thread_handoff.c). arch_thread_handoff_prepare() runs
on the thread and brings its image up to date; arch_thread_handoff_finish() runs on the worker, copies the image, and
loads what the return to user mode does not. The thread goes on as a worker, and may take an identity over itself later.
arm64's two hooks are written here from that description.
"""

from __future__ import annotations

from typing import ClassVar

from fpstate.policies.host_flushed import BufferedHost
from fpstate.policies.linux_6_16 import Linux72, Linux616


class ThreadHandoff(Linux72):
    """linux-7.2 with both hooks: saved before it is offered, and whoever takes it over is nobody's on any CPU."""

    name = "thread-handoff"
    kernels = ""
    source = "Jens Axboe, RFC of autumn 2026: kernel/thread_handoff.c, include/linux/thread_handoff.h, io_uring"
    supports: ClassVar[frozenset[str]] = frozenset({"nvhe", "barriers"})  # nothing else is said to move

    def handoff_prepare(self, cpu: Linux616.Cpu, task: BufferedHost.Task) -> None:
        self.fpsimd_save(cpu, task)

    def handoff_finish(self, cpu: Linux616.Cpu, task: BufferedHost.Task, next: BufferedHost.Task) -> None:
        self.fpsimd_flush_task_state(task)
