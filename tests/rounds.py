"""Captures of real kernels in a loop, each held against the policy of its kernel: what is not exact is our fault.

Run: python -m tests.rounds FOLDER [--rounds 10] [--kernels debian-6.1,...] [--workers 2]. A capture takes some ten
seconds. What is done is kept in FOLDER, so that a loop that was stopped goes on; traces that are not exact stay there
with all that the run left.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import NamedTuple

from fpstate.api import validate
from fpstate.errors import FpstateError
from fpstate.lab.apt import SUITES, fetch_kernel
from fpstate.lab.capture import AGAIN, Wishes, capture, known, write_trace
from fpstate.lab.kernel import read_kernel
from fpstate.lab.qemu import Machine
from fpstate.lab.scenario import find_scenario

SCENARIOS = (
    "contended", "kneon", "mmio-fp", "signals", "storm", "smp4-mixed", "overcommit", "hotplug", "sve", "guest-sve",
    "guest-32bit",
)  # fmt: skip
NO_VHE = "cortex-a57"
ATTEMPTS = 3
"""A machine that stops, or a log that does not fit, is an error and no trace; it is counted, and tried again."""


class Asked(NamedTuple):
    """One capture of the loop."""

    kernel: str
    scenario: str
    mode: str
    turn: int

    @property
    def stem(self) -> str:
        """The name of its files."""
        return ".".join([self.kernel, self.scenario, self.mode, str(self.turn)])


def all_asked(kernels: list[str], rounds: int) -> Iterator[Asked]:
    """Return what there is to capture, a round at a time."""
    for turn, kernel, scenario, mode in product(range(rounds), kernels, SCENARIOS, ("vhe", "nvhe")):
        only_nvhe = find_scenario(scenario).cpu_model == NO_VHE
        knows_nvhe = kernel != "debian-5.10"  # kvm-arm.mode=nvhe is of 5.11; a CPU without VHE needs no word
        if only_nvhe <= (mode == "nvhe") and (mode == "vhe" or only_nvhe or knows_nvhe):
            yield Asked(kernel, scenario, mode, turn)


def done_once(asked: Asked, folder: Path) -> dict[str, object]:
    """Capture and validate; return what came of it."""
    scenario = find_scenario(asked.scenario)
    mode = "" if scenario.cpu_model == NO_VHE else asked.mode
    machine = Machine(scenario.cpu_model, scenario.cpus, mode)
    trace, left = folder / f"{asked.stem}.trace.txt.gz", folder / asked.stem
    errors: list[str] = []

    def tell(text: str) -> None:
        if text.endswith(AGAIN):
            errors.append(text)

    for _ in range(ATTEMPTS):
        try:
            kernel = read_kernel(fetch_kernel(lambda _: None, asked.kernel))
            write_trace(capture(scenario, kernel, machine, Wishes(keep=left), tell=tell).trace, trace)
            break
        except FpstateError as error:
            errors.append(str(error))
    else:
        return {**asked._asdict(), "policy": "", "observed": 0, "exact": False, "errors": errors}
    found = validate(trace)
    observed = sum(found.observed.values())
    exact = found.exact and observed > 0
    if exact:
        shutil.rmtree(left)
    return {**asked._asdict(), "policy": found.policy, "observed": observed, "exact": exact, "errors": errors}


def table(results: list[dict[str, object]]) -> str:
    """Return captures and how many are exact, by kernel."""
    of = Counter((str(r["kernel"]), str(r["policy"])) for r in results)
    exact = Counter((str(r["kernel"]), str(r["policy"])) for r in results if r["exact"])
    again = Counter((str(r["kernel"]), str(r["policy"])) for r in results if r["errors"])
    rows = [(kernel, policy, n, exact[kernel, policy], again[kernel, policy]) for (kernel, policy), n in of.items()]
    head = f"{'kernel':15} {'policy':14} captures  exact  done again"
    return "\n".join([head, *(f"{k:15} {p:14} {n:8} {e:6} {a:11}" for k, p, n, e, a in sorted(rows))])


def main() -> None:
    """Go on with the loop, and print what is known in the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kernels", default=",".join(SUITES))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    log = given.folder / "results.jsonl"
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    kernels = given.kernels.split(",")
    for name in kernels:
        known(read_kernel(fetch_kernel(lambda _: None, name)), lambda _: None)
    done = {(r["kernel"], r["scenario"], r["mode"], r["turn"]) for r in results}
    left = [asked for asked in all_asked(kernels, given.rounds) if asked not in done]
    with ProcessPoolExecutor(given.workers) as pool, log.open("a") as out:
        for future in as_completed([pool.submit(done_once, asked, given.folder) for asked in left]):
            result = future.result()
            results.append(result)
            out.write(json.dumps(result) + "\n")
            out.flush()
            if not result["exact"] or result["errors"]:
                sys.stdout.write(f"{result}\n")
                sys.stdout.flush()
    sys.stdout.write(table(results) + "\n")
    sys.exit(not all(r["exact"] for r in results))


if __name__ == "__main__":
    main()
