"""`fpstate search`: a policy's holes filled in so that it holds and is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import Costs, chosen, takes, words

if TYPE_CHECKING:
    from fpstate.paths.scope import Scope
    from fpstate.policies.base import Policy
    from fpstate.search.fill import Filled, Search
    from fpstate.search.judge import Measure


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    policy: Annotated[str, typer.Argument(metavar="FILE.py:CLASS", help="A policy with holes.", show_default=False)]
    traces: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACE,...",
            help="What it is to be cheap on. [default: contended.vhe,kneon.vhe,mmio-fp.vhe]",
            autocompletion=complete.samples,
            show_default=False,
        ),
    ] = None
    held_back: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACE,...",
            help="What the result is measured on as well.",
            autocompletion=complete.samples,
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOUND.py", help="Write the best as Python.", show_default=False),
    ] = None
    costs: Costs = "altra-vhe"
    cpus: Annotated[int, typer.Option(metavar="N", help="CPUs in the scope in which it must hold.", min=1)] = 1
    tasks: Annotated[int, typer.Option(metavar="N", help="User tasks there.", min=1)] = 1
    vcpus: Annotated[int, typer.Option(metavar="N", help="vCPUs there.", min=0)] = 1
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE,...", help="It must hold there with these as well, one by one.", show_default=False
        ),
    ] = None
    keep: Annotated[int, typer.Option(metavar="N", help="How many of the cheapest to show.", min=1)] = 3
    max_ways: Annotated[int, typer.Option(metavar="N", help="Look at no more ways than this.", min=1)] = 2000
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.search/1).")] = False


DEFAULT_TRACES = ["contended.vhe", "kneon.vhe", "mmio-fp.vhe"]
BEGINS = b"# Made by fpstate search"
"""How each file begins that is written here."""


@takes(Given)
def command(given: Given) -> None:
    """Fill in a policy's holes, choices it leaves open, so that it holds and is cheapest on recordings.

    What goes wrong with one way to fill them in rules out each that would meet the same end.

    Exit codes: 0 found, and none is cheaper, 1 no way holds, 2 bad input, 3 a bound was reached.

    Example: fpstate search examples/holes.py:Learning
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import stage
    from fpstate.costs import load_profile
    from fpstate.files import refuse_foreign, refuse_input
    from fpstate.paths.scope import Scope
    from fpstate.policies.base import with_features
    from fpstate.search.fill import fill
    from fpstate.search.judge import Judge, measure
    from fpstate.traces.samples import open_trace

    policy, profile = chosen(given.policy), load_profile(given.costs)
    if given.output:
        refuse_input(given.output, given.policy.rpartition(":")[0], "skeleton")
        refuse_foreign(given.output, BEGINS)
    trained = measure([open_trace(name) for name in words(given.traces) or DEFAULT_TRACES], profile)
    held_back = measure([open_trace(name) for name in words(given.held_back)], profile)
    scope, features = Scope(given.cpus, given.tasks, given.vcpus), words(given.features)
    for feature in features:
        with_features(policy, (feature,))
    worlds = [(scope, ()), *((scope, (feature,)) for feature in features)]
    with stage("compiling, and replaying") as tell:
        told = lambda n, good, what: tell(f"{n:,} ways looked at, {good} good, {what}")  # noqa: E731
        found = fill(Judge(policy, trained, worlds), keep=given.keep, most=given.max_ways, told=told)
    if given.output and found.best:
        _write(given.output, policy, found.best[0])
    result = Result(given.policy, scope, found, trained, held_back, _held_back(policy, found, held_back))
    if given.json:
        print_json("fpstate.search/1", _document(result))
    else:
        _show(result, given.max_ways)
    raise typer.Exit(3 if not found.complete else 0 if found.best else 1)


@dataclass(frozen=True)
class Result:
    """What was searched and found; `ratios` has what each way found costs on each trace held back, None: corrupts."""

    policy: str
    scope: Scope
    found: Search
    trained: Measure
    held_back: Measure
    ratios: list[list[float | None]]


def _write(output: Path, policy: type[Policy], best: Filled) -> None:
    from fpstate.files import write_whole
    from fpstate.search.written import source_of, written

    above = f"{BEGINS.decode()[2:]} from {source_of(policy).name}: {best.cost:.2f} times the fewest transfers."
    write_whole(output, written(policy, best.values, [above]).encode(), begins=BEGINS)


def _held_back(policy: type[Policy], found: Search, held_back: Measure) -> list[list[float | None]]:
    from fpstate.policies.holes import completed

    numbers = range(len(held_back.traces))
    return [[held_back.ratio(completed(policy, each.values), n) for n in numbers] for each in found.best]


def _document(result: Result) -> dict[str, object]:
    from dataclasses import asdict

    found, sources = result.found, [[t.header.source for t in m.traces] for m in (result.trained, result.held_back)]
    best = [
        {
            "cost": each.cost,
            "values": {
                name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in each.values.items()
            },
            "traces": dict(zip(sources[0], each.ratios, strict=True)),
            "held_back": dict(zip(sources[1], others, strict=True)),
        }
        for each, others in zip(found.best, result.ratios, strict=True)
    ]
    about = {"policy": result.policy, "scope": asdict(result.scope), "ways": found.ways, "complete": found.complete}
    return {**about, "outcomes": dict(sorted(found.outcomes.items())), "best": best}


def _show(result: Result, max_ways: int) -> None:
    from fpstate.cli.output import Column, say, show_table

    found = result.found
    say(f"{result.policy}: {found.ways:,} ways to fill in its holes; it must hold at {result.scope.counted()}")
    outcomes = ", ".join(f"{number:,} {what}" for what, number in sorted(found.outcomes.items()))
    rest = "are ruled out by these" if found.complete else "were not reached, or are ruled out"
    say(f"looked at {found.looked_at:,} ({outcomes}); the others {rest}")
    if not found.best:
        say("no way holds" if found.complete else "none found so far holds", "bold red")
        return
    rows = []
    for number, trace in enumerate(result.trained.traces):
        rows.append([trace.header.source, *(f"{each.ratios[number]:.2f}" for each in found.best)])
    rows.append(["mean", *(f"{each.cost:.2f}" for each in found.best)])
    for number, trace in enumerate(result.held_back.traces):
        cells = ("CORRUPTS" if one[number] is None else f"{one[number]:.2f}" for one in result.ratios)
        rows.append([f"held back: {trace.header.source}", *cells])
    say("\ncycles as a multiple of the fewest transfers there can be, high")
    show_table(["trace", *(Column(f"{n}.", number=True) for n in range(1, len(found.best) + 1))], rows)
    say("")
    first = found.best[0].values
    others = [each.values for each in found.best[1:]]
    values = [[name, *(str(v[name]) for v in (first, *others))] for name in first]
    show_table(["hole", *(f"{n}." for n in range(1, len(found.best) + 1))], values)
    if not found.complete:
        say(f"the bound of {max_ways:,} ways was reached: a cheaper one may be left; raise --max-ways", "yellow")
