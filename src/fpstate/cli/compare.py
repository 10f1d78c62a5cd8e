"""`fpstate compare`: policies side by side on a real kernel's trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.costs import Profile
    from fpstate.replay.compare import Broken, Compared, Comparison
    from fpstate.traces.trace import Trace


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

    Where the trace does not show whether FP was used, figures are low-high: none of it happened, or all.

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
            _show(trace, comparison, profile, vl)
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


def _show(trace: Trace, comparison: Comparison, profile: Profile, vl: int) -> None:
    from rich.table import Table

    from fpstate.cli.output import console
    from fpstate.traces.holes import sentences

    title = f"{trace.header.source}: {len(trace):,} events, costs {profile.name}"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("policy", no_wrap=True)
    for name in ("saves", "loads", "traps", "kcycles", "x bound"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("on this trace")
    low, high = comparison.bound_low, comparison.bound_high
    least = _cells([(low.saves, high.saves), (low.loads, high.loads), (0, 0)])
    table.add_row("(bound)", *least, _kilo(low.cycles, high.cycles), "1", "no policy can do less")
    table.add_section()
    for p in sorted(comparison.policies, key=lambda p: (p.high.cycles, p.name)):
        table.add_row(p.name, *_row(p), _verdict(p.broken), style="red" if p.broken else "")
    out = console()
    for sentence in sentences(trace.header.holes):
        out.print(sentence, highlight=False, markup=False)
    out.print(table)
    for p in comparison.policies:
        if p.broken:
            out.print(f"{p.name} corrupts registers on this trace: {_where(p.broken)}", highlight=False)
    _show_classes(comparison, vl)
    used = _operations_used(comparison)
    weak = [sentence for sentence in profile.weak if sentence.partition(":")[0] in used]
    for sentence in [*trace.header.unobserved, *weak]:
        out.print(f"note: {sentence}", highlight=False, style="dim")


def _show_classes(comparison: Comparison, vl: int) -> None:
    """Show what was moved by register class, if any policy moved more than FPSIMD."""
    from rich.table import Table

    from fpstate.cli.output import console

    wide = [p for p in comparison.policies if p.features]
    if not wide:
        return
    title = f"by register class, SVE at {vl} bytes"
    table = Table(title=title, title_justify="left")
    table.add_column("policy", no_wrap=True)
    for name in ("SVE saves", "SVE loads", "SVE traps", "FPSIMD kB", "SVE kB"):
        table.add_column(name, justify="right", no_wrap=True)
    for p in sorted(wide, key=lambda p: (p.high.cycles, p.name)):
        pairs = [(p.low.saves_sve, p.high.saves_sve), (p.low.loads_sve, p.high.loads_sve)]
        pairs += [(p.low.traps_sve, p.high.traps_sve)]
        plain = _kilo(p.low.bytes - p.low.bytes_sve, p.high.bytes - p.high.bytes_sve)
        table.add_row(p.name, *_cells(pairs), plain, _kilo(p.low.bytes_sve, p.high.bytes_sve))
    out = console()
    out.print(table)
    narrow = [p.name for p in comparison.policies if not p.features]
    if narrow:
        out.print(f"note: FPSIMD registers only: {', '.join(narrow)}; an SVE use counts as one of V", style="dim")
    out.print("note: moving SVE images is charged by bytes at the rate of FPSIMD; no figure is published", style="dim")


def _operations_used(comparison: Comparison) -> set[str]:
    """Return the operations that some policy was charged for."""
    figures = [p.high for p in comparison.policies]
    used = {"save", "load"}
    used |= {"clear"} if any(f.clears for f in figures) else set()
    used |= {"guest_trap"} if any(f.traps_guest for f in figures) else set()
    return used | {"user_trap"} if any(f.traps_user for f in figures) else used


def _row(p: Compared) -> list[str]:
    ratios = sorted(r for r in (p.ratio_low, p.ratio_high) if r is not None)
    ratio = _span(f"{ratios[0]:.2f}", f"{ratios[-1]:.2f}") if ratios else "-"
    pairs = [(p.low.saves, p.high.saves), (p.low.loads, p.high.loads), (p.low.traps, p.high.traps)]
    return [*_cells(pairs), _kilo(p.low.cycles, p.high.cycles), ratio]


def _cells(pairs: list[tuple[int, int]]) -> list[str]:
    return [_span(f"{a:,}", f"{b:,}") for a, b in pairs]


def _kilo(low: float, high: float) -> str:
    return _span(f"{low / 1000:,.0f}", f"{high / 1000:,.0f}")


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low}-{high}"


def _verdict(broken: Broken | None) -> str:
    return "CORRUPTS" if broken else "ok"


def _where(b: Broken) -> str:
    times = "once" if b.times == 1 else f"{b.times:,} times"
    return f"{times}, first at line {b.line} ({b.time / 1e9:.6f} s, CPU {b.cpu}): {b.who} {b.what}"
