"""What a capture records: events, functions and probes, and how to record the same elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

TRACING = "/sys/kernel/tracing"
BUFFER_KB = 40960
"""Size of each CPU's buffer, in units of 1024 bytes: about 400,000 lines."""

EVENTS = (
    "sched/sched_switch",
    "sched/sched_migrate_task",
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
    "raw_syscalls/sys_enter",
    "raw_syscalls/sys_exit",
    "kvm/kvm_entry",
    "kvm/kvm_exit",
    "kvm/kvm_userspace_exit",
    "cpuhp/cpuhp_enter",
    "signal/signal_deliver",
)

LOADS = "kvm_arch_vcpu_load"
"""Loads a vCPU, for a run or after a switch (arch/arm64/kvm/arm.c): a preemptible kernel may switch before its call."""

UPDATES = "fpsimd_update_current_state"
"""Takes over the registers of a signal's frame, at sigreturn."""

FUNCTIONS = (
    "kernel_neon_begin",
    "kernel_neon_end",
    "task_fpsimd_load",
    "fpsimd_thread_switch",
    "fpsimd_restore_current_state",
    "fpsimd_save_and_flush_cpu_state",
    "fpsimd_bind_state_to_cpu",
    "fpsimd_preserve_current_state",
    "fpsimd_save_and_flush_current_state",
    "fpsimd_flush_thread",
    "fpsimd_flush_task_state",
    LOADS,
    "kvm_arch_vcpu_put",
    UPDATES,
    "kvm_arch_vcpu_load_fp",
    "kvm_arch_vcpu_put_fp",
    "kvm_arch_vcpu_ctxflush_fp",
    "kvm_arch_vcpu_ctxsync_fp",
    "do_sve_acc",
)
"""Functions of arch/arm64/kernel/fpsimd.c and arch/arm64/kvm/fpsimd.c (v6.1); those a kernel lacks are left out."""

NEWER = ("fpsimd_save_and_flush_current_state",)
"""Those of them that came later (v6.16): a kernel without them lacks nothing."""

SAVERS = ("fpsimd_save", "fpsimd_save_user_state")
"""Functions that choose how to store the registers; the second is the first's name since v6.8 (2632e2521769)."""

PROBES = {"hw_save": "fpsimd_save_state", "hw_sve_save": "sve_save_state"}
"""Names of probes, and the function whose call in a saver each is placed at."""


@dataclass(frozen=True)
class Recipe:
    """What one kernel can record: events as SYSTEM/NAME, functions, probes as SYMBOL+OFFSET; and what it cannot."""

    events: tuple[str, ...]
    functions: tuple[str, ...]
    probes: dict[str, str]
    missing: tuple[str, ...]

    def plan(self) -> list[str]:
        """Return the lines of the payload's plan that set tracing up; nothing is recorded yet after them."""
        t = TRACING
        lines = [f"write {t}/tracing_on 0", f"write {t}/buffer_size_kb {BUFFER_KB}", f"write {t}/options/overwrite 0"]
        lines += [f"write {t}/trace_clock mono"]
        lines += [f"write {t}/set_ftrace_filter {name}" for name in self.functions]
        lines += [f"write {t}/current_tracer function"] if self.functions else []
        lines += [f"write {t}/kprobe_events p:{name} {place}" for name, place in self.probes.items()]
        lines += [f"write {t}/events/{name}/enable 1" for name in self.events]
        return lines + [f"write {t}/events/kprobes/{name}/enable 1" for name in self.probes]


_FIND_CALL = r"""
addr() { sed -n "s/^\([0-9a-f]*\) . $1\$/0x\1/p" /proc/kallsyms | head -1; }
call() { objdump -d --start-address=$(addr $1) --stop-address=$(($(addr $1) + 2048)) /proc/kcore |
    sed -n "s/^ *\([0-9a-f]*\):.*[[:space:]]bl[[:space:]]*$(addr $2).*/0x\1/p" | head -1; }
""".strip().splitlines()
"""Shell functions: the address of a symbol, and of the call of one function in another, in the kernel as it runs."""


def commands(recipe: Recipe | None, seconds: float) -> list[str]:
    """Return shell lines that record the same with trace-cmd, then with perf.

    Without a `recipe` (of a known kernel) lines of shell find the places of the probes on the machine itself.
    """
    known = recipe or Recipe(EVENTS, FUNCTIONS, dict.fromkeys(PROBES, ""), ())
    lines = ["# On the machine to record, as root, with the virtual machines running."]
    if recipe is None:
        lines += [
            "",
            "# The probes go to the calls that store the registers, found in this kernel's own text.",
            *_FIND_CALL,
        ]
    for name, place in known.probes.items():
        saver, callee = SAVERS[0], PROBES[name]
        found = place or f"{saver}+$(($(call {saver} {callee}) - $(addr {saver})))"
        lines.append(f'echo "p:{name} {found}" >> {TRACING}/kprobe_events')
    events = [f"-e {name.replace('/', ':')}" for name in known.events] + [f"-e kprobes:{name}" for name in known.probes]
    lines += ["", "# With trace-cmd:"]
    functions = [f"-l {name}" for name in known.functions]
    record = f"trace-cmd record -C mono -b {BUFFER_KB} -p function"
    lines += [*_folded([record, *events, *functions, f"sleep {seconds:g}"]), ""]
    lines += ["# Or with perf, which needs a probe for each function:"]
    lines += _folded(["for f in", *known.functions, "; do perf probe -q --add $f; done"])
    lines += _folded(["perf record -a -k CLOCK_MONOTONIC -m 4096", *events, "-e 'probe:*'", f"-- sleep {seconds:g}"])
    return [*lines, "perf script --ns --show-lost-events --header > trace.txt"]


def _folded(words: list[str], width: int = 110) -> list[str]:
    """Return a command over several lines of a shell."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += " " + word
    return lines
