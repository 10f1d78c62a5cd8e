"""`fpstate fleet compare`: policies on many traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.fleet.common import Common, finish
from fpstate.cli.options import Costs, Policies, VectorLength, takes


@dataclass(frozen=True, kw_only=True)
class Given(Common):
    """What is given on the command line."""

    traces: Annotated[
        list[str],
        typer.Argument(
            metavar="TRACE",
            help="Traces, and folders of them: each file in a folder is one.",
            autocompletion=complete.samples,
            show_default=False,
        ),
    ]
    policy: Policies = None
    costs: Costs = "altra-vhe"
    vl: VectorLength = 64


@takes(Given)
def command(given: Given) -> None:
    """Compare policies on many traces: a row for each on each, and quantiles per policy.

    A trace that cannot be read is a row that says why. Figures are those of `fpstate compare`, low and high.

    Exit codes: 0 no policy corrupts registers, 1 one does, 2 bad input, 3 not all was answered.

    Example: fpstate fleet compare traces/ -o compared.parquet --workers 2
    """
    from fpstate.fleet.asking import compare

    finish(
        compare(given.traces, given.policy, costs=given.costs, vl=given.vl, output=given.output, where=given.where()),
        given,
    )
