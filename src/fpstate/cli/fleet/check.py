"""`fpstate fleet check`: policies in many scopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fpstate.cli import complete
from fpstate.cli.fleet.common import Common, finish, numbers
from fpstate.cli.options import takes, words

if TYPE_CHECKING:
    from fpstate.fleet.checking import Number

OWN = "[default: the policy's own]"


@dataclass(frozen=True, kw_only=True)
class Given(Common):
    """What is given on the command line."""

    policies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="POLICY",
            help="Policies by name, by the id of a bug, or as FILE.py:CLASS; all if none.",
            autocompletion=complete.policies,
            show_default=False,
        ),
    ] = None
    cpus: Annotated[list[str] | None, typer.Option(metavar="N,...", help=f"CPUs. {OWN}", show_default=False)] = None
    tasks: Annotated[list[str] | None, typer.Option(metavar="N,...", help=f"Tasks. {OWN}", show_default=False)] = None
    vcpus: Annotated[list[str] | None, typer.Option(metavar="N,...", help=f"vCPUs. {OWN}", show_default=False)] = None
    kthreads: Annotated[
        list[str] | None, typer.Option(metavar="N,...", help="Kernel threads. [default: 0]", show_default=False)
    ] = None
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURES,...",
            help="Worlds with these features; + joins some of one world, none is one without.",
            show_default=False,
        ),
    ] = None
    events: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT,...", help="As for `check`, in each scope.", show_default=False),
    ] = None
    boot: Annotated[str, typer.Option(metavar="STATE", help="Registers at the start: unknown, or initial.")] = "unknown"
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property", metavar="PROPERTY,...", help="Properties. [default: all end-to-end ones]", show_default=False
        ),
    ] = None
    max_states: Annotated[
        int, typer.Option(metavar="N", help="Give up one search (incomplete) beyond this many states.", min=1)
    ] = 100_000_000


@takes(Given)
def command(given: Given) -> None:
    """Check policies in all combinations of these numbers of CPUs, tasks, vCPUs and kernel threads.

    Combinations that cannot be, such as a feature that a policy does not support, are left out and counted.

    Exit codes: 0 all hold, 1 one is violated, 2 bad input, 3 not all was answered, or a search came to no end.

    Example: fpstate fleet check eager,linux-6.14 --cpus 1,2 --vcpus 0,1 -o checked.parquet
    """
    from fpstate.fleet.asking import check
    from fpstate.fleet.checking import Scopes

    scopes = Scopes(
        _numbers(given.cpus, "--cpus"),
        _numbers(given.tasks, "--tasks"),
        _numbers(given.vcpus, "--vcpus"),
        _numbers(given.kthreads, "--kthreads"),
        [() if name == "none" else tuple(name.split("+")) for name in words(given.features)] or [()],
        {"events": None if given.events is None else words(given.events), "boot": given.boot},
    )
    asked = check(
        given.policies,
        scopes,
        properties=words(given.properties),
        max_states=given.max_states,
        output=given.output,
        where=given.where(),
    )
    finish(asked, given)


def _numbers(given: list[str] | None, option: str) -> tuple[Number, ...]:
    return numbers(given, option, ()) or (None,)
