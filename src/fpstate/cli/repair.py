"""`fpstate repair`: single edits after which a faulty policy holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.options import Features, chosen, takes, words

if TYPE_CHECKING:
    from fpstate.paths.asked import ScopeGiven
    from fpstate.search.repair import Repair


@dataclass(frozen=True)
class Given:
    """What is given on the command line."""

    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY",
            help="A faulty policy by name, by the id of a bug, or as FILE.py:CLASS.",
            autocompletion=complete.policies,
            show_default=False,
        ),
    ]
    cpus: Annotated[int | None, typer.Option(metavar="N", help="CPUs. [default: as in check]", show_default=False)] = (
        None
    )
    tasks: Annotated[
        int | None, typer.Option(metavar="N", help="User tasks. [default: as in check]", show_default=False)
    ] = None
    vcpus: Annotated[
        int | None, typer.Option(metavar="N", help="vCPUs. [default: as in check]", show_default=False)
    ] = None
    events: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT,...", help="Events or groups. [default: as in check]", show_default=False),
    ] = None
    features: Features = None
    trace: Annotated[
        str, typer.Option(metavar="TRACE", help="What repairs are ranked on.", autocompletion=complete.samples)
    ] = "kneon.vhe"
    keep: Annotated[int, typer.Option(metavar="N", help="Stop after so many repairs.", min=1)] = 5
    max_edits: Annotated[int, typer.Option(metavar="N", help="Try no more edits than this.", min=1)] = 2000
    json: Annotated[bool, typer.Option("--json", help="Print JSON (schema fpstate.repair/1).")] = False


@takes(Given)
def command(given: Given) -> None:
    """Try single edits of the code that ran on the way to a fault, the last first, until the policy holds.

    A statement more, one less, two swapped, a condition turned. That it holds is shown in the scope given, no more; of
    the repairs found the one is shown first that costs least on a recording.

    Exit codes: 0 repaired, 1 no single edit does it, 2 bad input, or no fault there, 3 a bound was reached.

    Example: fpstate repair K1
    """
    from fpstate.cli.output import print_json
    from fpstate.cli.progress import stage
    from fpstate.costs import load_profile
    from fpstate.paths.asked import asked_of
    from fpstate.search.judge import measure
    from fpstate.search.repair import repair
    from fpstate.traces.samples import open_trace

    scope: ScopeGiven = {
        "cpus": given.cpus,
        "tasks": given.tasks,
        "vcpus": given.vcpus,
        "events": None if given.events is None else words(given.events),
    }
    asked = asked_of(given.policy, chosen(given.policy), words(given.features), (), scope)
    ranked_on = measure([open_trace(given.trace)], load_profile("altra-vhe"))
    with stage("searching for the fault") as tell:
        told = lambda tried, found: tell(f"{tried:,} edits tried, {found} repairs")  # noqa: E731
        result = repair(asked, ranked_on, keep=given.keep, most=given.max_edits, told=told)
    if given.json:
        print_json("fpstate.repair/1", result.to_json())
    else:
        _show(given, result)
    raise typer.Exit(0 if result.repairs else 1 if result.complete else 3)


def _show(given: Given, result: Repair) -> None:
    from fpstate.cli.output import say
    from fpstate.paths.blame import ending, short_place

    assert result.fault.path
    say(result.fault.title())
    for sentence in ending(f"at fault: {result.fault.property}, {result.fault.path.wrong}", result.fault.path.blame):
        say(sentence)
    for number, each in enumerate(result.repairs, 1):
        if each.corrupts:
            times = "it corrupts registers, by events that are not in this scope"
        elif each.ratio is None:
            times = "not measured"
        else:
            times = f"{each.ratio:.2f} times the fewest transfers"
        method = each.edit.method
        say(f"\n{number}. {method.owner.__name__}.{method.name}: {each.edit.what}", "bold")
        say(f"{short_place(method.where)}; on {given.trace} {times}")
        say("\n".join(each.edit.difference()), whole=True)
    if result.repairs:
        say(f"\n{result.tried:,} edits tried; with each of these {len(result.repairs)} it holds there", "bold green")
    elif result.complete:
        say(f"{result.tried:,} edits tried, which are all; none makes it hold", "bold red")
    else:
        say(f"the bound of {given.max_edits:,} edits was reached, and none makes it hold; raise --max-edits", "yellow")
