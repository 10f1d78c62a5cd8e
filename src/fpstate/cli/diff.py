"""`fpstate diff`: two policies, or two kernels, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import Features, chosen, takes, words

if TYPE_CHECKING:
    from fpstate.check.diff import Difference
    from fpstate.rows.decisions import Rule

EXIT_CODES = {"same": 0, "different": 1, "apart": 1, "incomplete": 3}


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    first: Annotated[
        str,
        typer.Argument(
            metavar="POLICY", help="A policy, or kernel:NAME.", autocompletion=complete.policies, show_default=False
        ),
    ]
    second: Annotated[
        str,
        typer.Argument(
            metavar="POLICY", help="What it is compared with.", autocompletion=complete.policies, show_default=False
        ),
    ]
    features: Features = None
    cpus: Annotated[int, typer.Option(metavar="N", help="CPUs.", min=1)] = 2
    tasks: Annotated[int, typer.Option(metavar="N", help="User tasks.", min=1)] = 1
    vcpus: Annotated[int, typer.Option(metavar="N", help="vCPUs.", min=0)] = 1
    max_pairs: Annotated[
        int, typer.Option(metavar="N", help="Give up (incomplete) beyond this many pairs of states.", min=1)
    ] = 20_000_000
    equal: Annotated[bool, typer.Option("--equal", help="Show the rows that are equal, too.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.diff/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Let every order of events happen to two policies, and compare what both do, row by row.

    How each keeps its books is its own affair: operations, traps and values are compared.

    Exit codes: 0 the same, 1 different, 2 bad input, 3 incomplete (a bound was reached).

    Example: fpstate diff linux-6.8 linux-6.14
    """
    from fpstate.check.diff import diff
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import compiling, stage
    from fpstate.paths.scope import Scope
    from fpstate.policies.base import with_features

    asked = words(given.features)
    a, b = (with_features(chosen(name), asked) if asked else chosen(name) for name in (given.first, given.second))
    new = compiling("the comparison")
    with stage(f"compiling {new}, and comparing" if new else "comparing"):
        found = diff(a, b, Scope(given.cpus, given.tasks, given.vcpus), max_pairs=given.max_pairs)
    if given.json:
        print_json("fpstate.diff/1", found.to_json())
    else:
        _show(found, equal=given.equal)
    raise typer.Exit(EXIT_CODES[found.verdict])


def _show(found: Difference, *, equal: bool) -> None:
    from fpstate.check.diff import MEANINGS
    from fpstate.cli.output import say, show_table

    shown = [line for line in found.lines if equal or not line.equal]
    here = sum(line.second is None for line in found.lines), sum(line.first is None for line in found.lines)
    counts = f"{found.equal} equal, {len(found.lines) - found.equal} different"
    counts += f"; {here[0]} only in {found.names[0]}, {here[1]} only in {found.names[1]}"
    say(
        f"{found.verdict} at {found.scope.counted()}: {MEANINGS[found.verdict]}",
        "green" if found.verdict == "same" else "red",
    )
    say(f"rows used in the same move: {counts}; {found.pairs:,} pairs of states")
    if shown:
        say("")
        rows = [[line.event, _said(line.first), _said(line.second)] for line in shown]
        show_table(["event", *found.names], rows, sections=True)


def _said(rule: Rule | None) -> str:
    if rule is None:
        return "no row"
    return f"{', '.join(rule.when) or 'always'}: {'; '.join(rule.then) or 'nothing'}"
