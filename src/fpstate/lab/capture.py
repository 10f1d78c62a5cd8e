"""A capture: a scenario run under a real kernel on the emulated machine, and the trace of it."""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fpstate.errors import FpstateError
from fpstate.lab.apt import cache_folder, new_folder
from fpstate.lab.emulator import FP_TRAP, SVE_TRAP, read_logs
from fpstate.lab.kernel import Kernel, Symbols, recipe_for, with_dependencies
from fpstate.lab.lineup import StaleCodeError, addresses, lined_up
from fpstate.lab.payload import plugin
from fpstate.lab.qemu import Machine, Message, Run, check_machine, mode_of, qemu_version, run
from fpstate.lab.recipe import LOADS, TRACING, UPDATES, Recipe
from fpstate.lab.scenario import Scenario, check_cpus, check_seconds

Tell = Callable[[str], None]
_LOSSES = re.compile(r"^(overrun|commit overrun|dropped events): (\d+)", re.M)
_LIST_FILES = {
    "kallsyms": "/proc/kallsyms",
    "functions": f"{TRACING}/available_filter_functions",
    "events": f"{TRACING}/available_events",
}
_EXPECTED = {"started", "finished"}
TIMES = 3
"""How often a scenario is run at most. About one run in a hundred is no good by chance."""
AGAIN = "the emulator ran code that the kernel had patched; once more"


@dataclass(frozen=True)
class Known:
    """What one short boot of a kernel told about it."""

    symbols: Symbols
    recipe: Recipe


@dataclass(frozen=True)
class Wishes:
    """How a scenario is to be recorded."""

    seconds: float | None = None  # the most emulated time to record; the scenario's own if None
    observe: bool = True  # have the emulator see FP use
    allow_lost: bool = False  # keep a trace although events were lost
    keep: Path | None = None  # a folder where everything the run left stays


@dataclass(frozen=True)
class Capture:
    """A finished capture: the text of the trace, and what is known about it. Counts are of the whole machine."""

    trace: str
    kernel: str
    mode: str
    missing: tuple[str, ...]
    lost: int
    observed: bool  # the emulator saw every run of user mode and guests
    user_runs: int = 0
    guest_runs: int = 0
    fp_traps: int = 0  # of guests, to the hypervisor
    sve_traps: int = 0  # of guests
    exceptions: dict[str, int] = field(default_factory=dict)
    unfinished: int = 0  # actors that were not done when time was up


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Give a folder to run in: `keep`, or one that is gone afterwards."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        for old in keep.iterdir():
            if old.is_file():
                old.unlink()
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="fpstate-capture-") as name:
        yield Path(name)


def known(kernel: Kernel, tell: Tell) -> Known:
    """Return what a kernel says of itself: from the cache, or from a short boot.

    Raise FpstateError if it does not say.
    """
    kept = cache_folder() / "symbols" / kernel.digest
    if not kept.is_dir():
        tell(f"booting Linux {kernel.version} once for its symbols")
        with _folder(None) as folder:
            plan = [f"copy {path} {name}" for name, path in _LIST_FILES.items()]
            done = run(kernel, Machine("neoverse-n1", 1), plan, folder)
            for name in _LIST_FILES:
                if not done.text(name):
                    raise FpstateError(
                        f"the kernel does not show {_LIST_FILES[name]}",
                        expected="a kernel with KALLSYMS, FTRACE and DYNAMIC_FTRACE",
                        where=kernel.source,
                    )
            with new_folder(kept) as part:
                for name in _LIST_FILES:
                    (part / name).write_text(done.text(name))
    texts = {name: (kept / name).read_text() for name in _LIST_FILES}
    symbols = Symbols(texts["kallsyms"])
    functions = {line.split()[0] for line in texts["functions"].splitlines() if line}
    return Known(symbols, recipe_for(kernel, symbols, functions, set(texts["events"].split())))


def capture(
    scenario: Scenario,
    kernel: Kernel,
    machine: Machine,
    wishes: Wishes,
    *,
    tell: Tell = lambda _: None,
) -> Capture:
    """Run a scenario and return its trace; again, if the emulator did not run what the kernel had patched.

    Raise FpstateError for what cannot be recorded, an actor that failed, and, unless allowed, for lost events.
    """
    for _ in range(TIMES - 1):
        try:
            return _capture(scenario, kernel, machine, wishes, tell)
        except StaleCodeError as stale:
            tell(f"{stale.given}: {AGAIN}")
    return _capture(scenario, kernel, machine, wishes, tell)


def _capture(scenario: Scenario, kernel: Kernel, machine: Machine, wishes: Wishes, tell: Tell) -> Capture:
    check_cpus(scenario, machine.cpus)
    check_machine(machine)
    limit = scenario.seconds if wishes.seconds is None else wishes.seconds
    check_seconds(limit)
    told = known(kernel, tell)
    places, watched = addresses(kernel, told.symbols, told.recipe)
    modules = with_dependencies(kernel, scenario.modules)
    arguments = ",".join([str(plugin(cache_folder())), *(f"at={address:x}" for address in places)])
    tell(f"running {scenario.name} on {machine.cpus} CPUs ({machine.cpu_model}), at most {limit:g} s")
    with _folder(wishes.keep) as folder:
        plan = _plan(scenario, told.recipe, machine.cpus, modules, limit)
        done = run(
            kernel, machine, plan, folder, modules=modules, plugin=arguments if wishes.observe else "", seconds=limit
        )
        mode = checked(done, kernel, machine)
        lost = lost_events(done, machine.cpus, wishes.allow_lost)
        tell("reading the trace")
        lines = done.text("trace").splitlines()
        logs = read_logs(done.logs(), machine.cpus, watched) if wishes.observe else []
        unfinished = sum(m.number for m in done.messages if m.what.startswith("time was up"))
    if wishes.observe:
        lines = lined_up(lines, logs, watched)
    header = {
        "scenario": scenario.name,
        "kernel": kernel.version,
        "mode": mode,
        "preempt": "rt" if kernel.preempt_rt else "",
        "clock": "mono",
        "machine": f"{machine.cpu_model}, {machine.cpus} CPUs, QEMU {qemu_version()}",
        "missing": " ".join(told.recipe.missing),
        "observed": " ".join(_observed(told.recipe, wishes)),
    }
    text = "\n".join([*lines[:1], *(f"# fpstate: {k}={v}" for k, v in header.items() if v), *lines[1:]]) + "\n"
    traps: Counter[tuple[bool, int]] = sum((log.exceptions for log in logs), Counter())
    return Capture(
        text,
        kernel.version,
        mode,
        told.recipe.missing,
        lost,
        wishes.observe,
        sum(" user_run: " in line for line in lines),
        sum(" guest_run: " in line for line in lines),
        traps[True, FP_TRAP],
        traps[True, SVE_TRAP],
        {f"{'guest' if guest else 'user'} {ec:#04x}": n for (guest, ec), n in sorted(traps.items())},
        unfinished,
    )


_SHOWN = {"load": LOADS, "sigreturn": UPDATES}
"""What is seen whenever it happens, if the kernel has a function of that name."""


def _observed(recipe: Recipe, wishes: Wishes) -> list[str]:
    """Return of what nothing is missing in the trace, as its header has it."""
    return [
        *(("user", "guest") if wishes.observe else ()),
        *(word for word, name in _SHOWN.items() if name in recipe.functions),
    ]


def _plan(scenario: Scenario, recipe: Recipe, cpus: int, modules: dict[str, bytes], seconds: float) -> list[str]:
    lines = [f"module /modules/{name}" for name in modules]
    lines += ["kvm", *recipe.plan(), "sleep 20", f"write {TRACING}/tracing_on 1", "mark"]
    lines += [actor.line(cpus) for actor in scenario.actors]
    lines += [f"wait {round(seconds * 1000)}", "stop", "sleep 50"]  # so that nothing is cut in the middle
    lines += [f"write {TRACING}/tracing_on 0"]
    lines += [f"copy {TRACING}/per_cpu/cpu{cpu}/stats stats{cpu}" for cpu in range(cpus)]
    return [*lines, f"copy {TRACING}/trace trace", "copy /dev/kmsg kmsg"]


def checked(done: Run, kernel: Kernel, machine: Machine) -> str:
    """Return KVM's mode, or raise FpstateError for what went wrong inside the machine."""
    wrong = [m for m in done.messages if m.what not in _EXPECTED and not m.what.startswith("time was up")]
    if wrong:
        raise FpstateError(
            "; ".join(dict.fromkeys(_sentence(m) for m in wrong[:4])),
            expected="all actors to do their work",
            where=f"Linux {kernel.version} on {machine.cpu_model}",
        )
    mode = mode_of(done.text("kmsg"))
    if not mode:
        raise FpstateError(
            "KVM does not run in this kernel", expected="CONFIG_KVM=y and a CPU model with EL2", where=kernel.source
        )
    if machine.mode and machine.mode != mode:
        raise FpstateError(
            f"asked for {machine.mode}, but KVM chose {mode}",
            expected="a CPU model and a kernel that know this mode (vhe: not cortex-a57; hvhe: Linux 6.5 or newer)",
            where=f"Linux {kernel.version} on {machine.cpu_model}",
        )
    return mode


def _sentence(message: Message) -> str:
    number = ""
    if message.number < 0:
        failed = message.what == "actor failed"
        number = f" (signal {-message.number})" if failed else f" ({os.strerror(-message.number)})"
    return f"{message.what}: {message.about}{number}"


def lost_events(done: Run, cpus: int, allowed: bool) -> int:
    """Return how many events the recorder lost; raise FpstateError if any and that was not asked for."""
    lost = sum(int(n) for cpu in range(cpus) for _, n in _LOSSES.findall(done.text(f"stats{cpu}")))
    if lost and not allowed:
        raise FpstateError(
            f"the recorder lost {lost} events", expected="none", hint="record for less --seconds, or --allow-lost"
        )
    return lost


def write_trace(text: str, path: Path) -> None:
    """Write a trace, compressed if the name ends in .gz; the file appears whole or not at all. Raise FpstateError."""
    data = gzip.compress(text.encode(), 9, mtime=0) if path.suffix == ".gz" else text.encode()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise FpstateError(f"cannot write: {error.strerror}", expected="a file in a folder", where=str(path)) from None
