"""`fpstate compare`: policies side by side on a real kernel's trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli.options import Costs, Policies, Traces, VectorLength, chosen, words

if TYPE_CHECKING:
    from fpstate.costs import Profile
    from fpstate.policies.base import Policy
    from fpstate.replay.compare import Broken, Compared, Comparison, Figures
    from fpstate.traces.trace import Trace

WIDEST = 8
"""Characters of the widest figure: the table fits 80 columns."""


def command(
    traces: Traces = None,
    policy: Policies = None,
    costs: Costs = "altra-vhe",
    vl: VectorLength = 64,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.compare/1).")] = False,
) -> None:
    """Show what each way of switching FP state would have cost on a trace: saves, loads, traps, cycles.

    Where the trace does not show whether FP was used, figures are low-high: none of it happened, or all. kcycles has
    each operation at its point in the cost profile; range, and x bound, have all costs within their ranges. place is
    counted from the cheapest, first-last where the order hangs on costs within their ranges. (bound) is what no policy
    can do less than, even with foresight. Policies that do the same share a row. Of one policy alone, it is also shown
    whose values each CPU's registers hold along the trace.

    Exit codes: 0 no policy corrupts registers on the trace, 1 one does, 2 bad input.

    Example: fpstate compare contended.vhe --policy linux-4.18,linux-6.14
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, stage, steps
    from fpstate.costs import load_profile
    from fpstate.policies.catalogue import policies
    from fpstate.replay.compare import compare
    from fpstate.traces.samples import DEFAULT_SAMPLE, open_trace

    profile = load_profile(costs)
    asked = [chosen(name) for name in words(policy)] if policy else list(policies().values())
    new = compiling("the importer", "the replay")
    with stage(f"compiling {new}, and reading" if new else "reading"):
        read = [open_trace(name) for name in traces or [DEFAULT_SAMPLE]]
    for trace in read:
        trace.refuse_idle()
    results: list[tuple[Trace, Comparison]] = []
    with steps("comparing", len(read) * len(asked)) as done:
        results += [(trace, compare(trace, asked, profile, done, vl=vl)) for trace in read]
    if json:
        every = {"costs": profile.name, "traces": [_trace_json(t, c) for t, c in results]}
        print_json("fpstate.compare/1", every | _flat(results))
    else:
        for trace, comparison in results:
            show(trace, comparison, profile, vl)
            if len(asked) == 1:
                _show_along(trace, asked[0])
    if any(p.broken for _, c in results for p in c.policies):
        raise typer.Exit(1)


def _show_along(trace: Trace, policy: type[Policy]) -> None:
    """Show whose values each CPU's registers hold along the trace, under one policy."""
    from fpstate.cli.output import console, say
    from fpstate.cli.story import show_story
    from fpstate.replay.timeline import longest, timeline, whose

    line = timeline(trace, policy)
    cpus = range(len(line.first))
    parts = max(1, console().width - len(f"CPU{len(cpus)} "))
    say(f"whose values the registers hold, {(trace.time[-1] - trace.time[0]) / parts / 1000:,.0f} us a column:")
    lanes = {f"CPU{c}": [whose(trace, owner) for owner in longest(trace, line, c, parts)] for c in cpus}
    show_story(lanes, [""] * parts, 1)


def _trace_json(trace: Trace, comparison: Comparison) -> dict[str, object]:
    header = trace.header
    about = {"source": header.source, "events": len(trace), "unobserved": header.unobserved}
    about |= {"lost": header.lost, "holes": header.holes, "arch": header.arch}
    return {"trace": about, **comparison.to_json()}


def _flat(results: list[tuple[Trace, Comparison]]) -> dict[str, object]:
    """Return the first trace's result at the top level too: most comparisons are of one trace."""
    return _trace_json(*results[0]) if len(results) == 1 else {}


def show(trace: Trace, comparison: Comparison, profile: Profile, vl: int) -> None:
    """Print the comparison; what bears on the order of policies comes before their table."""
    from fpstate.cli.output import Column, say, show_table
    from fpstate.replay.fold import BY_BYTES, alike, left_open, names_of
    from fpstate.traces.holes import sentences

    say(f"{trace.header.source}: {len(trace):,} events, costs {profile.name}")
    if trace.header.arch not in ("", "arm64"):
        say(
            f"The trace is of {trace.header.arch}, the policies are of arm64: the table shows what these would do with "
            "its events, not what its kernel did."
        )
    for sentence in sentences(trace.header.holes):
        say(sentence)
    together = alike(comparison.policies)
    for sentence in left_open(comparison, profile, together):
        say(sentence)
    if any(p.features for p in comparison.policies) and len(comparison.policies) > 1:
        say(f"note: {BY_BYTES}", "dim")
    figures = [Column(name, number=True) for name in ("saves", "loads", "traps", "kcycles")]
    spare = [Column(name, number=True, spare=True) for name in ("range", "x bound")]
    low, high = comparison.bound_low, comparison.bound_high
    rows = [["-", "(bound)", *_counts((low.saves, high.saves), (low.loads, high.loads), (0, 0)), *_kcycles(low, high)]]
    rows[0].append("1")
    rows += [[_place(same[0]), names_of(same), *_row(same[0])] for same in together]
    red = {i: "red" for i, same in enumerate(together, 1) if same[0].broken}
    show_table([Column("place", number=True), "policy", *figures, *spare], rows, styles=red)
    for p in comparison.policies:
        if p.broken:
            say(f"{p.name} corrupts registers on this trace: {_where(p.broken)}")
    _show_classes(comparison, vl)
    used = {op for p in comparison.policies for op, times in p.high.charged.items() if times}
    weak = [sentence for sentence in profile.weak if sentence.partition(":")[0] in used]
    for sentence in [*trace.header.unobserved, *weak]:
        say(f"note: {sentence}", "dim")


def _show_classes(comparison: Comparison, vl: int) -> None:
    """Show what was moved by register class, if any policy moved more than FPSIMD."""
    from fpstate.cli.output import Column, say, show_table
    from fpstate.replay.fold import alike, names_of

    wide = [p for p in comparison.policies if p.features]
    if not wide:
        return
    rows = []
    for same in alike(wide):
        a, b = same[0].low, same[0].high
        counts = _counts((a.saves_sve, b.saves_sve), (a.loads_sve, b.loads_sve), (a.traps_sve, b.traps_sve))
        sizes = [_kilo(a.bytes - a.bytes_sve, b.bytes - b.bytes_sve), _kilo(a.bytes_sve, b.bytes_sve)]
        rows.append([names_of(same), *counts, *sizes])
    say(f"\nby register class, SVE at {vl} bytes")
    figures = ("SVE saves", "SVE loads", "SVE traps", "FPSIMD kB", "SVE kB")
    show_table(["policy", *(Column(name, number=True) for name in figures)], rows)
    narrow = [p.name for p in comparison.policies if not p.features]
    if narrow:
        say(f"note: FPSIMD registers only: {', '.join(narrow)}; an SVE use counts as one of V", "dim")


def _row(p: Compared) -> list[str]:
    counts = _counts((p.low.saves, p.high.saves), (p.low.loads, p.high.loads), (p.low.traps, p.high.traps))
    return [*counts, *_kcycles(p.low, p.high), span(*p.ratio_range) if p.ratio_range else "-"]


def _place(p: Compared) -> str:
    return "-".join(dict.fromkeys(map(str, p.place))) if p.place else "CORRUPTS"


def _kcycles(low: Figures, high: Figures) -> list[str]:
    """Return the cells of kcycles: with each cost at its point, and over their ranges."""
    return [_kilo(low.cycles, high.cycles), _kilo(low.cycles_low, high.cycles_high)]


def _counts(*pairs: tuple[int, int]) -> list[str]:
    """Return each low-high in full where it fits, else shortened."""
    full = [f"{a:,}" if a == b else f"{a:,}-{b:,}" for a, b in pairs]
    return [text if len(text) <= WIDEST else span(a, b) for text, (a, b) in zip(full, pairs, strict=True)]


def _kilo(low: float, high: float) -> str:
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


def _where(b: Broken) -> str:
    times = "once" if b.times == 1 else f"{b.times:,} times"
    return f"{times}, first at line {b.line} ({b.time / 1e9:.6f} s, CPU {b.cpu}): {b.who} {b.what}"
