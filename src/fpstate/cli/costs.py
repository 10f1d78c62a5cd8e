"""`fpstate costs`: the cost profiles and where their figures come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fpstate.costs import Profile


def command(
    profile: Annotated[str | None, typer.Argument(help="A bundled profile, or the path of your own TOML file.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON (schema fpstate.costs/1) instead of a table.")
    ] = False,
) -> None:
    """List the cost profiles, or show the costs of one: cycles, honest range, status and source.

    Example: fpstate costs altra-vhe
    """
    from dataclasses import asdict

    from fpstate.cli.output import print_json
    from fpstate.costs import load_profile, profile_names

    profiles = [load_profile(name) for name in ([profile] if profile else profile_names())]
    if json:
        print_json("fpstate.costs/1", {"profiles": [asdict(p) | {"weak": p.weak} for p in profiles]})
    elif profile:
        _print_profile(profiles[0])
    else:
        _print_list(profiles)


def _print_list(profiles: list[Profile]) -> None:
    from rich.table import Table

    from fpstate.cli.output import console

    table = Table("profile", "what it is", "CPU")
    for profile in profiles:
        table.add_row(profile.name, profile.title, profile.cpu)
    console().print(table)


def _print_profile(profile: Profile) -> None:
    from rich.table import Table

    from fpstate.cli.output import console

    table = Table()
    table.add_column("operation", no_wrap=True)
    table.add_column("cycles", justify="right", no_wrap=True)
    table.add_column("low-high", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("source", overflow="fold")
    above = ""
    for name, op in profile.operations.items():
        status = f"{op.status} ({op.basis})" if op.basis else op.status
        source = "as above" if op.source == above else op.source
        table.add_row(name, f"{op.cycles:g}", f"{op.low:g}-{op.high:g}", status, source)
        above = op.source
    out = console()
    out.print(f"{profile.name}: {profile.title}", markup=False, highlight=False)
    out.print(f"{profile.cpu}, {profile.clock_ghz:g} GHz ({profile.clock_source})", markup=False, highlight=False)
    out.print(table)
    for text in (profile.notes, *(f"{name}: {op.note}" for name, op in profile.operations.items() if op.note)):
        out.print(text, markup=False, highlight=False)
    if profile.weak:
        out.print("\nWeak figures:", markup=False, highlight=False)
    for sentence in profile.weak:
        out.print(sentence, markup=False, highlight=False)
