"""Policies side by side on one trace.

What a policy costs is linear in what each operation costs. These costs are known as ranges only, but they are the same
whichever policy runs: so one policy is cheaper than another if it is for all costs in their ranges, the same on both
sides. That the ranges of two totals overlap says nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fpstate.costs import OPERATIONS, Profile
from fpstate.errors import FpstateError
from fpstate.policies.base import Policy, with_features
from fpstate.policies.shown import shown_by
from fpstate.replay.bound import bound
from fpstate.replay.engine import Outcome, features_for, replay
from fpstate.replay.foresight import Either, either_way
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Trace
from fpstate.world import operations as did
from fpstate.world.events import Event
from fpstate.world.state import NOBODYS, SOFTIRQS, Ints, context_of, owner_of
from fpstate.world.verdicts import IN_WORDS, WRONG_VALUE

IMAGE_BYTES = 528
"""Bytes of one FPSIMD image: V0-V31, FPSR, FPCR, padded (struct user_fpsimd_state)."""
DEFAULT_VL = 64
"""Bytes of one Z register: Linux's default limit for tasks (/proc/sys/abi/sve_default_vector_length)."""


def refuse_length(vl: int) -> None:
    """Raise FpstateError for a vector length in bytes that no CPU has."""
    if vl % 16 or not 16 <= vl <= 256:
        raise FpstateError(f"a vector length of {vl} bytes is impossible", expected="a multiple of 16 from 16 to 256")


def sve_bytes(vl: int) -> int:
    """Return the bytes of one SVE image at a vector length in bytes: Z0-Z31, P0-P15, FFR, and FPSR, FPCR, padded.

    Documentation/arch/arm64/sve.rst, SVE_SIG_REGS_SIZE.
    """
    return 32 * vl + 17 * vl // 8 + 16


@dataclass(frozen=True)
class Figures:
    """What one replay cost. Transfers are of one whole register file each; cycles are by a cost profile.

    `cycles` is with each operation at its point, `cycles_low` and `cycles_high` with each at the ends of its range.
    `charged` has how often each operation of the profile is charged, an SVE image by its size in FPSIMD images.
    """

    saves: int
    loads: int
    traps: int
    cycles: float
    saves_host: int
    saves_guest: int
    saves_kernel: int
    loads_host: int
    loads_guest: int
    loads_kernel: int
    traps_user: int
    traps_guest: int
    clears: int
    bytes: int
    cycles_low: float
    cycles_high: float
    charged: dict[str, float]
    ipis: int = 0
    saves_sve: int = 0  # of the saves: in SVE form
    loads_sve: int = 0
    traps_sve: int = 0  # SVE access traps of user mode and guests
    bytes_sve: int = 0


@dataclass(frozen=True)
class Broken:
    """The first place where a policy corrupts registers on this very trace, and how often it goes wrong in all."""

    times: int
    event: int  # index in the trace
    line: int  # line of the source, 0 when there is none
    time: int  # nanoseconds
    cpu: int
    who: str
    what: str


@dataclass(frozen=True)
class Compared:
    """One policy on one trace: low takes what was not seen as not having happened, high as having happened.

    `place` is the first and the last it can have among the policies that do not corrupt, the cheapest being first, with
    costs in their ranges; `undecided` are those of them that are cheaper with some of these costs, dearer with others.
    """

    name: str
    low: Figures
    high: Figures
    ratio_low: float | None  # cycles to the bound's; None when the bound is zero
    ratio_high: float | None
    ratio_range: tuple[float, float] | None  # over all costs in their ranges, low and high; None where it has no end
    gives_up: tuple[str, ...]
    broken: Broken | None
    features: tuple[str, ...] = ()  # beside FPSIMD, that the trace has and the policy knows
    place: tuple[int, int] | None = None  # None if it corrupts
    undecided: tuple[str, ...] = ()
    shown: dict[str, str] | None = None  # verdicts by property (policies.shown); None where nobody has looked


@dataclass(frozen=True)
class Comparison:
    """All policies on one trace, with the clairvoyant bound and what foresight is worth (replay/foresight.py).

    `trace` is what there is to say of it.
    """

    policies: list[Compared]
    bound_low: Figures
    bound_high: Figures
    trace: dict[str, Any]
    either_low: tuple[Either, ...] = ()
    either_high: tuple[Either, ...] = ()

    def no_foresight(self, profile: Profile) -> tuple[Figures, Figures]:
        """Return the least, low and high, of who treats a context's entries alike, by a profile's points."""
        pairs = ((self.bound_low, self.either_low), (self.bound_high, self.either_high))
        low, high = (_no_foresight(least, either, profile) for least, either in pairs)
        return low, high

    def to_json(self, profile: Profile) -> dict[str, Any]:
        """Return `trace`, `bound`, `no_foresight` and `policies`, as in docs/json.md."""
        low, high = self.no_foresight(profile)
        return {
            "trace": self.trace,
            "bound": {"low": asdict(self.bound_low), "high": asdict(self.bound_high)},
            "no_foresight": {"low": asdict(low), "high": asdict(high)},
            "policies": [asdict(p) for p in self.policies],
        }


def charges(counts: Ints, vl: int = DEFAULT_VL) -> dict[str, float]:
    """Return how often each operation of a profile is charged for counters `[N_*]`, an SVE image by its bytes."""
    n = [int(x) for x in counts]
    larger = sve_bytes(vl) / IMAGE_BYTES
    return {
        "save": sum(n[did.N_SAVE_HOST : did.N_SAVE_KERNEL + 1]) + sum(n[did.N_SAVE_SVE : did.N_SAVE_SVE + 2]) * larger,
        "load": sum(n[did.N_LOAD_HOST : did.N_LOAD_KERNEL + 1]) + sum(n[did.N_LOAD_SVE : did.N_LOAD_SVE + 2]) * larger,
        "clear": n[did.N_CLEAR],
        "guest_trap": n[did.N_GUEST_TRAP] + n[did.N_SVE_TRAP + 1],
        "user_trap": n[did.N_USER_TRAP] + n[did.N_SVE_TRAP] + n[did.N_SME_TRAP],
        "ipi": n[did.N_IPI],
    }


def figures(outcome: Outcome, profile: Profile, vl: int = DEFAULT_VL) -> Figures:
    """Turn the counters of a replay into figures; SVE images are of vector length `vl`, in bytes.

    What moving an SVE image takes is not published for any CPU: it is charged by its bytes, at the rate of FPSIMD.
    """
    n = [int(x) for x in outcome.counts]
    charged = charges(outcome.counts, vl)
    saves = sum(n[did.N_SAVE_HOST : did.N_SAVE_KERNEL + 1])
    loads = sum(n[did.N_LOAD_HOST : did.N_LOAD_KERNEL + 1])
    saves_sve = sum(n[did.N_SAVE_SVE : did.N_SAVE_SVE + 2])
    loads_sve = sum(n[did.N_LOAD_SVE : did.N_LOAD_SVE + 2])
    traps_sve = n[did.N_SVE_TRAP] + n[did.N_SVE_TRAP + 1]
    return Figures(
        saves=saves + saves_sve,
        loads=loads + loads_sve,
        traps=n[did.N_USER_TRAP] + n[did.N_GUEST_TRAP] + traps_sve + n[did.N_SME_TRAP],
        saves_host=n[did.N_SAVE_HOST] + n[did.N_SAVE_SVE],
        saves_guest=n[did.N_SAVE_GUEST] + n[did.N_SAVE_SVE + 1],
        saves_kernel=n[did.N_SAVE_KERNEL],
        loads_host=n[did.N_LOAD_HOST] + n[did.N_LOAD_SVE],
        loads_guest=n[did.N_LOAD_GUEST] + n[did.N_LOAD_SVE + 1],
        loads_kernel=n[did.N_LOAD_KERNEL],
        traps_user=n[did.N_USER_TRAP],
        traps_guest=n[did.N_GUEST_TRAP],
        clears=n[did.N_CLEAR],
        bytes=(saves + loads) * IMAGE_BYTES + (saves_sve + loads_sve) * sve_bytes(vl),
        ipis=n[did.N_IPI],
        saves_sve=saves_sve,
        loads_sve=loads_sve,
        traps_sve=traps_sve,
        bytes_sve=(saves_sve + loads_sve) * sve_bytes(vl),
        **_priced(charged, profile),
    )


def bound_figures(trace: Trace, profile: Profile, *, maybe: bool) -> Figures:
    """Return the clairvoyant bound as figures; it tells neither host from guest nor knows traps."""
    saves, loads = bound(trace, maybe=maybe)
    kinds = ("saves_host", "saves_guest", "saves_kernel", "loads_host", "loads_guest", "loads_kernel")
    nothing: dict[str, Any] = dict.fromkeys(("traps", *kinds, "traps_user", "traps_guest", "clears"), 0)
    charged = dict.fromkeys(OPERATIONS, 0.0) | {"save": saves, "load": loads}
    size = (saves + loads) * IMAGE_BYTES
    return Figures(saves=saves, loads=loads, bytes=size, **nothing, **_priced(charged, profile))


def _no_foresight(least: Figures, either: Iterable[Either], profile: Profile) -> Figures:
    """Return the bound with the less of two things for each context: its traps, or its loads in vain."""
    costs, charged = profile.operations, dict(least.charged)
    for way in either:
        trap, vain = "guest_trap" if way.vcpu else "user_trap", way.ahead - way.trapped
        if vain * costs["load"].cycles <= way.trapped * costs[trap].cycles:
            charged["load"] += vain
        else:
            charged[trap] += way.trapped
    loads, user, guest = (int(charged[op]) for op in ("load", "user_trap", "guest_trap"))
    size = (least.saves + loads) * IMAGE_BYTES
    traps: dict[str, Any] = {"traps": user + guest, "traps_user": user, "traps_guest": guest}
    return replace(least, loads=loads, bytes=size, **traps, **_priced(charged, profile))


def _priced(charged: dict[str, float], profile: Profile) -> dict[str, Any]:
    costs = profile.operations
    return {
        "cycles": sum(n * costs[op].cycles for op, n in charged.items()),
        "cycles_low": sum(n * costs[op].low for op, n in charged.items()),
        "cycles_high": sum(n * costs[op].high for op, n in charged.items()),
        "charged": charged,
    }


# Over all costs in their ranges.


def most_more(a: Mapping[str, float], b: Mapping[str, float], profile: Profile) -> float:
    """Return by how many cycles what `a` charges may at most exceed what `b` does, below 0 if it always falls short.

    The difference is linear in each cost, so that it is greatest where each cost is at one end of its range.
    """
    more = {op: a[op] - b[op] for op in a}
    return sum(n * (profile.operations[op].high if n > 0 else profile.operations[op].low) for op, n in more.items())


def ratios(a: Mapping[str, float], b: Mapping[str, float], profile: Profile) -> tuple[float, float] | None:
    """Return the least and the greatest ratio of what `a` costs to what `b` does; None if `b` may cost nothing.

    A ratio of two linear functions is monotonic in each cost, so that both are where all costs are at ends.
    """
    ends = [(op.low, op.high) for op in profile.operations.values()]
    found = []
    for costs in itertools.product(*ends):
        by_name = dict(zip(profile.operations, costs, strict=True))
        total = sum(n * by_name[op] for op, n in b.items())
        if not total:
            return None
        found.append(sum(n * by_name[op] for op, n in a.items()) / total)
    return min(found), max(found)


def _charges(p: Compared) -> list[dict[str, float]]:
    return [p.low.charged, p.high.charged]


def never_dearer(a: Compared, b: Compared, profile: Profile) -> bool:
    """Tell whether `a` costs at most what `b` does for all costs in their ranges, low and high."""
    return all(most_more(x, y, profile) <= 0 for x, y in zip(_charges(a), _charges(b), strict=True))


def placed(policies: list[Compared], profile: Profile) -> list[Compared]:
    """Return the policies with their places, and which of these the ranges of the costs do not decide."""
    found = []
    ranked = [p for p in policies if p.broken is None]
    for p in policies:
        if p.broken is not None:
            found.append(p)
            continue
        others = [q for q in ranked if _charges(q) != _charges(p)]
        cheaper = sum(never_dearer(q, p, profile) for q in others)
        open_ = [q.name for q in others if not never_dearer(q, p, profile) and not never_dearer(p, q, profile)]
        found.append(replace(p, place=(cheaper + 1, cheaper + len(open_) + 1), undecided=tuple(open_)))
    return found


def deciding(policies: list[Compared]) -> list[str]:
    """Return the operations that leave some order undecided: of which the two policies do not do equally many."""
    by_name = {p.name: p for p in policies}
    pairs = [(p, by_name[name]) for p in policies for name in p.undecided]
    differ = {op for p, q in pairs for x, y in zip(_charges(p), _charges(q), strict=True) for op in x if x[op] != y[op]}
    return [op for op in OPERATIONS if op in differ]


def broken(trace: Trace, outcome: Outcome) -> Broken | None:
    """Describe the first thing that went wrong in a replay, if anything did."""
    if not outcome.wrong:
        return None
    i = outcome.first
    guest = trace.event[i] in (Event.GUEST_FP, Event.GUEST_FP_MAYBE)
    who = trace.contexts.label(int(trace.object[i] if guest else trace.subject[i]))
    what = IN_WORDS[outcome.verdict]
    if outcome.verdict == WRONG_VALUE:
        what += f" (found {owner_label(trace, owner_of(outcome.found))})"
    line = int(trace.line[i + np.argmax(trace.line[i:] > 0)])  # what fills a hole has none: that of the line behind it
    place = line, int(trace.time[i]), int(trace.cpu[i])
    return Broken(outcome.wrong, i, *place, who, what)


def owner_label(trace: Trace, owner: int) -> str:
    """Say whose value an owner number stands for."""
    if owner == NOBODYS:
        return "nobody's"
    if owner == SOFTIRQS:
        return "a softirq's"
    name = trace.contexts.label(context_of(owner))
    return f"kernel-mode values of {name}" if owner & 1 else f"{name}'s"


def compare(
    trace: Trace,
    policies: Iterable[type[Policy]],
    profile: Profile,
    done: Callable[[], None] = lambda: None,
    *,
    vl: int = DEFAULT_VL,
) -> Comparison:
    """Replay `trace` under each policy, low and high; `done` is called after each policy.

    A policy runs with the features that the trace has and it supports; without SVE, an SVE use is a use of V.
    """
    bounds = bounds_of(trace, profile)
    replayed = []
    for policy in policies:
        replayed.append(compared(trace, policy, rows_for(trace, policy), bounds, profile, vl=vl))
        done()
    either = (tuple(either_way(trace, maybe=m)) for m in (False, True))
    return Comparison(placed(replayed, profile), *bounds, trace.about(), *either)


def bounds_of(trace: Trace, profile: Profile) -> tuple[Figures, Figures]:
    """Return the clairvoyant bound on a trace, low and high."""
    return bound_figures(trace, profile, maybe=False), bound_figures(trace, profile, maybe=True)


def rows_for(trace: Trace, policy: type[Policy]) -> Rows:
    """Return the rows, none learned yet, of a policy with the features that a trace has and it supports."""
    return Rows(with_features(policy, features_for(policy, trace)))


def compared(
    trace: Trace,
    policy: type[Policy],
    rows: Rows,
    bounds: tuple[Figures, Figures],
    profile: Profile,
    *,
    vl: int = DEFAULT_VL,
) -> Compared:
    """Replay a trace under a policy, low and high, and hold it against the bounds.

    `rows` are those of `rows_for`: learned on one trace, they serve the next that has the same features.
    """
    outcomes = [replay(trace, rows, maybe=m) for m in (False, True)]
    at = [figures(o, profile, vl) for o in outcomes]
    wrong = broken(trace, outcomes[1]) or broken(trace, outcomes[0])
    known = tuple(sorted(features_for(policy, trace)))
    found = shown_by(policy)
    shown = {name: each["verdict"] for name, each in found.items()} if found else None
    about: dict[str, Any] = {"gives_up": policy.gives_up, "broken": wrong, "features": known, "shown": shown}
    return Compared(policy.name, at[0], at[1], **ratios_of(at, bounds, profile), **about)


def repriced(comparison: Comparison, profile: Profile) -> Comparison:
    """Return a comparison by the costs of another profile: what each policy did stays, and is charged anew."""

    def anew(f: Figures) -> Figures:
        return replace(f, **_priced(f.charged, profile))

    low, high = anew(comparison.bound_low), anew(comparison.bound_high)
    found = []
    for p in comparison.policies:
        at = anew(p.low), anew(p.high)
        found.append(replace(p, low=at[0], high=at[1], place=None, undecided=(), **ratios_of(at, (low, high), profile)))
    return replace(comparison, policies=placed(found, profile), bound_low=low, bound_high=high)


def ratios_of(at: Iterable[Figures], bounds: Iterable[Figures], profile: Profile) -> dict[str, Any]:
    """Return the ratios of `Compared` for figures low and high."""
    pairs = list(zip(at, bounds, strict=True))
    low, high = (f.cycles / b.cycles if b.cycles else None for f, b in pairs)
    ends = _hull([ratios(f.charged, b.charged, profile) for f, b in pairs if b.saves + b.loads])
    return {"ratio_low": low, "ratio_high": high, "ratio_range": ends}


def _hull(ranges: list[tuple[float, float] | None]) -> tuple[float, float] | None:
    known = [r for r in ranges if r is not None]
    return (min(r[0] for r in known), max(r[1] for r in known)) if known and len(known) == len(ranges) else None
