"""Rows out of a kernel's own code beside rows out of the package's policy of that kernel, in one run.

Every path through every handler is asked once, as for a decision table; and a check of the default scope follows, from
a name to a verdict, dumps and compiled code being there. Skipped where Debian's 6.1 has not been fetched.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from fpstate.check.run import check
from fpstate.kernel.named import named_kernel
from fpstate.kernel.policy import code_of, policy_of
from fpstate.kernel.stage import Stage
from fpstate.lab.apt import fetched_kernel
from fpstate.lab.dump import dump_of
from fpstate.lab.kernel import read_kernel
from fpstate.lab.qemu import Machine
from fpstate.paths.scope import Scope
from fpstate.policies.base import Policy
from fpstate.policies.catalogue import find_policy
from fpstate.rows.decisions import all_decisions
from fpstate.rows.learn import Rows

T = TypeVar("T")
PEER = "linux-6.1.y"


def timed(what: Callable[[], T]) -> tuple[T, float]:
    """Return a result and the seconds it took."""
    began = time.perf_counter()
    return what(), time.perf_counter() - began


def rows_a_second(policy: type[Policy]) -> tuple[int, float]:
    """Return how many rows the handlers of a policy have, and how many a second were asked for; the best of three."""
    runs = [timed(lambda: sum(1 for _ in all_decisions(Rows(policy)))) for _ in range(3)]
    count, seconds = min(runs, key=lambda run: run[1])
    return count, count / seconds


def main() -> None:
    """Measure and print, each beside its peer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="check a smaller scope")
    args = parser.parse_args()
    image = fetched_kernel()
    if image is None:
        sys.stdout.write("kernel: skipped, Debian's 6.1 has not been fetched (fpstate policies kernel:debian-6.1)\n")
        return
    dump = dump_of(read_kernel(image), Machine("neoverse-n1", 1, "vhe"), lambda _: None)
    code, made = timed(lambda: code_of(Stage(dump)))
    policy, asked = timed(lambda: policy_of(code, "kernel:bench", "a kernel"))  # asks for each row once
    count = sum(1 for _ in all_decisions(Rows(policy)))
    peer = find_policy(PEER)
    peer_count, peer_rate = rows_a_second(peer)
    sys.stdout.write(f"from a dump to its fields: {made:.2f} s\n")
    sides = f"kernel {count}, {count / asked:,.0f} a second; {PEER} {peer_count}, {peer_rate:,.0f}"
    sys.stdout.write(f"rows: {sides}: {count / asked / peer_rate:.2f}\n")
    scope = Scope(2, 1, 1) if args.short else Scope(2, 2, 2)
    check(peer, Scope(1, 1, 1))  # compiles
    _, peer_seconds = timed(lambda: check(peer, scope))
    named_kernel.cache_clear()
    _, seconds = timed(lambda: check(named_kernel("kernel:debian-6.1"), scope))
    sides = f"kernel:debian-6.1 {seconds:.1f} s, {PEER} {peer_seconds:.1f}: {seconds / peer_seconds:.2f}"
    sys.stdout.write(f"check at {scope.counted()}: {sides}\n")


if __name__ == "__main__":
    main()
