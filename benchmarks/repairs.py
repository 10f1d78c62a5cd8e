"""`fpstate repair --keep 1` over the gallery's faulty policies: how many a single edit mends, and why others are not.

    python benchmarks/repairs.py [EDITS] [SECONDS] [BUG]...

At most EDITS edits (2,000) and SECONDS seconds (60) for each bug; all bugs if none is named.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from fpstate.costs import load_profile
from fpstate.errors import FpstateError
from fpstate.named import chosen
from fpstate.paths.asked import asked_of
from fpstate.policies.catalogue import bugs
from fpstate.search.judge import Measure, measure
from fpstate.search.repair import repair
from fpstate.traces.samples import open_trace


class TooLongError(Exception):
    """A bug has had its seconds."""


def outcome(name: str, ranked_on: Measure, most: int, seconds: float) -> tuple[str, str]:
    """Return what came of one bug in one word, and in more."""
    end, tried = time.monotonic() + seconds, 0

    def told(edits: int, _: int) -> None:
        nonlocal tried
        tried = edits
        if time.monotonic() > end:
            raise TooLongError

    try:
        asked = asked_of(name, chosen(name), [], (), {})
        found = repair(asked, ranked_on, keep=1, most=most, cores=1, told=told)
    except TooLongError:
        return "seconds", f"none of {tried - 1:,} edits in {seconds:.0f} s"
    except FpstateError as error:
        return "refused", str(error)
    if found.repairs:
        edit = found.repairs[0].edit
        return "repaired", f"after {found.tried:,} edits: {edit.method.owner.__name__}.{edit.method.name}: {edit.what}"
    if found.complete:
        return "none", f"all {found.tried:,} edits tried"
    return "edits", f"none of {found.tried:,} edits"


def main() -> None:
    """Print a line for each bug, and how many came out how."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    ranked_on = measure([open_trace("kneon.vhe")], load_profile("altra-vhe"))
    came: Counter[str] = Counter()
    for name in sys.argv[3:] or bugs():
        began = time.monotonic()
        word, more = outcome(name, ranked_on, most, seconds)
        came[word] += 1
        print(f"{name:13} {word:9} {time.monotonic() - began:5.0f} s  {more}", flush=True)
    print(", ".join(f"{times} {word}" for word, times in came.most_common()))


if __name__ == "__main__":
    main()
