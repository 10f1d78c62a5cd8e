"""`fpstate compare`: policies side by side on a real kernel's trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli.options import Costs, Policies, Traces, VectorLength, chosen, words

if TYPE_CHECKING:
    from fpstate.costs import Profile
    from fpstate.policies.base import Policy
    from fpstate.replay.compare import Comparison
    from fpstate.traces.trace import Trace

SPARE = ("range", "x bound", "ET")
"""Columns that are left out where room is short."""
WORDS = ("policy", "ET")
"""Columns that are no figures."""


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
    can do less than, even with foresight; (no foresight) the least of who treats all entries of a context alike, by a
    trap or a load in advance. Policies that do the same share a row. Of one policy alone, it is also shown whose values
    each CPU's registers hold along the trace.

    Exit codes: 0 no policy corrupts registers on the trace, 1 one does, 2 bad input.

    Example: fpstate compare contended.vhe --policy linux-4.18,linux-6.14
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, stage, steps
    from fpstate.costs import load_profile
    from fpstate.policies.catalogue import policies
    from fpstate.replay.compare import refuse_length
    from fpstate.replay.told import comparisons
    from fpstate.traces.samples import DEFAULT_SAMPLE, open_trace

    refuse_length(vl)
    profile = load_profile(costs)
    asked = [chosen(name) for name in words(policy)] if policy else list(policies().values())
    new = compiling("the importer", "the replay")
    with stage(f"compiling {new}, and reading" if new else "reading"):
        read = [open_trace(name) for name in traces or [DEFAULT_SAMPLE]]
    with steps("comparing", len(read) * len(asked)) as done:
        result = comparisons(read, asked, profile, vl=vl, done=done)
    if json:
        print_json("fpstate.compare/1", result.to_json())
    else:
        for trace, comparison in zip(read, result.traces, strict=True):
            show(comparison, profile, vl)
            if len(asked) == 1:
                _show_along(trace, asked[0])
    if result.broken:
        raise typer.Exit(1)


def show(comparison: Comparison, profile: Profile, vl: int) -> None:
    """Print the comparison; what bears on the order of policies comes before their table."""
    from fpstate.cli.output import Column, say, show_table
    from fpstate.replay.fold import alike
    from fpstate.replay.told import BOUNDS, HEADS, above, corrupts, notes, rows, title

    say(title(comparison, profile))
    for sentence in above(comparison, profile):
        say(sentence, "dim" if sentence.startswith("note: ") else "")
    together = alike(comparison.policies)
    columns = [Column(name, number=name not in WORDS, spare=name in SPARE) for name in HEADS]
    red = {i: "red" for i, same in enumerate(together, BOUNDS) if same[0].broken}
    show_table(columns, rows(comparison, together, profile), styles=red)
    for sentence in corrupts(comparison):
        say(sentence)
    _show_classes(comparison, vl)
    for sentence in notes(comparison, profile):
        say(f"note: {sentence}", "dim")


def _show_classes(comparison: Comparison, vl: int) -> None:
    """Show what was moved by register class, if any policy moved more than FPSIMD."""
    from fpstate.cli.output import Column, say, show_table
    from fpstate.replay.fold import alike, names_of
    from fpstate.replay.told import counts, kilo

    wide = [p for p in comparison.policies if p.features]
    if not wide:
        return
    rows = []
    for same in alike(wide):
        a, b = same[0].low, same[0].high
        moved = counts((a.saves_sve, b.saves_sve), (a.loads_sve, b.loads_sve), (a.traps_sve, b.traps_sve))
        sizes = [kilo(a.bytes - a.bytes_sve, b.bytes - b.bytes_sve), kilo(a.bytes_sve, b.bytes_sve)]
        rows.append([names_of(same), *moved, *sizes])
    say(f"\nby register class, SVE at {vl} bytes")
    figures = ("SVE saves", "SVE loads", "SVE traps", "FPSIMD kB", "SVE kB")
    show_table(["policy", *(Column(name, number=True) for name in figures)], rows)
    narrow = [p.name for p in comparison.policies if not p.features]
    if narrow:
        say(f"note: FPSIMD registers only: {', '.join(narrow)}; an SVE use counts as one of V", "dim")


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
