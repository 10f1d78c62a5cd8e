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

FUNCTIONS = (
    "kernel_neon_begin",
    "kernel_neon_end",
    "task_fpsimd_load",
    "fpsimd_thread_switch",
    "fpsimd_restore_current_state",
    "fpsimd_save_and_flush_cpu_state",
    "fpsimd_bind_state_to_cpu",
    "fpsimd_preserve_current_state",
    "fpsimd_flush_thread",
    "fpsimd_flush_task_state",
    "kvm_arch_vcpu_load_fp",
    "kvm_arch_vcpu_put_fp",
    "kvm_arch_vcpu_ctxflush_fp",
    "kvm_arch_vcpu_ctxsync_fp",
    "do_sve_acc",
)
"""Functions of arch/arm64/kernel/fpsimd.c and arch/arm64/kvm/fpsimd.c (v6.1; those that a kernel lacks are left out)."""

SAVERS = ("fpsimd_save", "fpsimd_save_user_state")
"""Functions that choose how to store the registers; the second is the first's name since v6.8 (2632e2521769)."""

PROBES = {"hw_save": "fpsimd_save_state", "hw_sve_save": "sve_save_state"}
"""Names of probes, and the function whose call in a saver each is placed at."""


@dataclass(frozen=True)
class Recipe:
    """What one kernel can record: `events` as SYSTEM/NAME, `functions`, `probes` (name to SYMBOL+OFFSET), and the rest."""

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


def commands(recipe: Recipe | None, seconds: float) -> list[str]:
    """Return shell lines that record the same with trace-cmd, then with perf.

    Without a `recipe` (of a known kernel) the probes are placed by lines that look the calls up on that machine.
    """
    known = recipe or Recipe(EVENTS, FUNCTIONS, dict.fromkeys(PROBES, ""), ())
    lines = ["# On the machine to record, as root, with the virtual machines running."]
    for name, place in known.probes.items():
        lines += _place_of(name) if not place else [f"{name}={place}"]
    probes = [f'echo "p:{name} ${name}" >> {TRACING}/kprobe_events' for name in known.probes]
    lines += ["", *probes, ""]
    words = [f"-e {name.replace('/', ':')}" for name in known.events] + [f"-e kprobes:{name}" for name in known.probes]
    words += [f"-l {name}" for name in known.functions]
    lines += ["# trace-cmd:", *_folded(["trace-cmd record -C mono -b 40960 -p function", *words, f"sleep {seconds:g}"])]
    lines += ["trace-cmd report -l trace.dat > trace.txt", ""]
    perf = ["-e " + name.replace("/", ":") for name in known.events] + [f"-e kprobes:{name}" for name in known.probes]
    lines += ["# perf, with a probe for each function:"]
    lines += [f"for f in {' '.join(known.functions)}; do perf probe -q -a $f; done"]
    perf += ["-e 'probe:*'"]
    lines += _folded(["perf record -a -k CLOCK_MONOTONIC -m 4096", *perf, f"-- sleep {seconds:g}"])
    return [*lines, "perf script --ns > trace.txt"]


def _place_of(name: str) -> list[str]:
    """Return a line that finds the call in the running kernel's own text."""
    return [
        f"# {name}: the address of the call to {PROBES[name]} in fpsimd_save, from the kernel as it runs:",
        f"{name}=fpsimd_save+$(gdb -batch -ex 'disassemble /r fpsimd_save' /usr/lib/debug/boot/vmlinux-$(uname -r)"
        " /proc/kcore |",
        f"    sed -n 's/.*<+\\([0-9]*\\)>:.*bl.*<{PROBES[name]}>.*/\\1/p' | head -1)",
    ]


def _folded(words: list[str], width: int = 110) -> list[str]:
    """Return a command over several lines of a shell."""
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += " " + word
    return lines
