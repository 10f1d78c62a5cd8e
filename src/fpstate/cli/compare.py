"""`fpstate compare`: policies side by side on a real kernel's trace."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import Costs, chosen, words
from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.costs import Profile
    from fpstate.replay.compare import Broken, Compared, Comparison, Figures
    from fpstate.traces.trace import Trace

WIDEST = 8
"""Characters of the widest figure: the table fits 80 columns."""
RELEASE = re.compile(r"linux-\d+\.\d+")
"""Policies of Linux releases, which have an order; those of stable branches, which fork off it, end in .y."""


def command(
    traces: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TRACE",
            help="Traces; a bundled one if none.",
            autocompletion=complete.samples,
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            "-p",
            metavar="POLICY,...",
            help="Policies by name, by the id of a bug, or as FILE.py:CLASS; all if none.",
            autocompletion=complete.policies,
            show_default=False,
        ),
    ] = None,
    costs: Costs = "altra-vhe",
    vl: Annotated[int, typer.Option(metavar="BYTES", help="Bytes of one SVE register.", min=16, max=256)] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.compare/1).")] = False,
) -> None:
    """Show what each way of switching FP state would have cost on a trace: saves, loads, traps, cycles.

    Where the trace does not show whether FP was used, figures are low-high: none of it happened, or all. kcycles has
    each operation at its point in the cost profile; range, and x bound, have all costs within their ranges. place is
    counted from the cheapest, first-last where the order hangs on costs within their ranges. (bound) is what no policy
    can do less than, even with foresight; (no foresight) the least of who treats all entries of a context alike, by a
    trap or a load in advance. Policies that do the same share a row.

    Exit codes: 0 no policy corrupts registers on the trace, 1 one does, 2 bad input.

    Example: fpstate compare contended.vhe --policy linux-4.18,linux-6.14
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, stage, steps
    from fpstate.costs import load_profile
    from fpstate.policies.catalogue import policies
    from fpstate.replay.compare import compare
    from fpstate.traces.samples import DEFAULT_SAMPLE, open_trace

    if vl % 16:
        raise FpstateError(f"a vector length of {vl} bytes is impossible", expected="a multiple of 16 from 16 to 256")
    profile = load_profile(costs)
    asked = [chosen(name) for name in words(policy)] if policy else list(policies().values())
    new = compiling("the importer", "the replay")
    with stage(f"compiling {new}, and reading" if new else "reading"):
        read = [open_trace(name) for name in traces or [DEFAULT_SAMPLE]]
    for trace in read:
        _refuse_idle(trace)
    results: list[tuple[Trace, Comparison]] = []
    with steps("comparing", len(read) * len(asked)) as done:
        results += [(trace, compare(trace, asked, profile, done, vl=vl)) for trace in read]
    if json:
        each = [_trace_json(t, c, profile) for t, c in results]
        first = each[0] if len(each) == 1 else {}  # at the top level too: most comparisons are of one trace
        print_json("fpstate.compare/1", {"costs": profile.name, "traces": each, **first})
    else:
        for trace, comparison in results:
            show(trace, comparison, profile, vl)
    if any(p.broken for _, c in results for p in c.policies):
        raise typer.Exit(1)


def _refuse_idle(trace: Trace) -> None:
    """Raise FpstateError for a trace in which no policy has anything to do: its table would be all zeros."""
    if not trace.shows_switching():
        raise FpstateError(
            "shows no thread switch and no guest run: there is nothing to compare",
            expected="lines of sched_switch, kvm_entry or the like",
            where=trace.header.source,
            hint="record it with sched:sched_switch, raw_syscalls and kvm",
        )


def _trace_json(trace: Trace, comparison: Comparison, profile: Profile) -> dict[str, object]:
    header = trace.header
    about = {"source": header.source, "events": len(trace), "unobserved": header.unobserved}
    about |= {"lost": header.lost, "holes": header.holes, "arch": header.arch}
    return {"trace": about, **comparison.to_json(profile)}


def show(trace: Trace, comparison: Comparison, profile: Profile, vl: int) -> None:
    """Print the comparison; what bears on the order of policies comes before their table."""
    from fpstate.cli.output import Column, say, show_table
    from fpstate.replay.compare import ratios_of
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
    _say_what_is_open(comparison, profile, together)
    figures = [Column(name, number=True) for name in ("saves", "loads", "traps", "kcycles")]
    spare = [Column(name, number=True, spare=True) for name in ("range", "x bound")]
    low, high = comparison.bound_low, comparison.bound_high
    rows = [["-", "(bound)", *_counts((low.saves, high.saves), (low.loads, high.loads), (0, 0)), *_kcycles(low, high)]]
    rows[0].append("1")
    least = comparison.no_foresight(profile)
    a, b = least
    traps = (a.traps, b.traps)
    rows.append(["-", "(no foresight)", *_counts((a.saves, b.saves), (a.loads, b.loads), traps), *_kcycles(a, b)])
    worth = ratios_of(least, (low, high), profile)["ratio_range"]
    rows[1].append(span(*worth) if worth else "-")
    rows += [[_place(same[0]), names_of(same), *_row(same[0])] for same in together]
    red = {i: "red" for i, same in enumerate(together, 2) if same[0].broken}
    show_table([Column("place", number=True), "policy", *figures, *spare], rows, styles=red)
    for p in comparison.policies:
        if p.broken:
            say(f"{p.name} corrupts registers on this trace: {_where(p.broken)}")
    _show_classes(comparison, vl)
    used = {op for p in comparison.policies for op, times in p.high.charged.items() if times}
    weak = [sentence for sentence in profile.weak if sentence.partition(":")[0] in used]
    for sentence in [*trace.header.unobserved, *weak]:
        say(f"note: {sentence}", "dim")


def alike(policies: list[Compared]) -> list[list[Compared]]:
    """Return the policies from the cheapest, those together that did exactly the same and corrupt nothing."""
    together: list[list[Compared]] = []
    for p in sorted(policies, key=lambda p: (p.high.cycles, p.low.cycles, p.name)):
        last = together[-1][0] if together else None
        same = last and not p.broken and not last.broken
        if same and (p.low, p.high, p.features) == (last.low, last.high, last.features):  # type: ignore[union-attr]
            together[-1].append(p)
        else:
            together.append([p])
    return together


def names_of(same: list[Compared], known: tuple[str, ...] = ()) -> str:
    """Return the names of policies in one row; three or more Linux releases in a row are first to last."""
    from fpstate.policies.catalogue import policies

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


def _say_what_is_open(comparison: Comparison, profile: Profile, together: list[list[Compared]]) -> None:
    """Say in one sentence whose order the ranges of the costs leave open, and which costs decide it."""
    from fpstate.cli.output import say
    from fpstate.replay.compare import deciding

    leave_open = deciding(comparison.policies)
    if leave_open:
        costs = ", ".join(f"{op} {profile.operations[op].low:g}-{profile.operations[op].high:g}" for op in leave_open)
        say(f"Decided by costs within their ranges ({costs}): {_sides(together)}. The other orders hold for all costs.")
    wide = [p for p in comparison.policies if p.features]
    if wide and len(comparison.policies) > 1:
        text = "moving SVE images is charged by bytes at the rate of FPSIMD; no figure is published, and orders may "
        say(f"note: {text}depend on it", "dim")


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


def _show_classes(comparison: Comparison, vl: int) -> None:
    """Show what was moved by register class, if any policy moved more than FPSIMD."""
    from fpstate.cli.output import Column, say, show_table

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
