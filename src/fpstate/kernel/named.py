"""Kernels by name: kernel:debian-6.1 and the like are Debian's, fetched with apt; kernel:PATH is one's own image.

What it runs on may follow, each after an @: a mode of KVM, or a CPU model (kernel:debian-6.12@nvhe, PATH@cortex-a72).
"""

from __future__ import annotations

import atexit
import functools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fpstate.errors import FpstateError, unknown_name
from fpstate.policies.base import Policy

if TYPE_CHECKING:
    from fpstate.kernel.kept import Kept
    from fpstate.lab.kernel import Kernel
    from fpstate.lab.qemu import Machine

PREFIX = "kernel:"
CPU_MODEL = "neoverse-n1"
"""Has VHE, and no SVE: FPSIMD is what these rows are about."""
MODE = "vhe"
WITH_SVE = "max", "sme=off,lpa2=off,sve-max-vq=7"
"""CPU model and options where the world has SVE; seven vector lengths are one for each context, and one more."""


@functools.cache
def named_kernel(name: str) -> type[Policy]:
    """Return the policy that a kernel's code is; `name` is kernel:debian-VERSION or kernel:PATH, and what it runs on.

    With feature nvhe it is the code that this kernel runs where KVM's mode is nvhe. Raise FpstateError if there is no
    such kernel, or if it cannot be run.
    """
    policy = _run_on(name, frozenset())
    if not _words(name)[1]:
        policy.supports |= {"sve", "guest-sve", "aarch32"}
    policy.in_world = functools.partial(_in_world, policy)  # type: ignore[method-assign]
    return policy


def _in_world(policy: type[Policy], features: frozenset[str]) -> type[Policy]:
    """Return the code that a kernel runs in a world with features: on another CPU, or below the hypervisor."""
    if features.issuperset({"guest-sve", "aarch32"}):
        given = "features guest-sve and aarch32: a guest of KVM has SVE or is a 32-bit one"
        raise FpstateError(given, expected="one of them", where=policy.name)
    mode = _words(policy.name)[0]
    if mode == MODE and "nvhe" in features:
        raise FpstateError("mode vhe, in a world with feature nvhe", expected="one of them", where=policy.name)
    if mode not in ("", MODE) and "sve" in features and "nvhe" not in features:
        given = f"mode {mode} with SVE, in a world without feature nvhe"
        raise FpstateError(given, expected="--features nvhe too", where=policy.name)
    machine = features & {"sve", "aarch32", "nvhe"}
    return _elsewhere(policy.name, machine) if machine else policy


def _run_on(name: str, features: frozenset[str]) -> type[Policy]:
    """Return a kernel on the CPU and in the mode that its name says, or else the features of the world."""
    from fpstate.lab.qemu import Machine

    mode, model = _words(name)
    asked = mode or ("nvhe" if "nvhe" in features else "")
    cpu, options = WITH_SVE if "sve" in features else (model or CPU_MODEL, "")
    machine, kernel = Machine(cpu, 1, asked or MODE, options), _kernel(name.removeprefix(PREFIX).partition("@")[0])
    policy, found = _known(kernel, machine, name, aarch32="aarch32" in features)
    if asked:
        _refuse_another_mode(kernel, machine, found, name)
    return policy


_elsewhere = functools.cache(_run_on)


def _refuse_another_mode(kernel: Kernel, machine: Machine, mode: str, name: str) -> None:
    """Raise FpstateError if the mode that KVM is in is not the one that was asked for."""
    if mode != machine.mode:
        given = f"Linux {kernel.version} runs in mode {mode} on {machine.cpu_model}, not {machine.mode}"
        raise FpstateError(given, expected="a mode that both have", where=name)


@functools.cache
def _kernel(which: str) -> Kernel:
    """Return the kernel of a name or path."""
    from fpstate.lab.apt import SUITES, fetch_kernel, is_name
    from fpstate.lab.kernel import read_kernel

    if is_name(which):
        path = fetch_kernel(_tell, which)
    else:
        path = Path(which)
        if not path.is_file():
            expected = f"the path of an arm64 Image, or one of {', '.join(SUITES)}"
            raise FpstateError(f"there is no kernel '{which}'", expected=expected)
    return read_kernel(path)


def _known(kernel: Kernel, machine: Machine, name: str, *, aarch32: bool = False) -> tuple[type[Policy], str]:
    """Return the policy of a kernel on a machine, and KVM's mode: from what is kept of it, or by asking it all.

    `aarch32`: its guests are 32-bit ones.
    """
    from fpstate.kernel import kept, policy
    from fpstate.kernel.runs import Runs
    from fpstate.kernel.stage import Stage
    from fpstate.lab.dump import dump_of

    source = f"Linux {kernel.version}"
    path = kept.path_for(kernel, machine, aarch32=aarch32)
    found = kept.read(path)
    if found is not None:
        code = policy.KernelCode(found, lambda: Runs(Stage(dump_of(kernel, machine, _tell), guests_of_32_bits=aarch32)))
        atexit.register(_keep_more, path, found, len(found.steps))
        return policy.made(code, name, source), found.mode
    dump = dump_of(kernel, machine, _tell)
    if dump.has_sve and not machine.options:
        given = f"{machine.cpu_model} has SVE, which goes with a world that has it"
        hint = f"name it as {name.partition('@')[0]}, and give --features sve"
        raise FpstateError(given, expected=f"a CPU model without, such as {CPU_MODEL}", where=name, hint=hint)
    _tell(f"running the code of {source} on each view, up to a minute")
    made, found = policy.kernel_policy(Stage(dump, guests_of_32_bits=aarch32), name, source)
    found.mode = dump.mode
    atexit.register(_keep_more, path, found, 0)
    return made, found.mode


def _keep_more(path: Path, found: Kept, before: int) -> None:
    """Keep what is known of a kernel, if that has become more than it was before."""
    from fpstate.kernel import kept

    if len(found.steps) != before:
        kept.write(path, found)


def with_line(name: str, where: str) -> str:
    """Return where a kernel decided, with file and line of its instruction if there is debug information of its build.

    `where` names the instruction as Say does, by symbol and offset.
    """
    from fpstate.lab.capture import known
    from fpstate.lab.lines import line_of, vmlinux_of

    found = re.search(r"\bat (\S+)\+(0x[0-9a-f]+)$", where)
    if found is None:
        return where
    kernel = _kernel(name.removeprefix(PREFIX).partition("@")[0])
    if vmlinux_of(kernel) is None:
        return where
    start = known(kernel, _tell).symbols.address(found[1])
    line = line_of(kernel, start + int(found[2], 16)) if start is not None else ""
    return f"{where} ({line})" if line else where


def _words(name: str) -> tuple[str, str]:
    """Return the mode and the CPU model that follow a kernel's name; empty for one that does not."""
    from fpstate.lab.qemu import MODES, cpu_models

    found = {"mode": "", "CPU model": ""}
    for word in name.split("@")[1:]:
        if word not in MODES and word not in cpu_models():
            raise unknown_name("mode or CPU model", word, [*MODES, *cpu_models()])
        kind = "mode" if word in MODES else "CPU model"
        if found[kind]:
            raise FpstateError(f"two {kind}s: {found[kind]} and {word}", expected="one", where=name)
        found[kind] = word
    return found["mode"], found["CPU model"]


def _tell(text: str) -> None:
    """Say on a terminal what takes its time."""
    if sys.stderr.isatty():
        sys.stderr.write(f"fpstate: {text}\n")
