"""X7, X8, N8: a control register is not written because a cached copy says that it is right already."""

from __future__ import annotations

from fpstate.policies.base import Context
from fpstate.policies.bugs.bug import Bug
from fpstate.policies.host_deferred import DeferredHost


class CachedHost(DeferredHost):
    """The vector length stands for XFD: state is loaded right only under the register value of its task."""

    class Cpu(DeferredHost.Cpu):
        cached: Context | None = None  # whose value was written last

    def synchronise(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        if cpu.cached is not task:
            cpu.set_vl(task)
            cpu.cached = task

    def task_fpsimd_load(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        if task.tif_sve:
            self.synchronise(cpu, task)
            cpu.load_sve(task)
        else:
            cpu.load(task)

    def exit(self, cpu: Cpu, task: DeferredHost.Task) -> None:
        if cpu.cached is task:
            cpu.cached = None


class X7Fixed(CachedHost):
    """Register and cache are reset together."""

    name = "x7-fixed"

    def cpu_down(self, cpu: CachedHost.Cpu) -> None:
        super().cpu_down(cpu)
        cpu.cached = None

    def cpu_pm_exit(self, cpu: CachedHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.cached = None


class X7Faulty(CachedHost):
    """Hotplug resets the register, not its cached copy."""

    name = "x7-faulty"


class X8Fixed(X7Fixed):
    """Each path that loads state synchronises the register first."""

    name = "x8-fixed"


class X8Faulty(X7Fixed):
    """The path by which a signal replaces the state loads under whatever value is there."""

    name = "x8-faulty"

    def sigreturn_sve(self, cpu: CachedHost.Cpu, task: DeferredHost.Task) -> None:
        cpu.alloc_sve(task)
        cpu.overwrite_sve(task)
        cpu.overwrite(task)
        task.tif_sve = True
        cpu.load_sve(task)
        self.fpsimd_bind_task_to_cpu(cpu, task)


class N8Faulty(CachedHost):
    """Suspend resets the register, not its cached copy."""

    name = "n8-faulty"


class N8Fixed(X7Fixed):
    """The cache is reset on resume."""

    name = "n8-fixed"


X7 = Bug(
    "X7", "cached XFD value stale after CPU hotplug", "10e4b5166df9", X7Faulty, X7Fixed, "vector-length", 10, cpus=2,
    tasks=1, events=("user_sve", "interrupt", "hotplug"), features=("sve",),
    note="SVE state stands for AMX tiles, and the vector length for XFD: a wrong one makes the load itself trap.",
)  # fmt: skip
X8 = Bug(
    "X8", "XFD not synchronised when a signal resets state", "388eff894d6b", X8Faulty, X8Fixed, "vector-length", 8,
    events=("user_sve", "interrupt", "sigreturn_sve"), features=("sve",),
    note="As X7. The path is that of sigreturn, since delivery replaces no registers here.",
)  # fmt: skip
N8 = Bug(
    "N8", "cached XCR0 stale after suspend", "f7f4a523927f", N8Faulty, N8Fixed, "vector-length", 9, tasks=1,
    events=("user_sve", "interrupt", "pm"), features=("sve",),
    note="vCPUs are threads here, and the vector length stands for XCR0. The second bug of the chain, an impossible "
    "marker in the cache, is not in it.",
)  # fmt: skip
