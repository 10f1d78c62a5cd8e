"""`fpstate compare`: policies side by side on a real kernel's trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from rich.table import Table

    from fpstate.costs import Profile
    from fpstate.replay.compare import Broken, Compared, Comparison, Figures
    from fpstate.traces.trace import Trace

WIDEST = 8
"""Characters of the widest figure: the table fits 80 columns."""


def command(
    traces: Annotated[
        list[str] | None, typer.Argument(metavar="[TRACE]...", help="Traces; a bundled one if none.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", "-p", help="A policy by name, or FILE.py:CLASS; all if none.")
    ] = None,
    costs: Annotated[str, typer.Option(help="Cost profile by name, or a TOML file.")] = "altra-vhe",
    vl: Annotated[int, typer.Option(help="Bytes of one SVE register, 16 to 256.", min=16, max=256)] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.compare/1).")] = False,
) -> None:
    """Show what each way of switching FP state would have cost on a trace: saves, loads, traps, cycles.

    Where the trace does not show whether FP was used, figures are low-high: none of it happened, or all. kcycles has
    each operation at its point in the cost profile; range, and x bound, have all costs within their ranges. place is
    counted from the cheapest, first-last where the order hangs on costs within their ranges. (bound) is what no policy
    can do less than, even with foresight.

    Example: fpstate compare contended.vhe --policy linux-4.18 --policy linux-6.14
    """
    from fpstate.cli.output import compiling_notice, print_json, steps
    from fpstate.costs import load_profile
    from fpstate.policies.catalogue import find_policy, policies
    from fpstate.replay.compare import compare
    from fpstate.traces.samples import DEFAULT_SAMPLE, open_trace

    if vl % 16:
        raise FpstateError(f"a vector length of {vl} bytes is impossible", expected="a multiple of 16 from 16 to 256")
    profile = load_profile(costs)
    chosen = [find_policy(name) for name in policy] if policy else list(policies().values())
    compiling_notice("importer", "replay")
    read = [open_trace(name) for name in traces or [DEFAULT_SAMPLE]]
    results: list[tuple[Trace, Comparison]] = []
    with steps("comparing", len(read) * len(chosen)) as done:
        results += [(trace, compare(trace, chosen, profile, done, vl=vl)) for trace in read]
    if json:
        every = {"costs": profile.name, "traces": [_trace_json(t, c) for t, c in results]}
        print_json("fpstate.compare/1", every | _flat(results))
    else:
        for trace, comparison in results:
            show(trace, comparison, profile, vl)
    if any(p.broken for _, c in results for p in c.policies):
        raise typer.Exit(1)


def _trace_json(trace: Trace, comparison: Comparison) -> dict[str, object]:
    header = trace.header
    about = {"source": header.source, "events": len(trace), "unobserved": header.unobserved}
    about |= {"lost": header.lost, "holes": header.holes}
    return {"trace": about, **comparison.to_json()}


def _flat(results: list[tuple[Trace, Comparison]]) -> dict[str, object]:
    """Return the first trace's result at the top level too: most comparisons are of one trace."""
    return _trace_json(*results[0]) if len(results) == 1 else {}


def show(trace: Trace, comparison: Comparison, profile: Profile, vl: int) -> None:
    """Print the comparison; what bears on the order of policies comes before their table."""
    from fpstate.cli.output import console
    from fpstate.traces.holes import sentences

    out = console()
    out.print(f"{trace.header.source}: {len(trace):,} events, costs {profile.name}", highlight=False)
    for sentence in sentences(trace.header.holes):
        out.print(sentence, highlight=False, markup=False)
    weak = {sentence.partition(":")[0]: sentence for sentence in profile.weak}
    leave_open = _say_what_is_open(comparison, profile)
    for name in leave_open:
        if name in weak:
            out.print(f"note: {weak[name]}", highlight=False, style="dim")
    table = _table(("saves", "loads", "traps", "kcycles", "range", "x bound", "place"))
    low, high = comparison.bound_low, comparison.bound_high
    table.add_row(
        "(bound)", *_counts((low.saves, high.saves), (low.loads, high.loads), (0, 0)), *_kcycles(low, high), "1"
    )
    for p in sorted(comparison.policies, key=lambda p: (p.high.cycles, p.name)):
        table.add_row(p.name, *_row(p), style="red" if p.broken else "")
    out.print(table)
    for p in comparison.policies:
        if p.broken:
            out.print(f"{p.name} corrupts registers on this trace: {_where(p.broken)}", highlight=False)
    _show_classes(comparison, vl)
    used = {op for p in comparison.policies for op, times in p.high.charged.items() if times}
    rest = [sentence for name, sentence in weak.items() if name in used and name not in leave_open]
    for sentence in [*trace.header.unobserved, *rest]:
        out.print(f"note: {sentence}", highlight=False, style="dim")


def _say_what_is_open(comparison: Comparison, profile: Profile) -> list[str]:
    """Say whose order the ranges of the costs leave open; return the operations that do."""
    from fpstate.cli.output import console
    from fpstate.replay.compare import deciding

    out = console()
    leave_open = deciding(comparison.policies)
    changing = sum(bool(p.undecided) for p in comparison.policies)
    if leave_open:
        costs = ", ".join(f"{op} {profile.operations[op].low:g}-{profile.operations[op].high:g}" for op in leave_open)
        out.print(
            f"undecided: {changing} of {len(comparison.policies)} policies may change places, by costs within their "
            f"ranges: {costs}",
            highlight=False,
        )
    wide = [p for p in comparison.policies if p.features]
    if wide and len(comparison.policies) > 1:
        out.print(
            "note: moving SVE images is charged by bytes at the rate of FPSIMD; no figure is published, and orders "
            "may depend on it",
            style="dim",
        )
    return leave_open


def _table(columns: tuple[str, ...]) -> Table:
    """Return a table whose first column gives way where room is short."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("policy", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _show_classes(comparison: Comparison, vl: int) -> None:
    """Show what was moved by register class, if any policy moved more than FPSIMD."""
    from fpstate.cli.output import console

    wide = [p for p in comparison.policies if p.features]
    if not wide:
        return
    table = _table(("SVE saves", "SVE loads", "SVE traps", "FPSIMD kB", "SVE kB"))
    for p in sorted(wide, key=lambda p: (p.high.cycles, p.name)):
        a, b = p.low, p.high
        counts = _counts((a.saves_sve, b.saves_sve), (a.loads_sve, b.loads_sve), (a.traps_sve, b.traps_sve))
        sizes = [_kilo(a.bytes - a.bytes_sve, b.bytes - b.bytes_sve), _kilo(a.bytes_sve, b.bytes_sve)]
        table.add_row(p.name, *counts, *sizes)
    out = console()
    out.print(f"\nby register class, SVE at {vl} bytes", highlight=False)
    out.print(table)
    narrow = [p.name for p in comparison.policies if not p.features]
    if narrow:
        out.print(f"note: FPSIMD registers only: {', '.join(narrow)}; an SVE use counts as one of V", style="dim")


def _row(p: Compared) -> list[str]:
    counts = _counts((p.low.saves, p.high.saves), (p.low.loads, p.high.loads), (p.low.traps, p.high.traps))
    ratio = span(*p.ratio_range) if p.ratio_range else "-"
    place = "-".join(dict.fromkeys(map(str, p.place))) if p.place else "corrupts"
    return [*counts, *_kcycles(p.low, p.high), ratio, place]


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
