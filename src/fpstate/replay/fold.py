"""Policies that did the same on a trace, as one: their names together, and whose order the costs leave open."""

from __future__ import annotations

import re

from fpstate.costs import Profile
from fpstate.policies.catalogue import policies
from fpstate.replay.compare import Compared, Comparison, deciding

RELEASE = re.compile(r"linux-\d+\.\d+")
"""Policies of Linux releases, which have an order; those of stable branches, which fork off it, end in .y."""

MARKS = {"transient-exposure": "E", "timing": "T"}
"""What policies show others, and the letters of it."""

BY_BYTES = (
    "moving SVE images is charged by bytes at the rate of FPSIMD; no figure is published, and orders may depend on it"
)
"""What is to be said where policies moved more than FPSIMD."""


def alike(policies: list[Compared]) -> list[list[Compared]]:
    """Return the policies from the cheapest, those together that did and show exactly the same and corrupt nothing."""
    together: list[list[Compared]] = []
    for p in sorted(policies, key=lambda p: (p.high.cycles, p.low.cycles, shows(p), p.name)):
        last = together[-1][0] if together else None
        same = last and not p.broken and not last.broken
        if same and _done(p) == _done(last):  # type: ignore[arg-type]
            together[-1].append(p)
        else:
            together.append([p])
    return together


def _done(p: Compared) -> tuple[object, ...]:
    return p.low, p.high, p.features, shows(p)


def shows(p: Compared) -> str:
    """Return what a policy shows others, a letter for each of MARKS; "-" if nothing, "?" where that is not known."""
    if p.shown is None:
        return "?"
    letters = {"violated": MARKS, "holds": dict.fromkeys(MARKS, "")}
    return "".join(letters.get(p.shown[name], {}).get(name, "?") for name in MARKS) or "-"


def names_of(same: list[Compared], known: tuple[str, ...] = ()) -> str:
    """Return the names of policies in one row; three or more Linux releases in a row are first to last."""
    releases = sorted((n for n in known or policies() if RELEASE.fullmatch(n)), key=_release)
    here = {p.name for p in same}
    names: list[str] = []
    run: list[str] = []
    for name in [*releases, ""]:
        if name in here:
            run.append(name)
        else:
            names += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else run
            run = []
    return ", ".join([*names, *sorted(here - set(releases))])


def _release(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.removeprefix("linux-").split("."))


def left_open(comparison: Comparison, profile: Profile, together: list[list[Compared]]) -> list[str]:
    """Return the one sentence of whose order the ranges of the costs leave open, and by which; none if all is decided.

    `together` is what `alike` makes of the comparison.
    """
    by = deciding(comparison.policies)
    if not by:
        return []
    costs = ", ".join(f"{op} {profile.operations[op].low:g}-{profile.operations[op].high:g}" for op in by)
    return [f"Decided by costs within their ranges ({costs}): {_sides(together)}. The other orders hold for all costs."]


def _sides(together: list[list[Compared]]) -> str:
    """Return who may change places with whom: one side against the other if there are two, else how many may."""
    open_ = {same[0].name: set(same[0].undecided) for same in together if same[0].undecided}
    names = {same[0].name: names_of(same) for same in together}
    one = next(iter(open_))
    right = open_[one] & set(open_)
    left = set(open_) - right
    if all(open_[a] & set(open_) == (right if a in left else left) for a in open_):
        few, many = sorted((left, right), key=len)
        rest = [p.name for same in together for p in same if same[0].name in many]
        return f"{', '.join(names[n] for n in names if n in few)} against the other {len(rest)}"
    return f"the places of {sum(bool(p.undecided) for same in together for p in same)} policies"
