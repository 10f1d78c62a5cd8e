"""The kernel's own FP stress tests under policies: how long they run clean, and how fast.

    python -m tests.selftests.run FOLDER INSTRUCTIONS [POLICY...]

FOLDER is what `tests/selftests/build.sh` prints. Two tasks and two guests a CPU, on two CPUs; every correct policy if none
is named. A policy that knows SVE runs a second time, with half of its tasks as sve-test.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fpstate.machine.elf import find_program
from fpstate.machine.host import Settings
from fpstate.machine.run import VECTOR_LENGTH, Laboratory, handles_guests
from fpstate.policies.base import with_features
from fpstate.policies.catalogue import find_policy, policies
from fpstate.rows.learn import Rows

WRONG = {"defer-to-put", "riscv-kvm-6.8"}  # named policies that corrupt guests once softirqs use NEON
CPUS, EACH = 2, 2


def main() -> int:
    """Run them, print a line for each run, and return how many were not clean."""
    folder, instructions = Path(sys.argv[1]), int(sys.argv[2])
    fpsimd, sve = (find_program(str(folder / name)) for name in ("fpsimd-test", "sve-test"))
    laboratories = {length: Laboratory(CPUS, vector_length=length) for length in (0, VECTOR_LENGTH)}
    wrong = 0
    for name in sys.argv[3:] or sorted(set(policies()) - WRONG):
        policy = find_policy(name)
        guests = [fpsimd] * CPUS * EACH if handles_guests(policy) else []
        for length in (0, VECTOR_LENGTH) if "sve" in policy.supports else (0,):
            rows = Rows(with_features(policy, ["sve"]) if length else policy)
            tasks = ([sve, fpsimd] if length else [fpsimd, fpsimd]) * (CPUS * EACH // 2)
            settings = Settings(CPUS, instructions=instructions)
            began = time.monotonic()
            result, host = laboratories[length].run(rows, settings, tasks, guests)
            clean = result.ok and result.running == len(result.programs)
            wrong += not clean
            print(
                f"{name:18} {'SVE' if length else '   '} {'clean' if clean else 'WRONG'} {result.instructions:,} "
                f"instructions, {len(host.twin.log):,} events, {result.seconds:.1f} s, "
                f"{time.monotonic() - began:.1f} s with the runs alone",
                flush=True,
            )
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
