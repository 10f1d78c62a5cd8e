"""What the commands of a fleet share: where rows go, where they are made, and what is told in the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fpstate.cli.options import words
from fpstate.errors import FpstateError

if TYPE_CHECKING:
    from fpstate.fleet.go import Asked, Done
    from fpstate.fleet.summary import OfPolicy, Summary
    from fpstate.fleet.where import Where

MOST_WORKERS = 256
MOST_NUMBERS = 1_000_000
ERRORS_SHOWN = 10
FIGURES = {
    "ratio_high": "cycles as a multiple of the fewest transfers there can be, high",
    "cost": "cost as a multiple of the fewest transfers there can be",
}
GERUNDS = {"compare": "comparing", "check": "checking", "run": "running", "search": "searching"}


@dataclass(frozen=True, kw_only=True)
class Common:
    """What is given to all of them."""

    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="RESULTS.parquet",
            help="The table. What it holds already is not done again.",
            show_default=False,
        ),
    ]
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="So many processes on this machine. [default: this one alone]",
            min=0,
            max=MOST_WORKERS,
            show_default=False,
        ),
    ] = 0
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Dask scheduler that is there, like tcp://host:8786. Its workers see the same paths.",
            show_default=False,
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.fleet/1).")] = False

    def where(self) -> Where:
        """Return where rows are made; FpstateError if that is said twice."""
        from fpstate.fleet.where import Where

        if self.workers and self.scheduler:
            raise FpstateError("--workers has no effect with --scheduler", expected="one of them")
        return Where(self.workers, self.scheduler or "")


def numbers(given: Sequence[str] | None, option: str, default: Sequence[int]) -> tuple[int, ...]:
    """Return numbers given by comma, 1-10 being all from 1 to 10; FpstateError for what is none."""
    found: dict[int, None] = {}
    for word in words(given):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise FpstateError(f"{option} {word}", expected=f"numbers, like {option} 1,2 or {option} 1-10")
        several = range(int(first), int(last or first) + 1)
        if not several:
            raise FpstateError(f"{option} {word}", expected=f"the smaller number first, like {option} {last}-{first}")
        if len(several) + len(found) > MOST_NUMBERS:
            raise FpstateError(f"{option} {word}", expected=f"at most {MOST_NUMBERS:,} numbers")
        found |= dict.fromkeys(several)
    return tuple(found) or tuple(default)


def finish(asked: Asked, given: Common) -> NoReturn:
    """Take what is asked to its end, tell what came of it, and exit."""
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, steps
    from fpstate.fleet.go import go
    from fpstate.fleet.kinds import kind_of
    from fpstate.fleet.summary import summary

    kind, left_out = asked.kind, asked.left_out
    if not given.scheduler:
        compiling(*kind_of(kind).engines)
    with steps(GERUNDS[kind], len(asked.jobs)) as progress:
        done = go(asked, progress, _note)
    found = summary(kind, done.rows, list(kind_of(kind).label))
    if given.json:
        about = {"kind": kind, "output": str(given.output), "asked": done.asked, "before": done.before}
        more = {"left": done.left, "gone": done.gone, "left_out": list(left_out)}
        print_json("fpstate.fleet/1", about | more | found.to_json())
    else:
        _show(found, done, given.output, left_out)
    if done.gone:
        kept = f"{done.asked - done.left:,} of {done.asked:,} rows are kept in {given.output}"
        sys.stderr.write(
            f"fpstate: the scheduler at '{done.gone}' is gone; {kept}; the same command goes on from there\n"
        )
    raise typer.Exit(found.exit_code(done))


def _note(sentence: str) -> None:
    sys.stderr.write(f"fpstate: note: {sentence}\n")


def _show(found: Summary, done: Done, output: Path, left_out: Sequence[str]) -> None:
    from fpstate.cli.output import say

    before = f", {done.before:,} from before" if done.before else ""
    say(f"{done.asked - done.left:,} of {done.asked:,} rows in {output}{before}")
    if left_out:
        say(f"left out, since they cannot be: {len(left_out):,} combinations; the first: {left_out[0]}", "yellow")
    if not done.left:
        _show_policies(found)
    for sentence in _findings(found):
        say(sentence, "red")
    if not found.failed:
        return
    say(f"no answer: {len(found.failed):,} of {done.asked:,} rows", "bold red")
    about = list(dict.fromkeys(_about(found, row) for row in found.failed))
    for sentence in about[:ERRORS_SHOWN]:
        say(sentence, "red")
    if len(about) > ERRORS_SHOWN:
        say(f"and {len(about) - ERRORS_SHOWN:,} more: the rows of the table that have an error", "red")


def _findings(found: Summary) -> Iterator[str]:
    """Yield a sentence for each policy of which something was found."""
    from fpstate.fleet.summary import TOLD

    for p in found.policies:
        if p.first is not None:
            what = next(name for name in TOLD[found.kind].findings if p.outcomes[name])
            first = f"{_which(found, p.first)}{p.first['why']}"
            yield f"{p.name}: {what} in {p.outcomes[what]:,} of {p.rows:,}; first: {first}"


def _about(found: Summary, row: dict[str, object]) -> str:
    """Say which row has no answer and why, without the policy where there is a trace: that mostly hangs on it alone."""
    from fpstate.fleet.summary import TOLD

    error, by = str(row["error"]), TOLD[found.kind].by
    if "trace" in row and str(row["trace"]) in error:
        return error
    return f"{_which(found, row) if 'trace' in row else f'{row[by]}, {_which(found, row)}'}{error}"


def _which(found: Summary, row: dict[str, object]) -> str:
    told = [str(row[n]) if n in ("trace", "programs") else f"{n} {row[n]}" for n in found.telling if row[n] != ""]
    return f"{', '.join(told)}: " if told else ""


def _show_policies(found: Summary) -> None:
    from fpstate.cli.output import Column, say, show_table
    from fpstate.fleet.summary import NO_ANSWER, TOLD

    told = TOLD[found.kind]
    outcomes = [name for name in (*told.outcomes, NO_ANSWER) if found.has((name,)) or name == told.outcomes[0]]
    figure = told.figures[0]
    policies, cheapest = found.policies, ["cheapest"] if found.kind == "compare" else []
    say(f"{FIGURES.get(figure, figure)}, by quantiles")
    if cheapest:
        median = {p.name: (p.quantiles[figure] or {"median": inf})["median"] for p in policies}
        policies = sorted(policies, key=lambda p: (p.outcomes["corrupts"] > 0, median[p.name]))
    names = [*outcomes, *cheapest, "least", "10 %", "median", "90 %", "most"]
    rows = []
    for p in policies:
        counts = [f"{p.outcomes[name]:,}" for name in outcomes]
        rows.append([p.name, *counts, *(f"{p.cheapest:,}" for _ in cheapest), *_cells(p, figure)])
    show_table([told.by, *(Column(name, number=True) for name in names)], rows)


def _cells(p: OfPolicy, figure: str) -> list[str]:
    from fpstate.fleet.summary import AT

    values = p.quantiles[figure]
    if values is None:
        return ["-"] * len(AT)
    return [f"{x:,.2f}" if figure in FIGURES else f"{x:,.0f}" for x in values.values()]
