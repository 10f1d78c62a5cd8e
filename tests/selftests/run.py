"""The kernel's own FP stress tests under policies: whether they run clean, what they print if not, how fast it goes.

    python -m tests.selftests.run FOLDER INSTRUCTIONS [POLICY...]

FOLDER is what `tests/selftests/build.sh` prints. Two tasks and two guests a CPU, on two CPUs, under every correct
policy if none is named; `bugs` stands for the faulty side of each historical bug, on as many CPUs as it takes. Each
policy runs fpsimd-test, the same with signals if it handles them, and with half of the tasks sve-test, and signals, if
it knows SVE.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fpstate.errors import FpstateError
from fpstate.machine.elf import Program, find_program
from fpstate.machine.host import Settings
from fpstate.machine.run import VECTOR_LENGTH, Laboratory, Result, handles_guests
from fpstate.policies.base import Policy, with_features
from fpstate.policies.catalogue import bugs, find_policy, policies
from fpstate.rows.learn import Rows

WRONG = {"defer-to-put", "riscv-kvm-6.8"}  # named policies that corrupt guests once softirqs use NEON
CORRECT = sorted(set(policies()) - WRONG)
CPUS, EACH, SIGNALS = 2, 2, 0.1
Variant = tuple[str, float, bool]  # its name, probability of signals, whether tasks use SVE

PLAIN: Variant = ("", 0.0, False)
WITH_SIGNALS: Variant = ("signals", SIGNALS, False)
SVE_ALONE: Variant = ("SVE", 0.0, True)
WITH_SVE: Variant = ("SVE", SIGNALS, True)


class Stress:
    """The tests on one machine without SVE and one with it."""

    def __init__(self, folder: Path) -> None:
        self.fpsimd, self.sve = (find_program(str(folder / name)) for name in ("fpsimd-test", "sve-test"))
        self.laboratories = {length: Laboratory(CPUS, vector_length=length) for length in (0, VECTOR_LENGTH)}

    def run(self, policy: type[Policy], instructions: int, variant: Variant = PLAIN, cpus: int = CPUS) -> Result:
        """Run them under a policy, two tasks and two guests a CPU."""
        _, signals, sve = variant
        length = VECTOR_LENGTH if sve else 0
        guests: list[Program] = [self.fpsimd] * cpus * EACH if handles_guests(policy) else []
        tasks = ([self.sve, self.fpsimd] if sve else [self.fpsimd, self.fpsimd]) * (cpus * EACH // 2)
        rows = Rows(with_features(policy, ["sve"]) if sve else policy)
        settings = Settings(cpus, instructions=instructions, signals=signals)
        return self.laboratories[length].run(rows, settings, tasks, guests, paths=False)[0]


def mismatches(result: Result) -> int:
    """Return how many of the tests have printed a mismatch."""
    return sum("Mismatch: PID=" in p.result for p in result.programs)


def clean(result: Result) -> bool:
    """Tell whether all of them were right, and still running at the end."""
    return result.ok and result.running == len(result.programs)


def variants(policy: type[Policy]) -> Iterator[Variant]:
    """Yield the runs of a policy."""
    if "sve" not in policy.features:
        yield PLAIN
        if hasattr(policy, "signal") and hasattr(policy, "sigreturn"):
            yield WITH_SIGNALS
    if "sve" in policy.supports:
        yield WITH_SVE if hasattr(policy, "sigreturn_sve") else SVE_ALONE


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run them, print a line for each run, and return how many were not clean."""
    stress, instructions, wrong = Stress(Path(sys.argv[1])), int(sys.argv[2]), 0
    for name in [n for word in sys.argv[3:] or CORRECT for n in (bugs() if word == "bugs" else [word])]:
        policy, cpus = find_policy(name), bugs()[name].cpus if name in bugs() else CPUS
        for variant in variants(policy):
            began = time.monotonic()
            try:
                result = stress.run(policy, instructions, variant, cpus)
            except FpstateError as error:
                say(f"{name:18} {variant[0]:7} refused: {error}")
                continue
            wrong += not clean(result)
            said = "clean" if clean(result) else f"{mismatches(result)} mismatches, {', '.join(result.verdicts)}"
            seconds = f"{result.seconds:.1f} s, {time.monotonic() - began:.1f} s with the runs alone"
            say(f"{name:18} {variant[0]:7} {result.instructions:,} instructions, {seconds}: {said}")
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
