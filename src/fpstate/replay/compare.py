"""Policies side by side on one trace."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from fpstate.costs import Profile
from fpstate.policies.base import Policy, with_features
from fpstate.replay.bound import bound
from fpstate.replay.engine import Outcome, features_in, replay
from fpstate.rows.learn import Rows
from fpstate.traces.trace import Trace
from fpstate.world import operations as did
from fpstate.world.events import Event
from fpstate.world.state import NOBODYS, SOFTIRQS, context_of, owner_of
from fpstate.world.verdicts import IN_WORDS, WRONG_VALUE

IMAGE_BYTES = 528
"""Bytes of one FPSIMD image: V0-V31, FPSR, FPCR, padded (struct user_fpsimd_state)."""
DEFAULT_VL = 64
"""Bytes of one Z register: Linux's default limit for tasks (/proc/sys/abi/sve_default_vector_length)."""


def sve_bytes(vl: int) -> int:
    """Return the bytes of one SVE image at a vector length in bytes: Z0-Z31, P0-P15, FFR, and FPSR, FPCR, padded.

    Documentation/arch/arm64/sve.rst, SVE_SIG_REGS_SIZE.
    """
    return 32 * vl + 17 * vl // 8 + 16


@dataclass(frozen=True)
class Figures:
    """What one replay cost. Transfers are of one whole register file each; cycles are by a cost profile."""

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
    cycles_low: float = 0.0  # with each operation at the low end of its range in the profile
    cycles_high: float = 0.0
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
    """One policy on one trace: low takes what was not seen as not having happened, high as having happened."""

    name: str
    low: Figures
    high: Figures
    ratio_low: float | None  # cycles to the bound's; None when the bound is zero
    ratio_high: float | None
    gives_up: tuple[str, ...]
    broken: Broken | None
    features: tuple[str, ...] = ()  # beside FPSIMD, that the trace has and the policy knows
    undecided: str = ""  # the next cheaper policy, if by the ranges of the costs this one may be cheaper than that


@dataclass(frozen=True)
class Comparison:
    """All policies on one trace, with the clairvoyant bound."""

    policies: list[Compared]
    bound_low: Figures
    bound_high: Figures

    def to_json(self) -> dict[str, Any]:
        """Return `bound` and `policies`, as in docs/json.md."""
        return {
            "bound": {"low": asdict(self.bound_low), "high": asdict(self.bound_high)},
            "policies": [asdict(p) for p in self.policies],
        }


def figures(outcome: Outcome, profile: Profile, vl: int = DEFAULT_VL) -> Figures:
    """Turn the counters of a replay into figures; SVE images are of vector length `vl`, in bytes.

    What moving an SVE image takes is not published for any CPU: it is charged by its bytes, at the rate of FPSIMD.
    """
    n = [int(x) for x in outcome.counts]
    saves = sum(n[did.N_SAVE_HOST : did.N_SAVE_KERNEL + 1])
    loads = sum(n[did.N_LOAD_HOST : did.N_LOAD_KERNEL + 1])
    saves_sve = sum(n[did.N_SAVE_SVE : did.N_SAVE_SVE + 2])
    loads_sve = sum(n[did.N_LOAD_SVE : did.N_LOAD_SVE + 2])
    amounts = amounts_of(outcome, vl)
    traps_sve = n[did.N_SVE_TRAP] + n[did.N_SVE_TRAP + 1]
    return Figures(
        saves + saves_sve,
        loads + loads_sve,
        n[did.N_USER_TRAP] + n[did.N_GUEST_TRAP] + traps_sve,
        sum(amount * profile.operations[op].cycles for op, amount in amounts.items()),
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
        saves_sve=saves_sve,
        loads_sve=loads_sve,
        traps_sve=traps_sve,
        bytes_sve=(saves_sve + loads_sve) * sve_bytes(vl),
        cycles_low=sum(amount * profile.operations[op].low for op, amount in amounts.items()),
        cycles_high=sum(amount * profile.operations[op].high for op, amount in amounts.items()),
        ipis=n[did.N_IPI],
    )


def amounts_of(outcome: Outcome, vl: int) -> dict[str, float]:
    """Return how often each operation of a cost profile is charged; SVE images count by their size."""
    n = [int(x) for x in outcome.counts]
    larger = sve_bytes(vl) / IMAGE_BYTES
    return {
        "save": sum(n[did.N_SAVE_HOST : did.N_SAVE_KERNEL + 1]) + sum(n[did.N_SAVE_SVE : did.N_SAVE_SVE + 2]) * larger,
        "load": sum(n[did.N_LOAD_HOST : did.N_LOAD_KERNEL + 1]) + sum(n[did.N_LOAD_SVE : did.N_LOAD_SVE + 2]) * larger,
        "clear": n[did.N_CLEAR],
        "user_trap": n[did.N_USER_TRAP] + n[did.N_SVE_TRAP] + n[did.N_SME_TRAP],
        "guest_trap": n[did.N_GUEST_TRAP] + n[did.N_SVE_TRAP + 1],
        "ipi": n[did.N_IPI],
    }


def may_cost_more(a: dict[str, float], b: dict[str, float], profile: Profile) -> bool:
    """Tell whether `a` (amounts) costs more than `b` for some costs within the profile's ranges, the same for both."""
    worst = 0.0
    for name, op in profile.operations.items():
        more = a[name] - b[name]
        worst += more * (op.high if more > 0 else op.low)
    return worst > 0


def cycles(profile: Profile, operation: str) -> float:
    """Return what one operation costs by the profile, in cycles of its CPU."""
    return profile.operations[operation].cycles


def bound_figures(trace: Trace, profile: Profile, *, maybe: bool) -> Figures:
    """Return the clairvoyant bound as figures; it tells neither host from guest nor knows traps."""
    saves, loads = bound(trace, maybe=maybe)
    cost = saves * cycles(profile, "save") + loads * cycles(profile, "load")
    low, high = (
        saves * getattr(profile.operations["save"], end) + loads * getattr(profile.operations["load"], end)
        for end in ("low", "high")
    )
    return Figures(saves, loads, 0, cost, 0, 0, 0, 0, 0, 0, 0, 0, 0, (saves + loads) * IMAGE_BYTES, low, high)


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
    place = int(trace.line[i]), int(trace.time[i]), int(trace.cpu[i])
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
    low, high = (bound_figures(trace, profile, maybe=m) for m in (False, True))
    compared, amounts = [], {}
    for policy in policies:
        known = features_in(trace) & policy.supports
        rows = Rows(with_features(policy, known))
        outcomes = [replay(trace, rows, maybe=m) for m in (False, True)]
        amounts[policy.name] = [amounts_of(o, vl) for o in outcomes]
        at = [figures(o, profile, vl) for o in outcomes]
        ratios = [f.cycles / b.cycles if b.cycles else None for f, b in zip(at, (low, high), strict=True)]
        wrong = broken(trace, outcomes[1]) or broken(trace, outcomes[0])
        compared.append(
            Compared(policy.name, at[0], at[1], ratios[0], ratios[1], policy.gives_up, wrong, tuple(sorted(known)))
        )
        done()
    order = sorted(compared, key=by_cost)
    for cheaper, dearer in itertools.pairwise(order):
        pairs = zip(amounts[cheaper.name], amounts[dearer.name], strict=True)
        if any(may_cost_more(a, b, profile) for a, b in pairs):
            compared[compared.index(dearer)] = replace(dearer, undecided=cheaper.name)
    return Comparison(compared, low, high)


def by_cost(p: Compared) -> tuple[float, str]:
    """Return what to sort policies by: their high figure at the profile's points."""
    return p.high.cycles, p.name
