"""What a comparison says: as the JSON and the table of `fpstate compare`, in a notebook, and as a data frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fpstate.costs import Profile
from fpstate.notebook import frame, html_table
from fpstate.policies.base import Policy
from fpstate.replay.compare import DEFAULT_VL, Broken, Compared, Comparison, Figures, compare, ratios_of
from fpstate.replay.fold import BY_BYTES, alike, left_open, names_of, shows
from fpstate.traces.holes import sentences
from fpstate.traces.trace import Trace

if TYPE_CHECKING:
    import polars

WIDEST = 8
"""Characters of the widest figure: the table fits 80 columns."""
HEADS = ("place", "policy", "saves", "loads", "traps", "kcycles", "range", "x bound", "ET")
"""Columns of the table; all but the policy and what it shows are figures."""
BOUNDS = 2
"""Rows of the table that come before those of policies."""


@dataclass(frozen=True)
class Comparisons:
    """Policies side by side on one trace or several, with the costs they were charged by (docs/json.md)."""

    profile: Profile
    traces: tuple[Comparison, ...]

    @property
    def broken(self) -> bool:
        """Whether a policy corrupts registers on one of the traces."""
        return any(p.broken for each in self.traces for p in each.policies)

    def to_json(self) -> dict[str, Any]:
        """Return what `fpstate compare --json` prints, less the name of the schema."""
        each = [c.to_json(self.profile) for c in self.traces]
        return {"costs": self.profile.name, "traces": each, **(each[0] if len(each) == 1 else {})}

    def to_polars(self) -> polars.DataFrame:
        """Return two rows for each policy on each trace, low and high, in columns: names, figures, whether it corrupts.

        The fewest possible is the policy `(bound)`. Raise FpstateError if Polars is not installed.
        """
        rows = []
        for c in self.traces:
            bound = [("(bound)", side, f, False) for side, f in (("low", c.bound_low), ("high", c.bound_high))]
            sides = [(p.name, side, f, bool(p.broken)) for p in c.policies for side, f in _sides_of(p)]
            for name, side, figures, broken in bound + sides:
                flat = asdict(figures)
                charged = {f"charged_{op}": times for op, times in flat.pop("charged").items()}
                about = {"trace": c.trace["source"], "policy": name, "side": side, "broken": broken}
                rows.append(about | flat | charged)
        return frame(rows)

    def _repr_html_(self) -> str:
        """Return the table of the command for a notebook, one for each trace."""
        return "".join(_html(c, self.profile) for c in self.traces)


def comparisons(
    traces: Iterable[Trace],
    policies: Sequence[type[Policy]],
    profile: Profile,
    *,
    vl: int = DEFAULT_VL,
    done: Callable[[], None] = lambda: None,
) -> Comparisons:
    """Compare policies on each trace; `done` is called after each policy on each.

    Raise FpstateError for a trace in which no policy has anything to do.
    """
    read = list(traces)
    for trace in read:
        trace.refuse_idle()
    return Comparisons(profile, tuple(compare(trace, policies, profile, done, vl=vl) for trace in read))


def _sides_of(p: Compared) -> tuple[tuple[str, Figures], tuple[str, Figures]]:
    return ("low", p.low), ("high", p.high)


def _html(c: Comparison, profile: Profile) -> str:
    together = alike(c.policies)
    styles = {i: "color:#c00000" for i, same in enumerate(together, BOUNDS) if same[0].broken}
    return html_table(
        title(c, profile),
        list(HEADS),
        rows(c, together, profile),
        styles=styles,
        above=above(c, profile),
        below=[*corrupts(c), *(f"note: {sentence}" for sentence in notes(c, profile))],
    )


def title(c: Comparison, profile: Profile) -> str:
    """Return what was compared, by whose costs."""
    return f"{c.trace['source']}: {c.trace['events']:,} events, costs {profile.name}"


def above(c: Comparison, profile: Profile) -> list[str]:
    """Return the sentences that bear on the order of policies: whose trace it is, its holes, what costs leave open."""
    said = other_machine(c.trace["arch"])
    said += sentences(c.trace["holes"])
    said += left_open(c, profile, alike(c.policies))
    if any(p.features for p in c.policies) and len(c.policies) > 1:
        said.append(f"note: {BY_BYTES}")
    return said


def other_machine(arch: str) -> list[str]:
    """Return the sentence that is due where a trace is not of the machine that the policies are of."""
    told = (
        f"The trace is of {arch}, the policies are of arm64: the table shows what these would do with its events, not "
        "what its kernel did."
    )
    return [told] if arch not in ("", "arm64") else []


def corrupts(c: Comparison) -> list[str]:
    """Return a sentence for each policy that corrupts registers on the trace."""
    return [f"{p.name} corrupts registers on this trace: {corrupts_where(p.broken)}" for p in c.policies if p.broken]


SHOWS = (
    "ET is what a policy shows: E, another's values behind nothing but a trap; T, by a clock whether another has used "
    "FP. With FPSIMD alone; 'fpstate policies NAME' says in which scope it was looked for"
)
"""What the letters of `fold.MARKS` stand for."""


def notes(c: Comparison, profile: Profile) -> list[str]:
    """Return what policies show, what the trace does not, and which of the costs that were charged are weak."""
    shown = [SHOWS] if any(p.shown for p in c.policies) else []
    return [*shown, *c.trace["unobserved"], *weak_costs(c, profile)]


def weak_costs(c: Comparison, profile: Profile) -> list[str]:
    """Return a sentence for each cost that was charged and does not rest on fully read sources alone."""
    used = {op for p in c.policies for op, times in p.high.charged.items() if times}
    return [s for s in profile.weak if s.partition(":")[0] in used]


def rows(c: Comparison, together: list[list[Compared]], profile: Profile) -> list[list[str]]:
    """Return the rows of the table, under HEADS: two bounds, then policies from the cheapest, equal ones `together`.

    The bounds are what no policy can do less than, and the least of who has no foresight.
    """
    low, high = c.bound_low, c.bound_high
    counted = counts((low.saves, high.saves), (low.loads, high.loads), (0, 0))
    bound = ["-", "(bound)", *counted, *_kcycles(low, high), "1", ""]
    a, b = c.no_foresight(profile)
    worth = ratios_of((a, b), (low, high), profile)["ratio_range"]
    counted = counts((a.saves, b.saves), (a.loads, b.loads), (a.traps, b.traps))
    least = ["-", "(no foresight)", *counted, *_kcycles(a, b), span(*worth) if worth else "-", ""]
    return [bound, least, *([_place(same[0]), names_of(same), *_row(same[0])] for same in together)]


def _row(p: Compared) -> list[str]:
    counted = counts((p.low.saves, p.high.saves), (p.low.loads, p.high.loads), (p.low.traps, p.high.traps))
    return [*counted, *_kcycles(p.low, p.high), span(*p.ratio_range) if p.ratio_range else "-", shows(p)]


def _place(p: Compared) -> str:
    return "-".join(dict.fromkeys(map(str, p.place))) if p.place else "CORRUPTS"


def _kcycles(low: Figures, high: Figures) -> list[str]:
    """Return the cells of kcycles: with each cost at its point, and over their ranges."""
    return [kilo(low.cycles, high.cycles), kilo(low.cycles_low, high.cycles_high)]


def counts(*pairs: tuple[int, int]) -> list[str]:
    """Return each low-high in full where it fits, else shortened."""
    full = [f"{a:,}" if a == b else f"{a:,}-{b:,}" for a, b in pairs]
    return [text if len(text) <= WIDEST else span(a, b) for text, (a, b) in zip(full, pairs, strict=True)]


def kilo(low: float, high: float) -> str:
    """Return low-high in thousands."""
    return span(low / 1000, high / 1000)


def span(low: float, high: float) -> str:
    """Return low-high in two digits or three, with a unit (k, M, G), given once if both have it."""
    a, b = _short(low), _short(high)
    if a == b:
        return a
    return f"{a[:-1] if a[-1] == b[-1] and a[-1].isalpha() else a}-{b}"


def _short(x: float) -> str:
    unit = ""
    for larger in "kMG":
        if x < 999.5:
            break
        x, unit = x / 1000, larger
    text = f"{x:.1f}" if x < 9.95 else f"{x:.0f}"
    return text.removesuffix(".0") + unit


def corrupts_where(b: Broken) -> str:
    """Return how often a policy corrupts a trace, and where first."""
    times = "once" if b.times == 1 else f"{b.times:,} times"
    return f"{times}, first at line {b.line} ({b.time / 1e9:.6f} s, CPU {b.cpu}): {b.who} {b.what}"
