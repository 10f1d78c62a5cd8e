"""`fpstate fleet compare`: policies on many traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.fleet.common import Common, finish
from fpstate.cli.options import Costs, Policies, VectorLength, takes, words
from fpstate.errors import FpstateError


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
    from fpstate.fleet.comparing import jobs
    from fpstate.policies.catalogue import policies
    from fpstate.replay.compare import refuse_length

    refuse_length(given.vl)
    traces = traces_of(given.traces, given.output)
    asked = list(dict.fromkeys(words(given.policy))) or list(policies())
    finish("compare", jobs(traces, asked, given.costs, given.vl), given)


def traces_of(named: Sequence[str], output: Path) -> list[str]:
    """Return traces, each once, with those in folders, less the table itself and hidden files.

    Raise FpstateError for what is not there, and for a folder without files.
    """
    from fpstate.traces.samples import trace_path

    own = {output.name, f"{output.name}.journal"}
    found: dict[str, None] = {}
    for name in named:
        path = Path(name)
        if path.is_dir():
            files = [f for f in sorted(path.iterdir()) if f.is_file() and not f.name.startswith(".")]
            files = [f for f in files if not (f.name in own and f.parent.resolve() == output.parent.resolve())]
            if not files:
                raise FpstateError(f"the folder '{name}' holds no files", expected="traces in it")
            found |= dict.fromkeys(map(str, files))
            continue
        trace_path(name)
        found[name] = None
    return list(found)
