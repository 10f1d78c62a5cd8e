"""`fpstate fleet search`: skeletons in many scopes, on many sets of recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.fleet.common import Common, finish, numbers
from fpstate.cli.options import takes, words


@dataclass(frozen=True, kw_only=True)
class Given(Common):
    """What is given on the command line."""

    skeletons: Annotated[
        list[str], typer.Argument(metavar="FILE.py:CLASS", help="Policies with holes.", show_default=False)
    ]
    traces: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACE,...",
            help="What one search is to be cheap on; each --traces is a search. "
            "[default: contended.vhe,kneon.vhe,mmio-fp.vhe]",
            autocompletion=complete.samples,
            show_default=False,
        ),
    ] = None
    costs: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROFILE,...",
            help="Cost profiles. [default: altra-vhe]",
            autocompletion=complete.profiles,
            show_default=False,
        ),
    ] = None
    cpus: Annotated[list[str] | None, typer.Option(metavar="N,...", help="CPUs. [default: 1]", show_default=False)] = (
        None
    )
    tasks: Annotated[
        list[str] | None, typer.Option(metavar="N,...", help="User tasks. [default: 1]", show_default=False)
    ] = None
    vcpus: Annotated[
        list[str] | None, typer.Option(metavar="N,...", help="vCPUs. [default: 1]", show_default=False)
    ] = None
    features: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE,...", help="Each must hold with these as well, one by one.", show_default=False),
    ] = None
    max_ways: Annotated[int, typer.Option(metavar="N", help="Look at no more ways than this in a search.", min=1)] = (
        2000
    )


@takes(Given)
def command(given: Given) -> None:
    """Search all combinations of skeletons, sets of recordings, cost profiles and scopes.

    The rows hold what `fpstate search` finds cheapest: values of the holes, and what they cost on each recording.

    Exit codes: 0 all found, none cheaper; 1 one has no way that holds; 2 bad input; 3 not all was answered, or a bound
    was reached.

    Example: fpstate fleet search mine.py:Skeleton --costs altra-vhe,a53-nvhe -o found.parquet
    """
    from fpstate.cli.search import DEFAULT_TRACES
    from fpstate.fleet.asking import search
    from fpstate.fleet.searching import Searches

    sets = [tuple(words([several])) for several in given.traces or []] or [tuple(DEFAULT_TRACES)]
    searches = Searches(
        sets,
        words(given.costs) or ["altra-vhe"],
        numbers(given.cpus, "--cpus", (1,)),
        numbers(given.tasks, "--tasks", (1,)),
        numbers(given.vcpus, "--vcpus", (1,)),
        tuple(words(given.features)),
        given.max_ways,
    )
    finish(search(given.skeletons, searches, output=given.output, where=given.where()), given)
